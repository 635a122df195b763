"""Jobs on this machine: a pool of processes."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from sdpn.errors import SdpnError


def run_jobs(function: Callable[..., Any], jobs: Sequence[tuple], nj: int) -> Iterator[Any]:
    """Yield `function(*job)` for every job, in the order in which they finish, `nj` processes at a time.

    `function` stands at the top level of a module and returns something small. With nj = 1, or one job, everything
    runs in this process. Workers compute with one thread each.

    Raises:
        SdpnError: a worker was killed from outside (usually for want of memory).
        Exception: whatever `function` raised first; the jobs not yet started are dropped.
    """
    if nj == 1 or len(jobs) <= 1:
        for job in jobs:
            yield function(*job)
        return
    context = multiprocessing.get_context("fork")
    begin = partial(ProcessPoolExecutor, initializer=_begin_worker, initargs=(os.getpid(),))
    with begin(min(nj, len(jobs)), mp_context=context) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise SdpnError(
                "a worker process was killed (out of memory?): run the same command again, with a smaller --nj"
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin_worker(parent: int) -> None:
    die_with_parent(parent)
    os.environ["OMP_NUM_THREADS"] = "1"  # for what the job itself imports
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this worker with its parent: it would wait for ever, and hold the parent's locks."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1  # sys/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this was said
        os._exit(1)
