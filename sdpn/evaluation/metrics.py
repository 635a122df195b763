"""How well scores tell targets from non-targets: equal error rate, detection costs, and costs of log-likelihood ratios.

A trial is accepted where its score is at least the threshold. Trials with equal scores are accepted or rejected
together, so tied scores are one operating point and no figure depends on the order of the trials.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np

from sdpn.errors import SdpnError

CHUNK = 1 << 20  # scores at a time, where a figure needs room beside them


@dataclass(frozen=True)
class DetCurve:
    """The operating points of a set of scores, from accepting every trial to rejecting every trial.

    Between two points next to each other only one of the two rates changes, or both at tied scores; where the scores
    of one class alone change, the points between the first and the last are left out, since no figure needs them. So
    there are at most two points for each score of the smaller class.

    Attributes:
        thresholds: (n_points,), rising; the last is infinity.
        n_missed: (n_points,) int64, target trials rejected; never falls.
        n_accepted: (n_points,) int64, non-target trials accepted (false alarms); never rises.
        n_targets, n_nontargets: how many trials there are.
    """

    thresholds: np.ndarray
    n_missed: np.ndarray
    n_accepted: np.ndarray
    n_targets: int
    n_nontargets: int

    @property
    def p_miss(self) -> np.ndarray:
        """(n_points,), the share of target trials rejected."""
        return self.n_missed / self.n_targets

    @property
    def p_fa(self) -> np.ndarray:
        """(n_points,), the share of non-target trials accepted."""
        return self.n_accepted / self.n_nontargets

    def eer(self) -> float:
        """The equal error rate, in [0, 1]: where the straight lines between operating points meet p_miss = p_fa.

        Where scores are not tied, every line is horizontal or vertical and the rate is a share of one of the two
        classes that an operating point attains. This is WeSpeaker's and voxceleb_trainer's definition, but for
        their treatment of ties. Kaldi's compute-eer answers with the next attainable share of the targets, at most
        one target trial away. `sdpn.evaluation.compat` has all three.
        """
        p_miss, p_fa = self.p_miss, self.p_fa
        difference = p_miss - p_fa  # rises from -1 to 1
        after = int(np.argmax(difference >= 0))
        before = after - 1
        part = difference[before] / (difference[before] - difference[after])
        return float(p_miss[before] + part * (p_miss[after] - p_miss[before]))

    def min_dcf(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """The minimum of the normalized detection cost over all thresholds.

        min(c_miss p_target p_miss + c_fa (1 - p_target) p_fa) / min(c_miss p_target, c_fa (1 - p_target)): 1 is the
        cost of the better of accepting all and rejecting all. (NIST speaker recognition evaluations, 2008 and later.)

        Raises:
            SdpnError: `p_target` is not between 0 and 1, or a cost is not positive.
        """
        miss, false_alarm = _weights(p_target, c_miss, c_fa)
        return float(np.min(miss * self.p_miss + false_alarm * self.p_fa) / min(miss, false_alarm))

    def min_cllr(self) -> float:
        """Cllr after the best monotone calibration of these very scores: what it costs to tell the classes apart.

        The pool-adjacent-violators algorithm gives it; its blocks are the edges of the lower convex hull of the
        operating points, and the log-likelihood ratio of a block is the logarithm of the edge's slope. (Brümmer and
        du Preez, Computer Speech and Language 20, 2006.)
        """
        corner = hull(self.n_missed.astype(np.float64), self.n_accepted.astype(np.float64))
        targets = np.diff(self.n_missed[corner]) / self.n_targets
        nontargets = -np.diff(self.n_accepted[corner]) / self.n_nontargets
        return float(block_cost(targets, nontargets))


def det_curve(target: np.ndarray, nontarget: np.ndarray) -> DetCurve:
    """The operating points of scores of target trials (n_targets,) and of non-target trials (n_nontargets,).

    Raises:
        SdpnError: there are no trials of one class, or a score is NaN.
    """
    return _det_curve(np.sort(_scores(target, "target")), np.sort(_scores(nontarget, "non-target")))


def det_curve_of(chunks: Iterable[tuple[np.ndarray, np.ndarray]]) -> DetCurve:
    """`det_curve` of trials that come in chunks: only the scores themselves are kept, 8 bytes a trial.

    Args:
        chunks: pairs of scores (n,) and whether each is of a target trial (n,), each as large as the reader likes.

    Raises:
        SdpnError: there are no trials of one class, or a score is NaN.
    """
    kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for scores, is_target in chunks:
        scores, is_target = np.asarray(scores, dtype=np.float64), np.asarray(is_target, dtype=bool)
        kept[0].append(scores[is_target])
        kept[1].append(scores[~is_target])
    classes = []
    for parts, kind in zip(kept, ("target", "non-target"), strict=True):
        whole = np.concatenate(parts) if parts else np.empty(0)
        parts.clear()
        whole = _scores(whole, kind)
        whole.sort()
        classes.append(whole)
    return _det_curve(*classes)


def eer(target: np.ndarray, nontarget: np.ndarray) -> float:
    """The equal error rate, in [0, 1]; see `DetCurve.eer`."""
    return det_curve(target, nontarget).eer()


def min_dcf(
    target: np.ndarray, nontarget: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """The minimum normalized detection cost; see `DetCurve.min_dcf`."""
    return det_curve(target, nontarget).min_dcf(p_target, c_miss, c_fa)


def min_cllr(target: np.ndarray, nontarget: np.ndarray) -> float:
    """Cllr after the best monotone calibration; see `DetCurve.min_cllr`."""
    return det_curve(target, nontarget).min_cllr()


def act_dcf(
    target: np.ndarray, nontarget: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """The normalized detection cost of scores taken at their word as natural log-likelihood ratios.

    The threshold is that of Bayes, log(c_fa (1 - p_target) / (c_miss p_target)); see `DetCurve.min_dcf` for the cost.

    Raises:
        SdpnError: there are no trials of one class, a score is NaN, or the costs are impossible.
    """
    miss, false_alarm = _weights(p_target, c_miss, c_fa)
    threshold = np.log(false_alarm / miss)
    p_miss = np.count_nonzero(_scores(target, "target") < threshold) / len(target)
    p_fa = np.count_nonzero(_scores(nontarget, "non-target") >= threshold) / len(nontarget)
    return (miss * p_miss + false_alarm * p_fa) / min(miss, false_alarm)


def cllr(target: np.ndarray, nontarget: np.ndarray) -> float:
    """The cost of scores as natural log-likelihood ratios, over all operating points at once, in bits.

    Cllr = 0.5 (mean over targets of log2(1 + exp(-s)) + mean over non-targets of log2(1 + exp(s))): 0 for scores that
    are right and sure, 1 for scores that say nothing (all 0), above 1 for scores that mislead. (Brümmer and du Preez,
    Computer Speech and Language 20, 2006.)

    Raises:
        SdpnError: there are no trials of one class, or a score is NaN.
    """
    total = 0.0
    for scores, sign, kind in ((target, -1.0, "target"), (nontarget, 1.0, "non-target")):
        scores = _scores(scores, kind)
        parts = (scores[start : start + CHUNK] for start in range(0, len(scores), CHUNK))
        total += sum(float(np.logaddexp(0, sign * part).sum()) for part in parts) / len(scores)
    return total / (2 * np.log(2))


def block_cost(targets: np.ndarray, nontargets: np.ndarray) -> float:
    """Cllr of blocks of trials that share the log-likelihood ratio log(targets / nontargets).

    Args:
        targets, nontargets: (n_blocks,), the share of each class that lies in each block.
    """
    both = (targets > 0) & (nontargets > 0)  # a block of one class has an infinite ratio, which costs nothing
    t, n = targets[both], nontargets[both]
    return float(np.sum(t * np.log2(1 + n / t) + n * np.log2(1 + t / n)) / 2)


@numba.njit(cache=True, nogil=True)
def hull(x, y):
    """The places of the corners of the lower convex hull of points sorted by rising x and falling y."""
    corners = np.empty(len(x), dtype=np.int64)
    size = 0
    for i in range(len(x)):
        while size >= 2:
            a, b = corners[size - 2], corners[size - 1]
            if (x[b] - x[a]) * (y[i] - y[a]) - (y[b] - y[a]) * (x[i] - x[a]) > 0:
                break
            size -= 1
        corners[size] = i
        size += 1
    return corners[:size]


@numba.njit(cache=True, nogil=True)
def _corners(few, many, few_below, many_below, few_through, many_through):
    """For every distinct score of the sorted `few`: how many of each class lie below it, and how many up to it."""
    size, i, j = 0, 0, 0
    while i < len(few):
        score = few[i]
        while j < len(many) and many[j] < score:
            j += 1
        few_below[size], many_below[size] = i, j
        while i < len(few) and few[i] == score:
            i += 1
        k = j
        while k < len(many) and many[k] == score:
            k += 1
        few_through[size], many_through[size] = i, k
        size += 1
    return size


def _det_curve(target: np.ndarray, nontarget: np.ndarray) -> DetCurve:
    """The curve of sorted scores: the points just below and just above every distinct score of the smaller class."""
    targets_are_few = len(target) <= len(nontarget)
    few, many = (target, nontarget) if targets_are_few else (nontarget, target)
    counts = np.empty((4, len(few)), dtype=np.int64)
    counts = counts[:, : _corners(few, many, *counts)]
    # Rejected so far at: everything accepted, below and through each distinct score, everything rejected
    rejected_few = np.concatenate(([0], counts[[0, 2]].T.ravel(), [len(few)]))
    rejected_many = np.concatenate(([0], counts[[1, 3]].T.ravel(), [len(many)]))
    new = np.append(True, (np.diff(rejected_few) > 0) | (np.diff(rejected_many) > 0))
    rejected_few, rejected_many = rejected_few[new], rejected_many[new]
    next_few = np.append(few, np.inf)[rejected_few]  # the lowest score not rejected yet is the threshold
    next_many = np.append(many, np.inf)[rejected_many]
    rejected = (rejected_few, rejected_many) if targets_are_few else (rejected_many, rejected_few)
    return DetCurve(
        thresholds=np.minimum(next_few, next_many),
        n_missed=rejected[0],
        n_accepted=len(nontarget) - rejected[1],
        n_targets=len(target),
        n_nontargets=len(nontarget),
    )


def _weights(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise SdpnError(
            f"detection cost: p_target = {p_target:g}, c_miss = {c_miss:g}, c_fa = {c_fa:g}: "
            "the first must lie between 0 and 1, the costs must be positive"
        )
    return c_miss * p_target, c_fa * (1 - p_target)


def _scores(scores: np.ndarray, kind: str) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0:
        raise SdpnError(f"metrics: there are no scores of {kind} trials")
    if np.isnan(scores.min()):  # the minimum of numbers with a NaN among them is NaN
        nan = np.count_nonzero(np.isnan(scores))
        raise SdpnError(f"metrics: {nan} of {len(scores)} scores of {kind} trials are NaN")
    return scores
