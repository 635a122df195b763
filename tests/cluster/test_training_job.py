"""A training as a job of a real Slurm: stopped, killed or preempted, it ends as one that nobody disturbed."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster.test_slurm import Driver, until

ROOT = Path(__file__).parents[2]
SUM = f"{sum(range(20))}\n"


class Training(Driver):
    """The training as a user runs it with --cmd slurm."""

    step = "tests/cluster/tiny_training.py"
    fixed = ("--ngpu", "0")
    settings = "--train-mem 100M --train-cpus 1"


@pytest.fixture
def exp(tmp_path, slurm):
    return tmp_path


def starts(exp: Path) -> list[int]:
    """The steps at which the training was begun, and gone on with."""
    path = exp / "starts.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_training_runs_as_one_job(exp, slurm):
    Training(slurm, exp).end()
    assert (exp / "model" / "sum.txt").read_text() == SUM
    assert starts(exp) == [0]
    (log,) = (exp / "cluster" / "log").iterdir()
    assert log.read_text().startswith("# tests/cluster/tiny_training.py ") and "status 0" in log.read_text()


def test_a_training_that_was_asked_to_stop_is_requeued_and_goes_on(exp, slurm):
    (exp / "hold").touch()
    driver = Training(slurm, exp)
    until(lambda: starts(exp) == [0])
    slurm.call("scancel", "--batch", "--signal=USR1", slurm.jobs()[0].split("_")[0])
    until(lambda: any((exp / "checkpoints").glob("*10.pt")))
    (exp / "hold").unlink()
    driver.end()
    assert starts(exp) == [0, 10]
    assert (exp / "model" / "sum.txt").read_text() == SUM


def test_a_training_that_was_killed_goes_on_from_its_newest_checkpoint(exp, slurm):
    (exp / "kill-10").touch()
    Training(slurm, exp).end()
    assert starts(exp) == [0, 5]
    assert (exp / "model" / "sum.txt").read_text() == SUM


def test_a_preempted_training_goes_on(exp, slurm):
    (exp / "hold").touch()
    driver = Training(slurm, exp, "--exclude=node2")
    until(lambda: starts(exp) == [0])
    urgent = ["sbatch", "--partition=urgent", "--exclude=node2", "--exclusive", "--output=/dev/null", "--wrap", "true"]
    slurm.call(*urgent)
    until(lambda: starts(exp) == [0] and any("PENDING" in line for line in slurm.jobs() if "tiny" in line))
    (exp / "hold").unlink()
    driver.end()
    assert len(starts(exp)) == 2
    assert (exp / "model" / "sum.txt").read_text() == SUM


def test_starts_without_a_newer_checkpoint_end_the_chain_with_a_sentence(exp, slurm):
    (exp / "never").touch()
    said = Training(slurm, exp, "--fruitless 2").end(1)
    assert "2 starts have brought no newer checkpoint than none" in said and "train_time" in said


def test_a_detached_training_is_found_again(exp, slurm):
    (exp / "hold").touch()
    Training(slurm, exp, "", "--detach").end(75)
    until(lambda: starts(exp) == [0])
    shown = subprocess.run(["sdpn", "jobs", exp], capture_output=True, text=True, check=True).stdout
    assert "tiny_training: 0 done, 1 running" in shown
    again = Training(slurm, exp)
    until(lambda: "in the queue already" in again.said())
    (exp / "hold").unlink()
    again.end()
    assert starts(exp) == [0]
