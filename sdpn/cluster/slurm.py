"""Slurm's own commands: sbatch, squeue, scancel and scontrol."""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdpn.errors import SdpnError

_BUSY = re.compile(
    r"Socket timed out|Unable to contact|Connection refused|Zero Bytes|try again|Communication conn", re.I
)
_UNANSWERED = 1800.0  # s without an answer of the controller after which waiting ends
_PAUSE = 5.0  # s before a command is tried again


class UnansweredError(Exception):
    """The controller does not answer; it may later."""


def environment() -> dict[str, str]:
    """Return this process's environment without what describes the job that it may itself be in."""
    return {name: text for name, text in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def call(*words: str) -> str:
    """Run one of Slurm's commands; return what it prints.

    Raises:
        UnansweredError: the controller does not answer.
        SdpnError: the command is not installed, or refuses.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment(), check=False)
    except FileNotFoundError:
        raise SdpnError(f"--cmd slurm: there is no {words[0]} here: submit from a machine of the cluster") from None
    except subprocess.TimeoutExpired:
        raise UnansweredError(words[0]) from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split())
    if _BUSY.search(said):
        raise UnansweredError(said)
    raise SdpnError(f"{words[0]} refuses: {said[:300]}")


def submit(script: Path, name: str) -> str:
    """Submit a script whose jobs are called `name`, a name that no others have; return the number of the job.

    If the controller does not answer, it may have taken the script all the same: it is asked for the name first.

    Raises:
        SdpnError: sbatch refuses it, or nobody answers for half an hour.
    """
    begun = time.monotonic()
    while True:
        try:
            return call("sbatch", "--parsable", str(script)).strip().split(";")[0]
        except UnansweredError as error:
            if time.monotonic() - begun > _UNANSWERED:
                raise SdpnError(f"sbatch: Slurm's controller has not answered for half an hour ({error})") from None
        time.sleep(_PAUSE)
        try:
            if known := named(name):
                return known
        except UnansweredError:
            continue


def named(name: str) -> str | None:
    """Return the number of the job of this name that is in the queue; None if there is none."""
    found = call("squeue", "--noheader", "--name", name, "--format", "%F").split()
    return found[0] if found else None


def queue(jobs: Sequence[str]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return state and reason of what is in the queue of these jobs, by number and index in the array (0 for none).

    Raises:
        UnansweredError: the controller does not answer.
    """
    if not jobs:
        return {}
    try:
        printed = call("squeue", "--noheader", "--array", "--jobs", ",".join(jobs), "--format", "%F|%K|%T|%r")
    except SdpnError as error:
        if "Invalid job id" in str(error):  # of the only one that is asked for, long gone
            return {}
        raise
    found = {}
    for line in printed.splitlines():
        number, index, state, reason = line.strip().split("|", 3)
        found[number, int(index) if index.isdecimal() else 0] = state, reason
    return found


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs; those that have ended are let be."""
    for job in jobs:
        try:
            call("scancel", job)
        except (SdpnError, UnansweredError):
            continue


def max_array(asked: int) -> int:
    """Return how many jobs one array may have: as asked, or fewer if the cluster allows fewer."""
    try:
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    except (SdpnError, UnansweredError):
        return asked
    return min(asked, max(1, int(found[1]) - 1)) if found else asked  # the highest index is one less
