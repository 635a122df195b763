"""Arrays on a real Slurm: whatever happens to jobs, nodes and drivers, the end is that of an undisturbed run."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster

ROOT = Path(__file__).parents[2]
STEP = "tests/cluster/tiny_step.py"
WHOLE = "".join(f"shard {number}\n" for number in range(1, 5))
LIMIT = 90  # s that anything may take


class Driver:
    """A step as a user runs it with --cmd slurm.

    Args:
        slurm: the cluster.
        folder: its DATA or EXP.
        settings: behind `slurm`.
        options: of the step.
    """

    step = STEP
    fixed = ("--nj", "4")
    settings = "--mem 100M"

    def __init__(self, slurm: Cluster, folder: Path, settings: str = "", *options: str):
        cmd = f"slurm --poll 0.2 --max-poll 0.5 {self.settings} {settings}"
        words = [str(ROOT / self.step), "--cmd", cmd, *self.fixed, *options, str(folder)]
        handle, name = tempfile.mkstemp(".said", dir=folder)
        self.out = Path(name)
        with open(handle, "w") as out:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        slurm.drivers.append(self.process)

    def said(self) -> str:
        """Return what it has said so far."""
        return self.out.read_text()

    def end(self, status: int = 0) -> str:
        """Wait for its end; return what it said."""
        self.process.wait(LIMIT)
        said = self.said()
        assert self.process.returncode == status, said
        assert "Traceback" not in said
        return said


@pytest.fixture
def data(tmp_path, slurm):
    (tmp_path / "set").mkdir()
    return tmp_path


def until(happened) -> None:
    limit = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def made(data: Path) -> list[int]:
    """The shards whose making was begun, in order."""
    path = data / "made.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_the_shards_go_out_as_one_array_and_each_job_says_what_it_was(data, slurm):
    said = Driver(slurm, data).end()
    assert (data / "whole.txt").read_text() == WHOLE
    assert "4 shards of tiny_step in 4 jobs" in said
    logs = sorted((data / "cluster" / "log").iterdir())
    assert len(logs) == 4
    text = logs[2].read_text()
    assert text.startswith(f"# {STEP} {data} --shard set/part.3\n")
    for word in ("host ", "begin 2", "end 2", "status 0", "peak memory"):
        assert word in text
    assert len(list((data / "cluster").glob("*.sbatch"))) == 1


def test_the_line_in_a_log_makes_the_same_by_hand(data, slurm):
    subprocess.run([STEP, str(data), "--shard", "set/part.2"], cwd=ROOT, check=True)
    assert made(data) == [2]
    Driver(slurm, data).end()
    assert sorted(made(data)) == [1, 2, 3, 4]
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_finished_step_submits_nothing(data, slurm):
    Driver(slurm, data).end()
    before = made(data)
    assert "shards of tiny_step" not in Driver(slurm, data).end()
    assert made(data) == before


def test_a_dry_run_prints_the_script_and_the_commands_and_changes_nothing(data, slurm):
    said = Driver(slurm, data, "--time 5 --exclude=node9", "--dry-run").end()
    for line in (
        "#SBATCH --array=1-4%4",
        "#SBATCH --time=5",
        "#SBATCH --exclude=node9",
        f"{STEP} {data} --shard set/part.4",
    ):
        assert line in said
    assert made(data) == [] and not (data / "cluster" / "log").exists()


def test_several_shards_share_a_job_if_asked_for(data, slurm):
    said = Driver(slurm, data, "--shards-per-job 3").end()
    assert "4 shards of tiny_step in 2 jobs" in said
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_shard_that_was_killed_is_made_again(data, slurm):
    (data / "kill-2").touch()
    said = Driver(slurm, data).end()
    assert "attempt 2 of 3, with 200M" in said
    assert sorted(made(data)) == [1, 2, 2, 3, 4]
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_shard_that_fails_twice_is_tried_a_third_time(data, slurm):
    (data / "fail-3").write_text("2")
    said = Driver(slurm, data).end()
    assert "attempt 3 of 3, with 400M" in said
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_shard_that_always_fails_is_told_with_its_log_and_how_to_go_on(data, slurm):
    (data / "fail-3").write_text("9")
    said = Driver(slurm, data, "--tries 2").end(1)
    assert "this shard fails" in said and "1 shards were not made in 2 attempts, the first set/part.3" in said
    assert f"by hand: {STEP} {data} --shard set/part.3" in said
    shown = subprocess.run(["sdpn", "jobs", data], capture_output=True, text=True, check=True).stdout
    assert "tiny_step: 3 done, 0 running, 0 waiting, 1 failed" in shown and ".log" in shown
    (data / "fail-3").unlink()
    Driver(slurm, data).end()
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_job_that_was_cancelled_is_submitted_again(data, slurm):
    (data / "hold-1").touch()
    driver = Driver(slurm, data)
    until(lambda: len(made(data)) == 4 and len(slurm.jobs()) == 1)
    slurm.call("scancel", slurm.jobs()[0].split()[0])
    (data / "hold-1").unlink()
    driver.end()
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_killed_driver_s_jobs_are_found_again_and_not_submitted_twice(data, slurm):
    (data / "hold-4").touch()
    driver = Driver(slurm, data)
    until(lambda: len(made(data)) == 4)
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    again = Driver(slurm, data)
    until(lambda: "in the queue already" in again.said())
    (data / "hold-4").unlink()
    again.end()
    assert sorted(made(data)) == [1, 2, 3, 4]
    assert (data / "whole.txt").read_text() == WHOLE


def test_detached_jobs_run_on_and_the_same_command_collects_them(data, slurm):
    said = Driver(slurm, data, "", "--detach").end(75)
    assert "are left to their jobs" in said
    until(lambda: len(list((data / "set" / "done").glob("*.json"))) == 4)
    Driver(slurm, data).end()
    assert sorted(made(data)) == [1, 2, 3, 4]
    assert (data / "whole.txt").read_text() == WHOLE


def test_control_c_cancels_the_jobs(data, slurm):
    for number in range(1, 5):
        (data / f"hold-{number}").touch()
    driver = Driver(slurm, data)
    until(lambda: len(made(data)) == 4)
    os.killpg(driver.process.pid, signal.SIGINT)
    assert "are cancelled" in driver.end(130)
    until(lambda: not slurm.jobs())


def test_of_two_drivers_the_second_is_told_of_the_first(data, slurm):
    (data / "hold-1").touch()
    first = Driver(slurm, data)
    until(lambda: len(made(data)) == 4)
    assert f"another run is writing into {data} (process {first.process.pid} on " in Driver(slurm, data).end(1)
    (data / "hold-1").unlink()
    first.end()
    assert (data / "whole.txt").read_text() == WHOLE


def test_a_refused_option_is_sbatch_s_own_sentence(data, slurm):
    said = Driver(slurm, data, "--partition nowhere").end(1)
    assert "sbatch refuses" in said and "partition" in said


@pytest.mark.slow
def test_a_node_whose_daemon_is_gone_loses_no_shard(data, slurm):
    (data / "hold-1").touch()
    driver = Driver(slurm, data)
    until(lambda: len(made(data)) == 4 and len(slurm.jobs()) == 1)
    node = slurm.call("squeue", "-h", "-o", "%N").strip()
    slurm.daemons[node].kill()
    slurm.daemons.pop(node).wait()
    (data / "hold-1").unlink()
    slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    driver.end()
    assert (data / "whole.txt").read_text() == WHOLE
    slurm.start_node(int(node.removeprefix("node")))
    slurm.call("scontrol", "update", f"nodename={node}", "state=resume")


@pytest.mark.slow
def test_two_hundred_shards(data, slurm):
    said = Driver(slurm, data, "--shards-per-job 4 --max-array 20", "--count", "200").end()
    assert said.count("job ") >= 3
    assert len((data / "whole.txt").read_text().splitlines()) == 200
    assert sorted(made(data)) == list(range(1, 201))
