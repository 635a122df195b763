"""The start of a training, before torch is imported: signals, and how long threads wait for each other."""

import os
import signal

from sdpn.training.config import STOPPED_BY_SIGNAL

_SPINS = "2000"  # some 50 microseconds: longer than threads of one step are apart on an idle machine


def leave_on_signals() -> None:
    """Until training begins there is nothing to save: leave at once with the status that asks for another start."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: os._exit(STOPPED_BY_SIGNAL))


def sleep_at_barriers() -> None:
    """Have OpenMP's threads (libgomp's, which torch brings) sleep soon when they wait, in place of spinning for long.

    A thread that spins takes a core from the very thread that it waits for if other processes want the cores, too.
    This must be called before torch is imported; what the user has set in the environment stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
