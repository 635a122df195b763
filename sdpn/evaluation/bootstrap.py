"""How sure the figures are: confidence intervals and paired comparisons by bootstrap over speakers.

Trials that share a speaker are not independent, so it is speakers that are drawn with replacement, not trials. A
speaker drawn m times counts m times: a target trial of that speaker has the weight m, a non-target trial of two
speakers the product of theirs. The same draws serve every system, so the difference between two systems is formed
within each draw, and what makes a draw easy or hard for both falls out of it. (Bisani and Ney, ICASSP 2004, for the
paired bootstrap; Poh and Bengio, Audio- and Video-based Biometric Person Authentication 2005, for drawing users.)
"""

from dataclasses import dataclass

import numba
import numpy as np

from sdpn.errors import SdpnError


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
        enroll_speaker, test_speaker: (n_trials,) places in the columns of `draws`.
        draws: (n_draws, n_speakers), as `draw_speakers` gives it.
        costs: the other figures.

    Returns:
        (2 + n_points + n_losses, n_draws): the EER, the minimum Cllr, the minimum detection costs, the means. A draw
        without targets or without non-targets is NaN.
    """
    points = np.asarray(costs.points, dtype=np.float64).reshape(-1, 2)
    figures = np.full((2 + len(points) + len(costs.losses), len(draws)), np.nan)
    target, nontarget = np.flatnonzero(is_target), np.flatnonzero(~is_target)
    target = target[np.argsort(scores[target], kind="stable")]
    nontarget = nontarget[np.argsort(scores[nontarget], kind="stable")]
    # The threshold stops below and above every distinct target score; between stops, only sums of weights matter
    firsts = np.flatnonzero(np.append(True, np.diff(scores[target]) > 0))
    distinct = scores[target[firsts]]
    stops = [np.searchsorted(scores[nontarget], distinct, side) for side in ("left", "right")]
    _sweeps(
        enroll_speaker[target].astype(np.uint32),
        np.append(firsts, len(target)),
        enroll_speaker[nontarget].astype(np.uint32),
        test_speaker[nontarget].astype(np.uint32),
        np.concatenate(([0], np.column_stack(stops).ravel(), [len(nontarget)])),
        draws.astype(np.float32),
        points,
        figures,
    )
    pairs = (enroll_speaker[nontarget], test_speaker[nontarget])
    totals = np.bincount(enroll_speaker[target], minlength=draws.shape[1]) @ draws.T, _sums(pairs, None, draws)
    for place, losses in enumerate(costs.losses, 2 + len(points)):
        of_targets = np.bincount(enroll_speaker[target], losses[target], draws.shape[1]) @ draws.T
        with np.errstate(invalid="ignore", divide="ignore"):
            figures[place] = of_targets / totals[0] + _sums(pairs, losses[nontarget], draws) / totals[1]
    figures[:, (totals[0] == 0) | (totals[1] == 0)] = np.nan
    return figures


def _sums(pairs: tuple[np.ndarray, np.ndarray], losses: np.ndarray | None, draws: np.ndarray) -> np.ndarray:
    """For every draw the sum over trials of weight times loss (1 where None): a quadratic form in the draw."""
    from scipy.sparse import coo_array

    size = draws.shape[1]
    values = np.ones(len(pairs[0])) if losses is None else losses
    form = coo_array((values, pairs), shape=(size, size)).tocsr()
    times = draws.T.astype(np.float64)
    product = form.toarray() @ times if form.nnz > 0.03 * size**2 else form @ times
    return np.einsum("ij,ij->j", times, product)


def interval(replicates: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """The percentile interval that holds `share` of the replicates (n_draws,); NaNs are left out."""
    edges = 100 * (1 - share) / 2
    found = replicates[~np.isnan(replicates)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.percentile(found, [edges, 100 - edges])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """How a figure of system B differs from that of system A; less is better.

    Attributes:
        value: B - A over all trials.
        low, high: the 95 % interval.
        p: the two-sided probability of a difference as far from none, if there were none.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def paired_differences(a: np.ndarray, b: np.ndarray, draws_a: np.ndarray, draws_b: np.ndarray) -> list[Difference]:
    """Compare two systems scored on the same trials, figure by figure.

    Args:
        a, b: (n_figures,), over all trials.
        draws_a, draws_b: (n_figures, n_draws), of the same draws.

    Raises:
        SdpnError: the draws are not the same.
    """
    if draws_a.shape != draws_b.shape:
        raise SdpnError(f"comparison: {draws_a.shape[1]} draws of one system, {draws_b.shape[1]} of the other")
    differences = draws_b - draws_a
    differences = differences[:, ~np.isnan(differences).any(axis=0)]  # draws that lack targets or non-targets
    if not differences.shape[1]:
        return [Difference(float(value), float("nan"), float("nan"), 1.0) for value in b - a]
    lows, highs = np.percentile(differences, [2.5, 97.5], axis=1)
    rarer = np.minimum((differences <= 0).sum(axis=1), (differences >= 0).sum(axis=1))
    p = np.minimum(1.0, 2 * (rarer + 1) / (differences.shape[1] + 1))
    return [Difference(*map(float, figures)) for figures in zip(b - a, lows, highs, p, strict=True)]


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
        for place in range(firsts[distinct], firsts[distinct + 1]):
            missed += times[target[place]]
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
