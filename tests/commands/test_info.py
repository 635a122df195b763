import json
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from sdpn.cli import cli
from sdpn.files import exclusive
from sdpn.shards import Work
from tests.voices import write_small_model

LINE = {
    "step": 40, "total_steps": 200, "epoch": 2, "lr": 0.1, "loss": 3.5, "prototypes_in_use": 200.0,
    "assignment_perplexity": 150.0, "effective_rank": 25.0, "neighbour_distance": 0.7, "target_entropy": 2.4,
    "utterances_per_second": 50.0, "seconds_per_step": 1.5, "waiting_share": 0.02,
}  # fmt: skip


@pytest.fixture
def exp(tmp_path):
    """exp(*lines, **settings) -> the folder of a training of 10 epochs of 20 steps with these lines."""

    def make(*lines, **settings):
        (tmp_path / "config.yaml").write_text(
            yaml.safe_dump({"epochs": 10, "prototypes": 256, "batch_size": 32, "inputs": {"features": "a"}, **settings})
        )
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(LINE | line) + "\n" for line in lines))
        return tmp_path

    return make


def info(exp):
    return CliRunner().invoke(cli, ["info", str(exp)], catch_exceptions=False).output


def test_a_training_that_runs(exp):
    folder = exp({"step": 20, "epoch": 1, "loss": 5.0}, {})
    with exclusive(folder):
        text = info(folder)
    assert "state: running\n" in text
    assert "step 40 of 200, epoch 2 of 10" in text
    assert "50.0 utterances a second, 0:04:00 left" in text
    assert "loss: 3.500 (at first 5.000, lowest 3.500)" in text
    assert "prototypes in use: 200 of 256" in text
    assert "no sign of a collapse" in text
    assert "waiting for data" not in text


def test_in_the_first_epoch_the_way_to_go_is_known(exp):
    text = info(exp({"step": 5, "epoch": 1}))
    assert "step 5 of 200, epoch 1 of 10" in text
    assert "0:04:52 left" in text


def test_a_training_that_was_killed(exp):
    folder = exp({})
    assert "state: not running, nothing saved yet; the command that began it begins anew" in info(folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step-000000020.pt").write_bytes(b"")
    assert "state: not running; the command that began it goes on from the newest checkpoint" in info(folder)


def test_a_training_that_is_finished(exp):
    folder = exp({"step": 200, "epoch": 10})
    Work(folder, "train", {}).finish([])
    text = info(folder)
    assert "state: finished" in text
    assert "left" not in text


def test_a_line_that_was_cut_off_does_not_matter(exp):
    folder = exp({})
    with open(folder / "train.jsonl", "a") as lines:
        lines.write('{"step": 60, "ep')
    assert "step 40 of" in info(folder)


def test_trouble_is_named(exp):
    text = info(exp({"prototypes_in_use": 1.0, "waiting_share": 0.4}))
    assert "looks collapsed: 1 of 256 prototypes in use" in text
    assert "40% of the time is spent waiting for data" in text


def test_error_rates_are_shown_where_there_are_any(exp):
    text = info(exp({"step": 20, "epoch": 1, "dev_eer": 0.08, "probe_eer": 0.2}, {"dev_eer": 0.09, "probe_eer": 0.1}))
    assert "on the dev trials: 9.00% (lowest so far 8.00%)" in text
    assert "halves against others': 10.00% (lowest so far 10.00%)" in text


def test_before_the_first_line(exp):
    with exclusive(exp()) as _:
        assert "running, no line of train.jsonl yet" in info(exp())


def test_a_folder_without_a_training_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from sdpn.cli import main; main()", "info", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} holds no training: {tmp_path}/config.yaml is missing\n"


def test_it_needs_no_torch(exp):
    code = "import pathlib, sys; from sdpn.training.state import describe; describe(pathlib.Path(sys.argv[1]))"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, exp({})], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_a_model_folder_says_what_it_is(tmp_path):
    folder = write_small_model(tmp_path / "model")
    for arguments in ([str(folder)], ["--model", str(folder)]):
        text = CliRunner().invoke(cli, ["info", *arguments], catch_exceptions=False).output
        assert f"{folder}: ecapa, 0.0 million parameters" in text
        assert "channels 16" in text and "sampling_rate 16000" in text


def test_info_needs_one_thing_to_tell_about():
    assert CliRunner().invoke(cli, ["info"]).exit_code == 2
    assert CliRunner().invoke(cli, ["info", "a", "--model", "b"]).exit_code == 2
