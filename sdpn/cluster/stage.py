"""A step of the recipe, wherever its shards are made: here, by a job of an array, or by Slurm.

A step calls `work(run)`, which hands `run` the shards that are to be made, of all sets and systems, and makes of them
what they are for. What `run` is decides the rest:

* here (`--cmd local`), the shards are made by a pool of processes;
* in a job (`--shard train/feats.0041`), the shards named are made, and nothing of what comes behind;
* on a cluster (`--cmd slurm`), `work` is called twice: first with a `run` that only notes the shards, which then go out
  as one array, and once all are done, to make of them what they are for.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import click

from sdpn.cluster.arrays import Array, Arrays, Record, Task, is_on_disk, status_of
from sdpn.cluster.config import SlurmConfig, parse_cmd
from sdpn.cluster.pool import run_jobs
from sdpn.cluster.script import ROOT, training_script
from sdpn.console import say
from sdpn.errors import SdpnError
from sdpn.recipe.program import shared
from sdpn.shards import Work

_OWN = {"--cmd": 1, "--cluster-config": 1, "--nj": 1, "--dry-run": 0, "--detach": 0, "--shard": 1}
"""Options that a job does not receive, and how many words stand behind them."""


@dataclass(frozen=True)
class Where:
    """Where a step runs, as its options say.

    Attributes:
        slurm: the settings of the cluster; None for this machine.
        dry_run, detach: see `Arrays`.
        shards: those that this process is to make; none: it is no job of an array.
    """

    slurm: SlurmConfig | None = None
    dry_run: bool = False
    detach: bool = False
    shards: tuple[str, ...] = ()


def cluster_options(shards: bool = True) -> Callable:
    """Give a program --cmd and what belongs to it; its function receives a `Where` as `where`.

    Args:
        shards: whether it can make single shards.
    """

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def with_where(cmd: str, cluster_config: str, dry_run: bool, detach: bool, **rest: Any) -> Any:
            names = rest.pop("shard", ())
            where = Where(parse_cmd(cmd, cluster_config), dry_run, detach, names)
            if (dry_run or detach) and where.slurm is None:
                raise SdpnError("--dry-run and --detach go with --cmd slurm alone")
            return function(where=where, **rest)

        if shards:
            help = "make this shard alone, as a job does; may be given several times"
            with_where = click.option("--shard", multiple=True, metavar="NAME", help=help)(with_where)
        return shared("cmd", "cluster-config", "dry-run", "detach")(with_where)

    return decorate


@dataclass
class _Noting:
    """A `run` that notes the shards it is given, and makes none."""

    root: Path
    prepares: bool
    completes: ClassVar[bool] = False
    shards: dict[str, Work] = field(default_factory=dict)

    def __call__(self, function: Callable, jobs: Sequence[tuple]) -> Iterator[Any]:
        self.shards |= {name_of(job, self.root): work_of(job) for job in jobs}
        return iter(())


@dataclass
class _Choosing:
    """A `run` that makes the shards of some names alone."""

    root: Path
    names: tuple[str, ...]
    completes: ClassVar[bool] = False
    prepares: ClassVar[bool] = False
    seen: set[str] = field(default_factory=set)

    def __call__(self, function: Callable, jobs: Sequence[tuple]) -> Iterator[Any]:
        for job in jobs:
            name = name_of(job, self.root)
            if name in self.names:
                function(*job)
                self.seen.add(name)
                say(f"  {name} is made")
        return iter(())


def work_of(job: tuple) -> Work:
    """Return the work of a job: its first argument, or what that has as `work`."""
    return job[0] if isinstance(job[0], Work) else job[0].work


def name_of(job: tuple, root: Path) -> str:
    """Return what a shard is called, e.g. "train/feats.0041": its folder below `root`, and its work's name."""
    work = work_of(job)
    return str(Path(work.directory).absolute().relative_to(root.absolute()) / work.name)


def run_shards(
    work: Callable[[Callable], None], where: Where, root: Path, step: str, nj: int, gpu: bool = False
) -> bool:
    """Call `work`, see above; return whether all that it is for has been made.

    Args:
        root: the folder that the shards lie below, and whose `cluster` keeps scripts and logs: DATA or EXP.
        step: the name of the program, e.g. "make_fbank".
        nj: jobs at once.
        gpu: whether each of them computes on a GPU.
    """
    if where.shards:
        chosen = _Choosing(root, where.shards)
        work(chosen)
        for name in where.shards:
            if name not in chosen.seen:
                _refuse_unknown(root, name)
                say(f"  {name} is done already")
        return False
    if where.slurm is None:
        work(partial(run_jobs, nj=nj))
        return True
    refuse_cpu_build(gpu)
    noted = _Noting(root, prepares=not where.dry_run)
    with contextlib.redirect_stdout(io.StringIO()):  # it is all said again when the work is finished
        work(noted)
    tasks = [
        Task(name, [*by_hand(), "--shard", name], partial(_holds, one), one.done_file.absolute())
        for name, one in noted.shards.items()
    ]
    Arrays(root / "cluster", step, where.slurm, nj, gpu, dry_run=where.dry_run, detach=where.detach).run(tasks)
    if not where.dry_run:
        work(partial(run_jobs, nj=1))
    return not where.dry_run


def run_whole(where: Where, root: Path, step: str, nj: int | None, ended: Collection[int] = (0,)) -> bool:
    """Have a step run as one job of several cores; return whether it has.

    It is to be called again here: all is done then, and what came out is said.

    Args:
        root: the folder whose `cluster` keeps the script and the log: DATA or EXP.
        nj: how many processes are asked for; None where the step has no --nj.
        ended: the exit statuses of a step that has done what it can.
    """
    if where.slurm is None:
        return True
    cores = min(nj or where.slurm.step_cpus, where.slurm.step_cpus)
    command = by_hand() + ([] if nj is None else ["--nj", str(cores)])
    folder = (root / "cluster").absolute()
    record = folder / f"{step}.jobs.json"
    task = Task(step, command, partial(_has_ended_well, record, step, ended), record)
    Arrays(folder, step, where.slurm, cores, whole=True, dry_run=where.dry_run, detach=where.detach).run([task])
    record.unlink(missing_ok=True)  # the next time it is another job's turn
    return not where.dry_run


def _has_ended_well(record: Path, step: str, ended: Collection[int] = (0,)) -> bool:
    """Return whether the last job of a step has left one of these statuses."""
    found = Record.read(record).find(step)
    if found is None:
        return False
    array, index = found
    status = status_of(record.parent, array.name, index)
    return status is not None and status["status"] in ended


class _Training(Arrays):
    """A training as an array of one job."""

    def __init__(self, exp: Path, ranks: int, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.exp, self.ranks = exp.absolute(), ranks

    def _script(self, array: Array, count: int, commands: Path) -> str:
        log = self.folder / "log" / f"{array.name}.%a.log"
        return training_script(self.settings, array.name, log, commands, self.exp, self.ranks, self.gpu)


def run_training(where: Where, exp: Path, step: str, ngpu: int) -> None:
    """Have a training run as a job of Slurm's, to its end.

    Args:
        exp: the folder of the experiment.
        step: the name of the program.
        ngpu: GPUs, each with a process of its own; 0: as many processes as the settings say, on CPUs.

    Raises:
        SdpnError: it has failed; see also `Arrays.run`.
    """
    assert where.slurm is not None
    refuse_cpu_build(ngpu > 0)
    command = by_hand({"--ngpu": 1}) + (["--ngpu", "1"] if ngpu else [])
    folder = (exp / "cluster").absolute()
    record = folder / f"{step}.jobs.json"
    task = Task(step, command, partial(_has_ended_well, record, step), record)
    settings = replace(where.slurm, tries=1)  # it is requeued in place of being submitted again
    options = {"gpu": ngpu > 0, "dry_run": where.dry_run, "detach": where.detach}
    _Training(exp, ngpu or settings.ranks, folder, step, settings, 1, **options).run([task])
    record.unlink(missing_ok=True)


def by_hand(others: Mapping[str, int] = MappingProxyType({})) -> list[str]:
    """Return the words of this command without what a job does not receive; the program relative to the recipe.

    Args:
        others: further options that are left out, with how many words stand behind them.
    """
    words, kept, left_out = iter(sys.argv[1:]), [], {**_OWN, **others}
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in left_out:
            kept.append(word)
        elif not equals:
            for _ in range(left_out[name]):
                next(words, None)
    program = Path(sys.argv[0]).absolute()
    return [str(program.relative_to(ROOT) if program.is_relative_to(ROOT) else program), *kept]


def refuse_cpu_build(gpu: bool) -> None:
    """Make sure that jobs for a GPU would find a torch that can use one; nobody imports torch for that.

    Raises:
        SdpnError: it is built for CPUs alone.
    """
    if not gpu:
        return
    from importlib.util import find_spec

    found = find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else None
    if version and version.exists() and "cuda: Optional[str] = None" in version.read_text(encoding="utf-8"):
        raise SdpnError(
            "--ngpu asks for GPUs, but the torch in .venv is built for CPUs alone: remove .venv, and build it where "
            "nvidia-smi is, or with SDPN_TORCH set to a build for CUDA (see path.sh)"
        )


def _holds(work: Work) -> bool:
    return is_on_disk(work.done_file) and work.stale_reason() is None


def _refuse_unknown(root: Path, name: str) -> None:
    work = Work.finished((root / name).parent, Path(name).name)
    if work is None:
        raise SdpnError(f"--shard is '{name}', which is none of {root}: `--cmd slurm --dry-run` names those to be made")
