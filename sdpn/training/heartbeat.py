"""A sign of life of each rank for the others: whoever waits in vain for one that hangs leaves, and can start again."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from sdpn.training.config import STOPPED_BY_SIGNAL

BEAT = 5.0
"""s between two signs of life."""
SILENT = 90.0
"""s without a sign of life after which a rank counts as hung."""
DEAF = 90.0
"""s after SIGTERM or SIGUSR1 in which a rank must have saved and left."""


@contextmanager
def heartbeats(rank: int, count: int, address: str, port: int) -> Iterator[None]:
    """Have a thread watch over this rank, and over the others, while they train together.

    A rank that sits in a collective runs no handler of Python's: where another one hangs (a dead node, SIGSTOP), it
    would hear neither that nor a signal. The thread hears both. It leaves the process with status 85, which asks for
    another start; what was saved last is whole.

    Args:
        rank, count: of this process, of all.
        address, port: where the ranks have met, and their store is.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # written to at once, whatever Python is doing
    ended = threading.Event()
    store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(minutes=2))
    store.set_timeout(timedelta(seconds=BEAT))  # where its keeper is gone, nobody is to be kept waiting
    thread = threading.Thread(target=_watch, args=(rank, count, store, reading, ended), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")  # so that it looks up
        thread.join(2 * BEAT)
        os.close(writing)
        if not thread.is_alive():
            os.close(reading)


def _watch(rank: int, count: int, store: dist.TCPStore, reading: int, ended: threading.Event) -> None:
    begun = time.monotonic()
    seen = dict.fromkeys(range(count), (b"", begun))
    asked: float | None = None
    beat = 0
    while not ended.is_set():
        if select.select([reading], [], [], BEAT)[0]:
            heard = set(os.read(reading, 64))
            if heard & {signal.SIGTERM, signal.SIGUSR1} and asked is None:
                asked = time.monotonic()
        if ended.is_set():
            return
        beat += 1
        try:
            store.set(f"beat/{rank}", str(beat))
            for other in range(count):
                if store.check([f"beat/{other}"]) and (found := store.get(f"beat/{other}")) != seen[other][0]:
                    seen[other] = found, time.monotonic()
        except (RuntimeError, OSError):  # the first rank, who keeps the store, is gone
            pass
        now = time.monotonic()
        silent = [other for other in range(count) if other != rank and now - seen[other][1] > SILENT]
        if silent:
            _leave(
                f"rank {rank} has heard nothing of rank {silent[0]} for {SILENT:.0f} s: it hangs, or its node is gone"
            )
        if asked is not None and now - asked > DEAF:
            _leave(f"rank {rank} was asked to stop {DEAF:.0f} s ago and still waits for the others")


def _leave(reason: str) -> None:
    """End this process at once, with the status that asks for another start."""
    print(f"error: {reason}: the same command goes on from the newest checkpoint", file=sys.stderr, flush=True)
    os._exit(STOPPED_BY_SIGNAL)
