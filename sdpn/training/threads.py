"""How long OpenMP's threads wait for each other before they sleep."""

import os

_SPINS = "2000"  # some 50 microseconds: longer than threads of one step are apart on an idle machine


def sleep_at_barriers() -> None:
    """Have OpenMP's threads (libgomp's, which torch brings) sleep soon when they wait, in place of spinning for long.

    A thread that spins takes a core from the very thread that it waits for if other processes want the cores, too.
    This must be called before torch is imported; what the user has set in the environment stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
