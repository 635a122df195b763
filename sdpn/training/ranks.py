"""The processes that train one network together, and what they tell each other."""

import os
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.training.heartbeat import heartbeats

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)  # the first rank may write checkpoints and embed a dev set meanwhile


class CommonError(SdpnError):
    """A mistake that all ranks find alike, so that one of them may say it for all."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; the default is a training of one process.

    Every rank sees its share of a step's utterances. What the losses need of the others is gathered without gradient,
    in the order of the utterances.

    Attributes:
        number: of this process, from 0.
        count: of the processes.
        local: number of this process on its machine, which picks its GPU.
    """

    number: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.number == 0

    def share(self, utterances: np.ndarray) -> np.ndarray:
        """This rank's part of a step's utterances."""
        size = len(utterances) // self.count
        return utterances[self.number * size : (self.number + 1) * size]

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """Every rank's `x`, joined along `dim` in the order of the ranks; no gradient passes."""
        if self.count == 1:
            return x
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(self.count)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, dim=dim)

    def own(self, x: Tensor, dim: int) -> Tensor:
        """This rank's part of what `gather` joined."""
        return x.chunk(self.count, dim=dim)[self.number]

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers. Travels between CPUs: no GPU is waited for."""
        if self.count == 1:
            return number
        agreed = torch.tensor(number)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return int(agreed)

    def check_alike(self, settings: Any) -> None:
        """Raise CommonError on all ranks where `settings`, a plain dictionary, are others on one of them."""
        expected = self.on_first(lambda: digest(settings))
        if self.largest(digest(settings) != expected):
            raise CommonError(
                "the processes that are to train together have different settings or data: give all the same "
                "arguments, and look whether all see the same files"
            )

    def on_first(self, act: Callable[[], T]) -> T:
        """What `act` returns on the first rank; its SdpnError there is raised on all, as a CommonError."""
        if self.count == 1:
            return act()
        outcome: list = [None, None]
        if self.first:
            try:
                outcome[0] = act()
            except SdpnError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome, device=torch.device("cpu"))
        if outcome[1] is not None:
            raise CommonError(outcome[1])
        return outcome[0]


@dataclass(frozen=True)
class Place:
    """Where a process stands, as its launcher says."""

    rank: int
    count: int
    local: int
    address: str
    port: int


def place_from_environment(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place of this process that torchrun, `srun` or `launch` gave it; None where it trains alone.

    torchrun and `launch` set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Under `srun` the rank is
    SLURM_PROCID, and the ranks meet on the first node of the step, at a port that follows from the numbers of job and
    step.

    Raises:
        SdpnError: what stands there cannot be.
    """
    env = environment
    if "RANK" in env and "WORLD_SIZE" in env:
        rank, count = _number(env, "RANK"), _number(env, "WORLD_SIZE")
        local = _number(env, "LOCAL_RANK", rank)
    elif "SLURM_STEP_NUM_TASKS" in env and "SLURM_PROCID" in env:  # the first is set by srun, not in batch scripts
        rank, count = _number(env, "SLURM_PROCID"), _number(env, "SLURM_STEP_NUM_TASKS")
        local = _number(env, "SLURM_LOCALID")
    else:
        return None
    if count == 1:
        return None
    if rank >= count:
        raise SdpnError(f"the environment calls this process rank {rank} of {count}; ranks count from 0")
    address = env.get("MASTER_ADDR") or _first_node(env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST"))
    steps = _number(env, "SLURM_JOB_ID", 9500) + 137 * _number(env, "SLURM_STEP_ID")  # several in one job, too
    port = _number(env, "MASTER_PORT") or 20000 + steps % 20000
    return Place(rank, count, local, address, port)


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise SdpnError(f"{name} is '{text}' in the environment, where a launcher sets a whole number: unset it")
    return int(text)


def _first_node(nodes: str | None) -> str:
    """The address of the first of Slurm's `gpu[03-05,9],login`: as Slurm has it, else the node's name, gpu03."""
    if not nodes:
        return "127.0.0.1"
    name = re.sub(r"\[(\w+)[^\]]*\]", r"\1", re.findall(r"^[^,\[]*(?:\[[^\]]*\])?[^,]*", nodes)[0])
    try:
        shown = subprocess.run(["scontrol", "show", "node", name], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return name
    found = re.search(r"\bNodeAddr=(\S+)", shown)
    return found[1] if found else name


@contextmanager
def joined(place: Place | None, device: torch.device) -> Iterator[Ranks]:
    """Meet the other ranks, and part at the end of the block.

    Raises:
        SdpnError: they did not come, or one of them was lost on the way.
    """
    if place is None:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        _while_signals_are_heard(
            dist.init_process_group,
            backend,
            init_method=f"tcp://{place.address}:{place.port}",
            rank=place.rank,
            world_size=place.count,
            timeout=_PATIENCE,
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SdpnError(
            f"rank {place.rank} of {place.count} did not meet the others at {place.address}:{place.port} ({reason}): "
            "are all of them running, and is the port free (MASTER_PORT)?"
        ) from error
    try:
        with heartbeats(place.rank, place.count, place.address, place.port):
            yield Ranks(place.rank, place.count, place.local)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error) and "NCCL" not in str(error):
            raise
        raise SdpnError(
            f"rank {place.rank} of {place.count} lost the others ({' '.join(str(error).split())[:200]}): what ended "
            "one of them stands in its own output; the same command goes on from the newest checkpoint"
        ) from error
    finally:
        dist.destroy_process_group()


def _while_signals_are_heard(act: Callable, *args: Any, **settings: Any) -> None:
    """Call `act` in a thread: Python's signal handlers run between two steps of the main one, which it would block."""
    outcome: queue.SimpleQueue = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put(act(*args, **settings))
        except BaseException as error:  # raised again below
            outcome.put(error)

    threading.Thread(target=work, name="meeting", daemon=True).start()
    ended = outcome.get()
    if isinstance(ended, BaseException):
        raise ended
