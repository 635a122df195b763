"""conf/cluster/slurm.yaml, and what `--cmd` changes of it."""

import dataclasses
import re
import shlex
from dataclasses import dataclass

from sdpn import config
from sdpn.config import value
from sdpn.errors import SdpnError

FILE = "conf/cluster/slurm.yaml"
_MEMORY = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class SlurmConfig:
    """Where and how jobs run on a cluster."""

    partition: str = value("", "partition for jobs on CPUs; empty: the cluster's default")
    gpu_partition: str = value("", "partition for jobs on a GPU; empty: as partition")
    gpu: str = value("--gres=gpu:{count}", "what asks for so many GPUs on each node, as typed")
    options: str = value("", "further options of sbatch, as typed")
    setup: list[str] = value(list, "lines of bash that every job runs first")  # noqa: RUF009  (as the others are)
    time: str = value("4:00:00", "limit of a job of an array")
    mem: str = value("4G", "memory of a job of an array")
    cpus: int = value(1, "cores of a job of an array", at_least=1)
    step_cpus: int = value(8, "cores of a stage that runs as one job", at_least=1)
    step_mem: str = value("16G", "its memory")
    train_time: str = value("1-00:00:00", "limit of a training; reached, it is saved and requeued")
    train_mem: str = value("16G", "memory of a training, on each node")
    train_cpus: int = value(4, "cores of each rank of a training", at_least=1)
    ranks: int = value(1, "processes of a training on CPUs", at_least=1)
    nodes: int = value(1, "nodes that the processes of a training are spread over", at_least=1)
    max_jobs_run: int = value(200, "jobs of an array that run at once", at_least=1)
    max_array: int = value(1000, "jobs in one array at most", at_least=1)
    shards_per_job: int = value(1, "shards that one job makes, one after another", at_least=1)
    tries: int = value(3, "how often a shard is tried, each time with twice the memory and time", at_least=1)
    fruitless: int = value(5, "starts of a training without a newer checkpoint, after which it ends", at_least=1)
    signal_before: int = value(120, "s before its limit at which a training is asked to save", at_least=1)
    poll: float = value(2.0, "s between two looks at the queue", above=0)
    max_poll: float = value(60.0, "s between two looks at most", above=0)
    patience: float = value(168.0, "hours after which waiting ends", above=0)

    def check(self) -> None:
        for name in ("time", "train_time"):
            if minutes_of(getattr(self, name)) is None:
                raise ValueError(f"'{name}' is '{getattr(self, name)}'; expected D-HH:MM:SS, HH:MM:SS or minutes")
        for name in ("mem", "step_mem", "train_mem"):
            if not _MEMORY.fullmatch(getattr(self, name)):
                raise ValueError(f"'{name}' is '{getattr(self, name)}'; expected a number with K, M, G or T, e.g. 4G")


def parse_cmd(cmd: str, file: str = FILE) -> SlurmConfig | None:
    """Read what `--cmd` says: None for `local`; for `slurm`, the settings of `file` with what stands behind it.

    Example:
        >>> parse_cmd("slurm --mem 8G --exclude=node7").options
        '--exclude=node7'

    Raises:
        SdpnError: it says something else, or a setting is not allowed.
    """
    try:
        words = shlex.split(cmd)
    except ValueError as error:
        raise SdpnError(f"--cmd is '{cmd}': {str(error).lower()}") from None
    if words == ["local"]:
        return None
    if not words or words[0] != "slurm":
        raise SdpnError(f"--cmd is '{cmd}'; allowed: local, slurm, or slurm with options: 'slurm --mem 8G'")
    known = {f"--{field.name.replace('_', '-')}": field.name for field in dataclasses.fields(SlurmConfig)}
    given, others, rest = {}, [], iter(words[1:])
    for word in rest:
        name, equals, text = word.partition("=")
        if name not in known:
            others.append(word)
            continue
        text = text if equals else next(rest, "")
        given[known[name]] = config.parse(SlurmConfig, known[name], [text], name)
    made = config.read(file, SlurmConfig, given)
    return dataclasses.replace(made, options=shlex.join([*shlex.split(made.options), *others]))


def larger(settings: SlurmConfig, attempt: int) -> SlurmConfig:
    """Return the settings of an attempt, from 1: each has twice the memory and time of the one before."""
    factor = 2 ** (attempt - 1)
    number, unit = _MEMORY.fullmatch(settings.mem).groups()  # type: ignore[union-attr]
    minutes = minutes_of(settings.time)
    assert minutes is not None
    time = settings.time if factor == 1 else str(minutes * factor)
    return dataclasses.replace(settings, mem=f"{int(number) * factor}{unit}", time=time)


def minutes_of(time: str) -> int | None:
    """Return how many minutes a limit of Slurm's is, rounded up; None if it is none."""
    found = _TIME.fullmatch(time)
    if not found:
        return None
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # D-HH[:MM[:SS]]
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return int(days or 0) * 1440 + hours * 60 + minutes + -(-seconds // 60)
