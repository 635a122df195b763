"""Work on a cluster: shards as arrays of Slurm jobs, watched until every one is done.

What a shard has done is known from its done-file. The queue tells only whether to go on waiting, accounting is never
asked, and only what is missing is submitted again.
"""

import json
import os
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from sdpn.cluster import slurm
from sdpn.cluster.config import SlurmConfig, larger
from sdpn.cluster.script import array_script
from sdpn.console import say, warn
from sdpn.errors import SdpnError
from sdpn.files import exclusive, write_json, write_text

T = TypeVar("T")

DETACHED = 75  # exit status: jobs run, call again later
_SETTLING = 3  # looks at a shard whose job is gone before it is taken for lost: file servers tell late of new files
_TAIL = 20  # lines of a log that are shown


class DetachedError(SdpnError):
    """Jobs go on without the command that submitted them."""

    status = DETACHED


@dataclass(frozen=True)
class Task:
    """A shard, or a stage as a whole, as a job.

    Attributes:
        name: e.g. "train/feats.0041"; unique in its step.
        command: what makes it, run in the folder of the recipe.
        is_done: whether it is done, asked anew each time.
        done_file: is there once it is done; for `sdpn jobs`.
    """

    name: str
    command: list[str]
    is_done: Callable[[], bool]
    done_file: Path


@dataclass
class Array:
    """An array of jobs that was submitted.

    Attributes:
        name: of the jobs, its own.
        tasks: by index from 1, the names of the tasks of each job.
        job: its number; "" while nobody knows whether Slurm has taken it.
        attempt: the largest of its tasks'.
    """

    name: str
    tasks: list[list[str]]
    job: str = ""
    attempt: int = 1

    def log(self, folder: Path, index: int) -> Path:
        """Return the log of a job."""
        return folder / "log" / f"{self.name}.{index}.log"


@dataclass
class Record:
    """The arrays of a step, kept in a file, so that the same command finds its jobs again.

    Attributes:
        path: the file.
        arrays: in the order in which they were submitted.
        done_files: of every task, by its name.
    """

    path: Path
    arrays: list[Array] = field(default_factory=list)
    done_files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read the file; an empty record if there is none."""
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, [Array(**array) for array in tree["arrays"]], dict(tree["done_files"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls(path)

    def write(self) -> None:
        """Write the file."""
        arrays = [vars(array) for array in self.arrays]
        write_json(self.path, {"arrays": arrays, "done_files": self.done_files})

    def find(self, task: str) -> tuple[Array, int] | None:
        """Return the last array that a task was in, and its index there."""
        for array in reversed(self.arrays):
            for index, names in enumerate(array.tasks, 1):
                if task in names:
                    return array, index
        return None

    def attempts(self) -> Counter[str]:
        """Return how often each task was submitted."""
        return Counter(name for array in self.arrays for names in array.tasks for name in names)


class Arrays:
    """Runs the tasks of one step of the recipe as arrays.

    Args:
        folder: where scripts, logs and the record are kept.
        step: the name of the step, e.g. "make_fbank".
        settings: of the site.
        at_once: jobs that may run at once.
        gpu: whether a job needs a GPU.
        whole: whether the tasks are whole stages, of several cores.
        dry_run: print the scripts, and submit nothing.
        detach: leave once all is submitted.
    """

    def __init__(
        self,
        folder: Path,
        step: str,
        settings: SlurmConfig,
        at_once: int,
        gpu: bool = False,
        whole: bool = False,
        dry_run: bool = False,
        detach: bool = False,
    ):
        self.folder, self.step, self.settings, self.at_once = folder.absolute(), step, settings, at_once
        self.gpu, self.whole, self.dry_run, self.detach = gpu, whole, dry_run, detach

    def run(self, tasks: Sequence[Task]) -> None:
        """Have all tasks done that are not yet.

        Raises:
            SdpnError: some have failed as often as they may be tried, or waiting has taken too long.
            DetachedError: they go on without this process.
        """
        missing = {task.name: task for task in tasks if not task.is_done()}
        if self.dry_run:
            self._show(list(missing.values()))
            return
        if not missing:
            return
        with exclusive(self.folder, self.step):
            record = Record.read(self.folder / f"{self.step}.jobs.json")
            try:
                self._work_off(record, missing)
            except KeyboardInterrupt:
                slurm.cancel(array.job for array in record.arrays if array.job)
                say(f"  the jobs of {self.step} are cancelled; what they have finished is kept")
                raise

    def _work_off(self, record: Record, missing: dict[str, Task]) -> None:
        in_queue = self._look(record)
        if in_queue:
            say(f"  {len(in_queue)} jobs of {self.step} are in the queue already: waiting for them")
        else:
            record.arrays = []  # what an earlier command has tried does not count
        record.done_files |= {name: str(task.done_file) for name, task in missing.items()}
        total, begun, pause = len(missing), time.monotonic(), self.settings.poll
        gone: Counter[str] = Counter()
        said = ""
        while missing:
            waited_for = self._names_in(record, in_queue)
            lost = [name for name in missing if name not in waited_for]
            tried = record.attempts()
            for name in lost:
                gone[name] += 1
            ready = [name for name in lost if not tried[name] or gone[name] >= _SETTLING]
            again = [name for name in ready if tried[name] < self.settings.tries]
            if again:
                self._submit(record, [missing[name] for name in again], tried)
                for name in again:
                    gone[name] = 0
                if self.detach:
                    raise DetachedError(
                        f"{len(missing)} shards of {self.step} are left to their jobs, which `sdpn jobs "
                        f"{self.folder.parent}` shows; the same command goes on when they are done"
                    )
                pause = self.settings.poll
            elif len(ready) == len(missing):
                raise self._failure(record, ready)
            if time.monotonic() - begun > 3600 * self.settings.patience:
                reasons = Counter(f"{state.lower()} ({reason})" for state, reason in in_queue.values())
                raise SdpnError(
                    f"{self.step}: {len(missing)} of {total} shards are not done after {self.settings.patience:g} "
                    f"hours (patience): their jobs are {', '.join(reasons) or 'gone'}"
                )
            time.sleep(pause)
            in_queue, before = self._look(record), len(missing)
            missing = {name: task for name, task in missing.items() if not task.is_done()}
            line = self._progress(total, missing, in_queue)
            changed = line != said
            if changed:
                say(line)
                said = line
            pause = (
                self.settings.poll if changed or before != len(missing) else min(pause * 1.3, self.settings.max_poll)
            )

    def _progress(self, total: int, missing: dict[str, Task], in_queue: dict) -> str:
        states = Counter(state for state, _ in in_queue.values())
        waiting = {reason for state, reason in in_queue.values() if state == "PENDING"} - {"None", "Priority"}
        queued = sum(states.values()) - states["RUNNING"]
        why = f" ({', '.join(sorted(waiting))})" if waiting else ""
        jobs = f"{states['RUNNING']} running, {queued} waiting{why}"
        return f"  {self.step}: {total - len(missing)} of {total} shards done; jobs: {jobs}"

    def _look(self, record: Record) -> dict[tuple[str, int], tuple[str, str]]:
        """Return what is in the queue; if nobody answers, all of the jobs."""
        for array in record.arrays:
            if not array.job:  # this process's forerunner was killed while it submitted
                array.job = self._ask(partial(slurm.named, array.name)) or "none"
        jobs = [array.job for array in record.arrays if array.job not in ("", "none")]
        return self._ask(partial(slurm.queue, jobs))

    def _ask(self, question: Callable[[], T]) -> T:
        begun, warned = time.monotonic(), False
        while True:
            try:
                return question()
            except slurm.UnansweredError as error:
                if time.monotonic() - begun > 3600 * self.settings.patience:
                    raise SdpnError(f"{self.step}: Slurm's controller does not answer ({error})") from None
                if not warned:
                    warn(f"Slurm's controller does not answer ({error}): asking again")
                    warned = True
                time.sleep(self.settings.max_poll)

    @staticmethod
    def _names_in(record: Record, in_queue: dict[tuple[str, int], tuple[str, str]]) -> set[str]:
        """Return the tasks of the jobs that are in the queue."""
        by_job = {array.job: array for array in record.arrays}
        return {name for job, index in in_queue if index for name in by_job[job].tasks[index - 1]}

    def _submit(self, record: Record, tasks: list[Task], tried: Counter[str]) -> None:
        """Submit tasks, those of one attempt in one array."""
        most = slurm.max_array(self.settings.max_array)
        for attempt in sorted({tried[task.name] + 1 for task in tasks}):
            own = [task for task in tasks if tried[task.name] + 1 == attempt]
            each = self.settings.shards_per_job if attempt == 1 else 1
            jobs = [own[first : first + each] for first in range(0, len(own), each)]
            for first in range(0, len(jobs), most):
                self._submit_array(record, jobs[first : first + most], attempt)

    def _submit_array(self, record: Record, jobs: list[list[Task]], attempt: int) -> None:
        names = [[task.name for task in own] for own in jobs]
        array = Array(f"{self.step}-{secrets.token_hex(4)}", names, attempt=attempt)
        script = self._write(array, jobs)
        record.arrays.append(array)
        record.write()  # before it is submitted: killed in between, the next command asks for its name
        array.job = slurm.submit(script, array.name)
        record.write()
        shards = sum(map(len, jobs))
        more = f", attempt {attempt} of {self.settings.tries}, with {larger(self.settings, attempt).mem}"
        again = more if attempt > 1 else ""
        said = f"{shards} shards of {self.step} in {len(jobs)} jobs{again}"
        say(f"  job {array.job}: {said}; scripts and logs in {self.folder}")

    def _write(self, array: Array, jobs: list[list[Task]]) -> Path:
        commands = self.folder / f"{array.name}.commands"
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        write_text(commands, "".join(shlex.join(joined(own)) + "\n" for own in jobs))
        text = self._script(array, len(jobs), commands)
        path = self.folder / f"{array.name}.sbatch"
        write_text(path, text)
        return path

    def _script(self, array: Array, count: int, commands: Path) -> str:
        settings = larger(self.settings, array.attempt)
        log = self.folder / "log" / f"{array.name}.%a.log"
        return array_script(settings, array.name, count, self.at_once, log, commands, self.gpu, self.whole)

    def _show(self, tasks: list[Task]) -> None:
        """Print what would be submitted."""
        if not tasks:
            say(f"# {self.step}: nothing to do")
            return
        each = self.settings.shards_per_job
        jobs = [tasks[first : first + each] for first in range(0, len(tasks), each)]
        array = Array(f"{self.step}-00000000", [])
        say(self._script(array, len(jobs), self.folder / f"{array.name}.commands"))
        say(f"# {array.name}.commands:")
        for own in jobs:
            say(shlex.join(joined(own)))

    def _failure(self, record: Record, names: list[str]) -> SdpnError:
        found = record.find(names[0])
        assert found is not None
        array, index = found
        log = array.log(self.folder, index)
        say(f"  the end of {log}:")
        for line in tail(log):
            say(f"    {line}")
        return SdpnError(
            f"{self.step}: {len(names)} shards were not made in {self.settings.tries} attempts, the first {names[0]}: "
            f"{log} says why; by hand: {shlex.join(self._command_of(array, index))}; mended, the same command goes on"
        )

    def _command_of(self, array: Array, index: int) -> list[str]:
        return shlex.split((self.folder / f"{array.name}.commands").read_text(encoding="utf-8").splitlines()[index - 1])


def joined(tasks: Sequence[Task]) -> list[str]:
    """Return the one command for several shards of a step: they differ in the last two words, `--shard NAME`."""
    first, *others = (task.command for task in tasks)
    return first + [word for command in others for word in command[-2:]]


def tail(log: Path) -> list[str]:
    """Return the last lines of a log; a sentence if there is none."""
    if not log.exists():
        return ["(there is no log: the job was never begun, or its node cannot write here)"]
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]


def status_of(folder: Path, name: str, index: int) -> dict | None:
    """Return what a job has said at its end: status, seconds, memory; None if it has not ended by itself."""
    try:
        return json.loads((folder / f"{name}.commands.{index}.status").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def is_on_disk(path: Path) -> bool:
    """Return whether a file is there, by opening it: that makes file servers look, where asking for it may not."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True
