"""One sitting of a training: claim the folder, train to the end or to a signal, record what was made."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sdpn.console import say, timed
from sdpn.files import exclusive
from sdpn.training.config import STOPPED_BY_SIGNAL
from sdpn.training.curves import draw_curves
from sdpn.training.identity import claim, training_work
from sdpn.training.memory import keep_freed_memory
from sdpn.training.ranks import Ranks


def sit(
    exp: Path,
    resolved: dict[str, Any],
    ranks: Ranks,
    prepare: Callable[[], None],
    fit: Callable[[], list[Path] | None],
    announcement: str,
) -> int:
    """Train in the folder `exp`, unless that is done.

    Args:
        resolved: every setting, and the fingerprints of the data, as a plain dictionary.
        prepare: called on the first rank before the folder is touched, for its errors.
        fit: trains; returns the files of the model, None where a signal stopped it.
        announcement: what is going to be trained, a line.

    Returns:
        The exit status of the step.
    """
    work = training_work(exp, resolved)
    with ExitStack() as stack:

        def begin() -> bool:
            """Make the experiment's folder this training's; whether there is anything left to do."""
            prepare()
            stack.enter_context(exclusive(exp))
            claim(exp, resolved)
            reason = work.stale_reason()
            if reason and not work.is_new():
                say(f"{exp}: {reason}: made again from the newest checkpoint")
            return reason is not None

        ranks.check_alike(resolved)
        if not ranks.on_first(begin):
            if ranks.first:
                draw_curves(exp)  # a kill may have come between the model and the picture
                say(f"{exp}: trained already, {exp}/model is up to date")
            return 0
        keep_freed_memory()
        if not ranks.first:
            return STOPPED_BY_SIGNAL if fit() is None else 0
        say(announcement)
        work.begin()
        with timed("training"):
            outputs = fit()
        if outputs is None:
            return STOPPED_BY_SIGNAL
        work.finish(outputs)
        draw_curves(exp)
        say(f"  wrote {exp}/model; the course of the training is in {exp}/train.jsonl, training.png and tensorboard/")
        return 0
