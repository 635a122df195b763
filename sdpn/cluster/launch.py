"""Several processes of one command on this machine, as ranks of one training."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial

from sdpn.cluster.pool import die_with_parent

_GRACE = 20.0  # seconds that the other ranks have, once one has failed


def launch(command: Sequence[str], count: int) -> int:
    """Run `command` in `count` processes and wait for them; return the first failure's status, or theirs.

    Each finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as torchrun would set them.
    SIGTERM, SIGUSR1 and SIGINT are passed on. Once a process fails, the others, which would wait for it, are ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = []

    def pass_on(number: int, frame: object) -> None:
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
        return _wait(ranks)
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
                rank.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen]) -> int:
    """Wait for all; the status of the first that was not like the others, after which these have a while to end."""
    while True:
        statuses = [rank.poll() for rank in ranks]
        ended = [status for status in statuses if status is not None]
        failed = next((status for status in ended if status not in (0, 85)), None)
        if len(ended) == len(ranks):
            return failed if failed is not None else max(ended)
        if failed is not None:
            deadline = time.monotonic() + _GRACE
            while time.monotonic() < deadline and any(rank.poll() is None for rank in ranks):
                time.sleep(0.1)
            return failed if failed > 0 else 128 - failed
        time.sleep(0.1)
