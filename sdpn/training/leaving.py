"""Signals before a training begins; no torch is needed for it."""

import os
import signal

from sdpn.training.config import STOPPED_BY_SIGNAL


def leave_on_signals() -> None:
    """Until training begins there is nothing to save: leave at once with the status that asks for another start."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: os._exit(STOPPED_BY_SIGNAL))
