"""The figures of a trial list in many draws of its speakers, and of its pairs of speakers.

Trials that share a speaker are not independent, so speakers are drawn with replacement, not trials. A speaker drawn m
times counts m times: a target trial of that speaker has the weight m, a non-target trial of two speakers the product of
theirs. The same draws serve every system, so the difference between two systems is formed within each draw, and what
makes a draw easy or hard for both falls out of it. (Bisani and Ney, ICASSP 2004, for the paired bootstrap; Poh and
Bengio, Audio- and Video-based Biometric Person Authentication 2005, for drawing users.)

The product of two weights has three times the variance of one, so what is particular to a pair of speakers counts three
times (Owen, Annals of Applied Statistics 1(2), 2007, on the pigeonhole bootstrap). Draws of the pairs themselves
measure that part by itself; `sdpn.evaluation.intervals` takes the surplus out.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

_DRAWS_AT_ONCE = 64  # of pairs: 64 draws of 5 million pairs are 320 MB of weights


@dataclass(frozen=True)
class Costs:
    """The figures beside the EER and minimum Cllr that `replicate` computes.

    Attributes:
        points: (n_points, 2), for each minimum detection cost the weights of misses and of false alarms, already
            divided by the smaller of the two.
        losses: (n_losses, n_trials), for each figure that is a mean over targets plus a mean over non-targets (Cllr,
            actual detection cost) what each trial adds to the mean of its class.
    """

    points: np.ndarray
    losses: np.ndarray


class _Order(NamedTuple):
    """Trials by rising score.

    Attributes:
        target, nontarget: the trials of each class, as indices.
        firsts: (n_distinct + 1,), where each distinct score begins in `target`, and its length.
        stops: (2 n_distinct + 2,): 0, how many non-targets lie below and how many up to each distinct score, all.
    """

    target: np.ndarray
    nontarget: np.ndarray
    firsts: np.ndarray
    stops: np.ndarray


def draw_speakers(n_speakers: int, n_draws: int, seed: int) -> np.ndarray:
    """How often each speaker is drawn in each draw: (n_draws, n_speakers), every row summing to n_speakers."""
    rng = np.random.default_rng([seed, 8])
    return rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), n_draws)


def replicate(
    scores: np.ndarray,
    is_target: np.ndarray,
    enroll_speaker: np.ndarray,
    test_speaker: np.ndarray,
    draws: np.ndarray,
    costs: Costs,
) -> np.ndarray:
    """The figures of every draw.

    Args:
        scores: (n_trials,).
        is_target: (n_trials,) bool.
        enroll_speaker, test_speaker: (n_trials,) indices of columns of `draws`.
        draws: (n_draws, n_speakers), as `draw_speakers` gives it.
        costs: the other figures.

    Returns:
        (2 + n_points + n_losses, n_draws): the EER, the minimum Cllr, the minimum detection costs, the means. A draw
        without targets or without non-targets is NaN.
    """
    points = np.asarray(costs.points, dtype=np.float64).reshape(-1, 2)
    figures = np.full((2 + len(points) + len(costs.losses), len(draws)), np.nan)
    order = _in_order(scores, is_target)
    target, nontarget = order.target, order.nontarget
    _sweeps(
        enroll_speaker[target].astype(np.uint32),
        order.firsts,
        enroll_speaker[nontarget].astype(np.uint32),
        test_speaker[nontarget].astype(np.uint32),
        order.stops,
        draws.astype(np.float32),
        points,
        figures,
    )
    pairs = (enroll_speaker[nontarget], test_speaker[nontarget])
    totals = np.bincount(enroll_speaker[target], minlength=draws.shape[1]) @ draws.T, _sums(pairs, None, draws)
    for figure, losses in enumerate(costs.losses, 2 + len(points)):
        of_targets = np.bincount(enroll_speaker[target], losses[target], draws.shape[1]) @ draws.T
        with np.errstate(invalid="ignore", divide="ignore"):
            figures[figure] = of_targets / totals[0] + _sums(pairs, losses[nontarget], draws) / totals[1]
    figures[:, (totals[0] == 0) | (totals[1] == 0)] = np.nan
    return figures


def replicate_pairs(
    scores: np.ndarray,
    is_target: np.ndarray,
    enroll_speaker: np.ndarray,
    test_speaker: np.ndarray,
    n_draws: int,
    seed: int,
    costs: Costs,
) -> np.ndarray:
    """Compute the figures of draws of the pairs of speakers that meet in non-target trials.

    In every draw a pair, in whichever order, counts twice or not at all, with even chances: the mean of its weight is
    1 and the variance 1. Target trials count once. What varies over these draws is what is particular to the pairs.

    Args:
        scores, is_target, enroll_speaker, test_speaker, costs: as for `replicate`.
        n_draws: number of draws.
        seed: of the draws; equal seeds give equal draws for equal trials, whatever the scores.

    Returns:
        (2 + n_points + n_losses, n_draws), as `replicate` returns them. A draw without non-targets is NaN.
    """
    order = _in_order(scores, is_target)
    points = np.asarray(costs.points, dtype=np.float64).reshape(-1, 2)
    figures = np.full((2 + len(points) + len(costs.losses), n_draws), np.nan)
    low, high = np.minimum(enroll_speaker, test_speaker), np.maximum(enroll_speaker, test_speaker)
    codes = low[order.nontarget].astype(np.int64) * (int(high.max()) + 1) + high[order.nontarget]
    pairs, pair = np.unique(codes, return_inverse=True)
    totals = np.bincount(pair).astype(np.float64)
    of_targets = [losses[order.target].mean() for losses in costs.losses]
    of_pairs = [np.bincount(pair, losses[order.nontarget]) for losses in costs.losses]
    rng = np.random.default_rng([seed, 9])
    for first in range(0, n_draws, _DRAWS_AT_ONCE):
        block = figures[:, first : first + _DRAWS_AT_ONCE]
        bits = rng.integers(256, size=(block.shape[1], -(-len(pairs) // 8)), dtype=np.uint8)
        weights = 2 * np.unpackbits(bits, axis=1, count=len(pairs))
        _pair_sweeps(order.firsts, pair.astype(np.uint32), order.stops, weights, points, block)
        counts = weights @ totals
        with np.errstate(invalid="ignore", divide="ignore"):
            for figure, (target, nontarget) in enumerate(zip(of_targets, of_pairs, strict=True), 2 + len(points)):
                block[figure] = target + weights @ nontarget / counts
    return figures


def _in_order(scores: np.ndarray, is_target: np.ndarray) -> _Order:
    """Sort the trials of each class, and find the scores at which a threshold must stop."""
    target, nontarget = np.flatnonzero(is_target), np.flatnonzero(~is_target)
    target = target[np.argsort(scores[target], kind="stable")]
    nontarget = nontarget[np.argsort(scores[nontarget], kind="stable")]
    # The threshold stops below and above every distinct target score; between stops, only sums of weights matter
    firsts = np.flatnonzero(np.append(True, np.diff(scores[target]) > 0))
    distinct = scores[target[firsts]]
    sides = [np.searchsorted(scores[nontarget], distinct, side) for side in ("left", "right")]
    stops = np.concatenate(([0], np.column_stack(sides).ravel(), [len(nontarget)]))
    return _Order(target, nontarget, np.append(firsts, len(target)), stops)


def _sums(pairs: tuple[np.ndarray, np.ndarray], losses: np.ndarray | None, draws: np.ndarray) -> np.ndarray:
    """For every draw the sum over trials of weight times loss (1 where None): a quadratic form in the draw."""
    from scipy.sparse import coo_array

    size = draws.shape[1]
    values = np.ones(len(pairs[0])) if losses is None else losses
    form = coo_array((values, pairs), shape=(size, size)).tocsr()
    times = draws.T.astype(np.float64)
    product = form.toarray() @ times if form.nnz > 0.03 * size**2 else form @ times
    return np.einsum("ij,ij->j", times, product)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=True)
def _sweeps(target, firsts, enroll, test, stops, draws, points, figures):
    """The EER, the minimum Cllr and the minimum costs of every draw, into the first rows of `figures`.

    Args:
        target: (n_targets,) speakers, by rising score.
        firsts: (n_distinct + 1,), where each distinct score begins in `target`, and its length.
        enroll, test: (n_nontargets,) speakers, by rising score.
        stops: (2 n_distinct + 2,): 0, how many non-targets lie below and how many up to each distinct score, all.
        draws: (n_draws, n_speakers) float32.
        points: (n_points, 2), weights of misses and false alarms.
    """
    for draw in numba.prange(len(draws)):
        times = draws[draw]
        rejected = np.zeros(len(stops))  # weight of the non-targets up to each stop
        for stop in range(1, len(stops)):
            between = 0.0
            for i in range(stops[stop - 1], stops[stop]):
                between += times[enroll[i]] * times[test[i]]
            rejected[stop] = rejected[stop - 1] + between
        targets, nontargets = 0.0, rejected[-1]
        for speaker in target:
            targets += times[speaker]
        if targets > 0 and nontargets > 0:
            _sweep(target, firsts, rejected, times, targets, nontargets, points, figures[:, draw])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=True)
def _pair_sweeps(firsts, pair, stops, weights, points, figures):
    """The same for draws of pairs of speakers.

    Args:
        pair: (n_nontargets,) which pair each trial is of, by rising score.
        weights: (n_draws, n_pairs) uint8.
    """
    targets = np.zeros(firsts[-1], dtype=np.uint32)  # as if one speaker, drawn once, had spoken all of them
    once = np.ones(1, dtype=np.float32)
    for draw in numba.prange(len(weights)):
        times = weights[draw]
        rejected = np.zeros(len(stops))
        for stop in range(1, len(stops)):
            between = 0.0
            for i in range(stops[stop - 1], stops[stop]):
                between += times[pair[i]]
            rejected[stop] = rejected[stop - 1] + between
        if rejected[-1] > 0:
            _sweep(targets, firsts, rejected, once, float(len(targets)), rejected[-1], points, figures[:, draw])


@numba.njit(cache=True, nogil=True)
def _sweep(target, firsts, rejected, times, targets, nontargets, points, figures):
    """Raise the threshold over the trials once."""
    eer = -1.0
    for k in range(len(points)):
        figures[2 + k] = min(points[k, 0], points[k, 1])  # accepting everything, or rejecting everything
    corners = np.empty((64, 2))
    corners[0, 0], corners[0, 1], size = 0.0, 1.0, 1
    last_miss, missed = 0.0, 0.0
    for distinct in range(len(firsts) - 1):
        for i in range(firsts[distinct], firsts[distinct + 1]):
            missed += times[target[i]]
        before_miss, before_fa = last_miss, max(0.0, 1 - rejected[2 * distinct + 1] / nontargets)
        miss, fa = missed / targets, max(0.0, 1 - rejected[2 * distinct + 2] / nontargets)
        if miss == before_miss:  # nobody of this score was drawn
            continue
        corners, size = _push(corners, size, before_miss, before_fa)
        for k in range(len(points)):
            figures[2 + k] = min(figures[2 + k], points[k, 0] * before_miss + points[k, 1] * before_fa)
        if eer < 0 and before_miss >= before_fa:  # passed on the way here, where misses stayed as they were
            eer = before_miss
        elif eer < 0 and miss >= fa:
            rise = (miss - fa) - (before_miss - before_fa)
            eer = before_miss + (before_fa - before_miss) / rise * (miss - before_miss)
        last_miss = miss
    corners, size = _push(corners, size, 1.0, 0.0)
    cost = 0.0
    for k in range(1, size):
        t, n = corners[k, 0] - corners[k - 1, 0], corners[k - 1, 1] - corners[k, 1]
        if t > 0 and n > 0:
            cost += t * np.log2(1 + n / t) + n * np.log2(1 + t / n)
    figures[0], figures[1] = eer if eer >= 0 else last_miss, cost / 2


@numba.njit(cache=True, nogil=True)
def _push(corners, size, x, y):
    """Add a point to the lower convex hull, of points that come with rising x and falling y."""
    while size >= 2:
        ax, ay = corners[size - 2]
        bx, by = corners[size - 1]
        if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
            break
        size -= 1
    if size == len(corners):
        longer = np.empty((2 * size, 2))
        longer[:size] = corners
        corners = longer
    corners[size, 0], corners[size, 1] = x, y
    return corners, size + 1
