"""The options that programs take from the declarations of run.sh and of settings."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from sdpn import config
from sdpn.recipe.program import program, settings, shared, stage0


@dataclass(frozen=True)
class Example:
    epochs: int = config.value(10, "how long", at_least=1)
    kind: str = config.value("a", "which one", one_of=("a", "b"))
    snr: tuple[float, float] = config.value((0.0, 15.0), "dB")
    bands: tuple[float, ...] = config.value((0.5, 0.4), "deviations")
    limit: int | None = config.value(None, "the most")
    loud: bool = config.value(False, "louder")


def made(*decorators):
    """Return a command with these options, and the dictionary that it leaves its arguments in."""
    seen = {}

    def main(**arguments):
        seen.update(arguments)

    for decorator in reversed(decorators):
        main = decorator(main)
    return main, seen


def test_every_setting_is_an_option_and_what_is_not_given_is_none():
    command, seen = made(program("Do it."), settings(Example, "conf/example.yaml"))
    words = ["--epochs", "4", "--limit", "2", "--snr", "-3", "9", "--bands", "0.1, 0.2,0.3", "--no-loud"]
    outcome = CliRunner().invoke(command, words)
    assert outcome.exit_code == 0, outcome.output
    expected = {"epochs": 4, "limit": 2, "snr": (-3.0, 9.0), "bands": (0.1, 0.2, 0.3), "loud": False}
    assert config.given(Example, seen) == expected
    assert seen["config_file"] == "conf/example.yaml"
    assert seen["kind"] is None
    assert CliRunner().invoke(command, ["--kind", "z"]).exit_code == 2


def test_the_help_shows_the_default_of_every_setting():
    command, _ = made(program("Do it."), settings(Example, "conf/example.yaml"))
    said = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    for words in (
        "how long [default: 10]",
        "dB [default: 0 15]",
        "the most [default: null]",
        "louder [default: false]",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("corpus", "knows", "lacks"),
    [
        ("toy", ["seed", "nj", "dev_speakers"], ["musan", "trials", "max_skipped"]),
        ("folder", ["corpus_dir", "labelled", "musan", "max_skipped", "cuts_config"], ["download", "train"]),
        ("voxceleb", ["voxceleb1", "download", "downloads_config"], ["corpus_dir", "eval_share", "cnceleb1"]),
    ],
)
def test_a_program_of_stage_0_knows_the_options_of_its_corpus(corpus, knows, lacks):
    command, _ = made(program("Prepare."), stage0(corpus))
    names = {option.name for option in command.params}
    assert set(knows) <= names
    assert not set(lacks) & names


def test_what_a_corpus_needs_is_required_unless_it_can_be_downloaded():
    required = {
        corpus: [option.name for option in made(program("Prepare."), stage0(corpus))[0].params if option.required]
        for corpus in ("folder", "voxceleb", "cnceleb")
    }
    assert required == {"folder": ["corpus_dir"], "voxceleb": ["voxceleb1", "voxceleb2"], "cnceleb": []}


def test_shared_options_have_the_limits_that_run_sh_has():
    command, seen = made(program("Do it.", "data"), shared("nj", "ngpu"))
    assert CliRunner().invoke(command, ["--nj", "0", "data"]).exit_code == 2
    assert CliRunner().invoke(command, ["data"]).exit_code == 0
    assert (seen["nj"], seen["ngpu"], str(seen["data"])) == (1, 0, "data")
    assert isinstance(command, click.Command)
