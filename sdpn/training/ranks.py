"""The processes that train one network together, and what they tell each other."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sdpn.errors import SdpnError

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
    SLURM_PROCID, and the ranks meet on the first node of the step, at a port that follows from the job's number.
    """
    env = environment
    if "RANK" in env and "WORLD_SIZE" in env:
        rank, count, local = int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", env["RANK"]))
    elif "SLURM_STEP_NUM_TASKS" in env and "SLURM_PROCID" in env:  # the first is set by srun, not in batch scripts
        rank, count = int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
        local = int(env.get("SLURM_LOCALID", 0))
    else:
        return None
    if count == 1:
        return None
    address = env.get("MASTER_ADDR") or _first_node(env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST"))
    port = int(env.get("MASTER_PORT") or 20000 + int(env.get("SLURM_JOB_ID", 9500)) % 20000)
    return Place(rank, count, local, address, port)


def _first_node(nodes: str | None) -> str:
    """The address of the first of Slurm's `gpu[03-05,9],login`: as Slurm has it, else the node's name, gpu03."""
    if not nodes:
        return "127.0.0.1"
    name = re.sub(r"\[(\w+)[^\]]*\]", r"\1", re.match(r"[^,\[]*(\[[^\]]*\])?[^,]*", nodes)[0])
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
        SdpnError: they did not come.
    """
    if place is None:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(
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
        yield Ranks(place.rank, place.count, place.local)
    finally:
        dist.destroy_process_group()
