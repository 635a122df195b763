"""What changes over a training, as functions of the step alone."""

import math


def learning_rate(step: int, total: int, warmup: int, peak: float, final: float) -> float:
    """Rise to `peak` in equal parts over the first `warmup` steps, then fall to `final` along half a cosine.

    Args:
        step: counted from 0; the last one is total - 1.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return final + (peak - final) * _cosine(step - warmup, total - warmup)


def teacher_momentum(step: int, total: int, initial: float) -> float:
    """Rise from `initial` to 1 along half a cosine."""
    return 1.0 - (1.0 - initial) * _cosine(step, total)


def _cosine(step: int, total: int) -> float:
    """From 1 at step 0 to 0 at step total - 1."""
    return 0.5 * (1.0 + math.cos(math.pi * step / max(total - 1, 1)))
