"""Cepstral mean and variance normalization of an utterance, or by a sliding window, as in Kaldi."""

from collections.abc import Callable

import numpy as np

_VARIANCE_FLOOR = 1e-20  # Kaldi's
Rows = Callable[[int, int], np.ndarray]
"""rows(start, stop) -> (stop - start, bins), of a matrix that need not be in memory."""


def utterance_statistics(rows: Rows, count: int, at_once: int = 8192) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (population) of `count` rows, (bins,) float64 each; Kaldi's compute-cmvn-stats."""
    total = squares = np.zeros(())
    for start in range(0, count, at_once):
        block = rows(start, min(start + at_once, count)).astype(np.float64)
        total = total + block.sum(axis=0)
        squares = squares + np.square(block).sum(axis=0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - np.square(mean), _VARIANCE_FLOOR))


def sliding_mean(rows: Rows, count: int, start: int, stop: int, window: int) -> np.ndarray:
    """The mean over a window of `window` rows around each of the rows [start, stop), (stop - start, bins) float64.

    The window is centred and keeps its length at both ends, by reaching further to the other side, as Kaldi's
    apply-cmvn-sliding --center=true has it; of a matrix of fewer rows it takes all.
    """
    frames = np.arange(start, stop)
    first = np.clip(frames - window // 2, 0, max(count - window, 0))
    last = np.minimum(first + window, count)
    lowest = int(first[0])
    sums = np.cumsum(rows(lowest, int(last[-1])).astype(np.float64), axis=0)
    sums = np.concatenate([np.zeros((1, sums.shape[1])), sums])
    return (sums[last - lowest] - sums[first - lowest]) / (last - first)[:, None]
