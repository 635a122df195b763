import gzip
import json

import click
import pytest
from click.testing import CliRunner

from sdpn.audio.pipes import command_output
from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.sets import read_cuts
from sdpn.recipe.program import pipes_option
from sdpn.utterance import Utterance


@pytest.fixture(autouse=True)
def not_allowed(monkeypatch):
    monkeypatch.delenv("SDPN_ALLOW_PIPES", raising=False)


def cut(command, mixed=False):
    recording = {
        "id": "r",
        "sources": [{"type": "command", "channels": [0], "source": command}],
        "sampling_rate": 16000,
        "num_samples": 16000,
        "duration": 1.0,
        "channel_ids": [0],
    }
    one = {"id": "u", "start": 0, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    if mixed:
        return {"id": "u", "tracks": [{"cut": one, "type": "MixTrack"}], "type": "MixedCut", "duration": 1.0}
    return one


@pytest.mark.parametrize("mixed", [False, True])
def test_a_command_in_a_manifest_does_not_run_unless_it_is_allowed(tmp_path, mixed):
    entry = cut(f"touch {tmp_path}/ran; false", mixed)
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as opened:
        opened.write(json.dumps(entry, separators=(",", ":")) + "\n")
    with pytest.raises(SdpnError, match="comes from a command, which runs with --allow-pipes alone: touch"):
        read_cuts(tmp_path)
    if not mixed:  # stage 1 makes no other
        with pytest.raises(SdpnError, match="which runs with --allow-pipes alone"):
            load_samples(Utterance.of_cut(entry))
    assert not (tmp_path / "ran").exists()


def test_a_command_is_refused_where_it_would_be_run():
    with pytest.raises(SdpnError, match="--allow-pipes"):
        command_output("echo hello")


@pytest.mark.parametrize(("options", "expected"), [(["--allow-pipes"], b"hello\n"), ([], None)])
def test_the_option_allows_it(monkeypatch, options, expected):
    monkeypatch.setenv("SDPN_ALLOW_PIPES", "0")  # so that what the option sets is taken back

    @click.command()
    @pipes_option
    def command():
        click.echo(command_output("echo hello"), nl=False)

    result = CliRunner().invoke(command, options)
    assert result.stdout_bytes == expected if expected else isinstance(result.exception, SdpnError)
