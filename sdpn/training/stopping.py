"""Reasons to end a training before its last step: a signal, a loss that is no number, a collapse."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sdpn.console import warn
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.prefetch import Batch, ViewSource
from sdpn.training.ranks import CommonError


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of SIGTERM, SIGUSR1 and SIGINT as they arrive, in place of dying of them.

    SIGINT is Ctrl-C: a second one ends the process at once, since it is then what the user wants.
    """
    arrived: list[str] = []

    def note(number: int, frame: object) -> None:
        arrived.append(signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # not by print, which the signal may have interrupted
            os.write(2, b"\n  saving after this step; Ctrl-C once more leaves at once\n")

    numbers = [signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a script's background
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_finite(steps: list[tuple[Batch, Tensor]], views: ViewSource, checkpoints: Checkpoints) -> None:
    """Raise CommonError for the first of the steps whose loss, or gradient norm, is not a finite number.

    Weights that such a gradient has changed are not saved: this is called before a checkpoint is.

    Utterances whose features are not finite are named first; else those of the batch.
    """
    finite = torch.isfinite(torch.stack([vital for _, vital in steps])).tolist()
    if all(map(all, finite)):
        return
    first = next(i for i, vital in enumerate(finite) if not all(vital))
    batch, failed = steps[first][0], "gradient" if finite[first][0] else "loss"
    again = views.views(batch.epoch, batch.utterances)
    sound = np.isfinite(again.teacher).all(axis=(0, 2, 3)) & np.isfinite(again.student).all(axis=(0, 2, 3))
    culprits = batch.utterances[~sound]
    what = "features that are not numbers" if len(culprits) else "the batch"
    names = [views.index.ids[utterance] for utterance in (culprits if len(culprits) else batch.utterances)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise CommonError(
        f"the {failed} is not finite at step {batch.step + 1} (epoch {batch.epoch + 1}, batch {batch.position + 1} of "
        f"it; {what}: utterances {shown}); the last good checkpoint is {checkpoints.newest_path() or 'none'}: look at "
        "these utterances, or train in another folder with a lower lr"
    )


class CollapseWatch:
    """Warns when the figures begin to speak of a collapse, or stops the training.

    Args:
        collapse: a line of figures -> why it speaks of one, or None.
        advice: what to try then.
        aborting: whether to stop.
        speaking: whether this process warns.
    """

    def __init__(self, collapse: Callable[[dict[str, float]], str | None], advice: str, aborting: bool, speaking: bool):
        self.collapse, self.advice, self.aborting, self.speaking = collapse, advice, aborting, speaking
        self._collapsed = False

    def check(self, line: dict[str, float]) -> None:
        """Warn if a line of the log indicates a collapse.

        Raises:
            CommonError: training has collapsed and is to be stopped.
        """
        reason, step = self.collapse(line), line["step"]
        if reason and self.aborting:
            raise CommonError(f"training has collapsed at step {step}: {reason}: {self.advice}")
        if reason and not self._collapsed and self.speaking:
            warn(f"training looks collapsed at step {step}: {reason}; {self.advice}")
        self._collapsed = reason is not None
