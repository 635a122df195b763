"""Several processes of one command on this machine, as ranks of one training."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Sequence
from functools import partial

from sdpn.cluster.pool import die_with_parent
from sdpn.training.config import STOPPED_BY_SIGNAL

_GRACE = 20.0  # seconds that the other ranks have, once one has failed or was stopped


def launch(command: Sequence[str], count: int) -> int:
    """Run `command` in `count` processes and wait for them; return the status of the first that failed or was stopped.

    Each finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as torchrun would set them.
    SIGTERM, SIGUSR1 and SIGINT are passed on; a process that dies of one of the first two was stopped, as one that
    leaves with status 85. Once a process has failed or was stopped, the others, which would wait for it, are ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks: list[subprocess.Popen] = []
    passed_on: set[int] = set()

    def pass_on(number: int, frame: object) -> None:
        passed_on.add(number)
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        for number in range(count):
            environment = {**os.environ, **shared, "RANK": str(number), "LOCAL_RANK": str(number)}
            tied = partial(die_with_parent, os.getpid())
            ranks.append(subprocess.Popen(command, env=environment, preexec_fn=tied, process_group=0))
        for number in set(passed_on):  # it came before the last of them was begun
            pass_on(number, None)
        return _wait(ranks, passed_on)
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
                rank.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen], passed_on: Collection[int]) -> int:
    """Wait for all; once one has failed or was stopped, for a while. The status is that of the first of these."""
    outcome, deadline = 0, None
    while True:
        statuses = [_status(rank.returncode, passed_on) for rank in ranks if rank.poll() is not None]
        if outcome == 0 and any(statuses):  # who fails at that moment lacks those that were stopped
            outcome = STOPPED_BY_SIGNAL if STOPPED_BY_SIGNAL in statuses else next(filter(None, statuses))
            deadline = time.monotonic() + _GRACE
        if len(statuses) == len(ranks) or (deadline is not None and time.monotonic() > deadline):
            return outcome
        time.sleep(0.1)


def _status(returned: int, passed_on: Collection[int]) -> int:
    """The exit status of a process as a shell has it; 85 where it died of a signal that asked it to stop."""
    if returned >= 0:
        return returned
    stopped = -returned in passed_on and -returned in (signal.SIGTERM, signal.SIGUSR1)
    return STOPPED_BY_SIGNAL if stopped else 128 - returned
