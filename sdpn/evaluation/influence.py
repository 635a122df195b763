"""How each trial moves the figures of a trial list: what their intervals and comparisons are reckoned from.

To first order every figure is a mean over targets plus a mean over non-targets of a loss of each trial: a little more
weight on a trial moves the figure by the trial's loss, less the mean loss of its class.

- Cllr and the actual detection cost are such means as they stand.
- Minimum cost and minimum Cllr are too, at their best threshold and their best calibration. These move with the
  trials, but at a minimum that changes nothing to first order.
- At the equal error rate the threshold moves until both rates are equal again. With the densities f of the scores
  there, the rate is w P_miss + (1 - w) P_fa at a fixed threshold, w = f_nontarget / (f_target + f_nontarget).

Figures of resampled trials (a bootstrap) would say the same at greater length, and exaggerate. Scores are points and
not densities, so that the equal error rate is rough, and resampling adds its own roughness to that of the sample (Hall
and Martin, Annals of Statistics 16, 1988, on quantiles). Where two systems are alike, the roughness of both does not
cancel: the variance of their difference came out a tenth too large.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import DetCurve, hull

SKETCHES = 400  # random sums of what is particular to pairs of speakers; their mean square is good to 7 %
_AT_ONCE = 64  # of them: 64 signs of 5 million pairs are 1.3 GB in single precision


@dataclass(frozen=True)
class Influence:
    """How the trials of each speaker, and of each pair of speakers, move the figures of a row.

    Attributes:
        names: of the figures.
        values: (n_figures,), over all trials.
        speakers: (n_figures, n_speakers), the influence of all trials of a speaker; a non-target trial counts for both.
        pairs: (n_figures, SKETCHES), sums over the pairs of speakers that meet in non-target trials of the influence of
            the pair, each with a random sign; equal signs for equal trials, whatever the scores.
    """

    names: list[str]
    values: np.ndarray
    speakers: np.ndarray
    pairs: np.ndarray

    @property
    def n_speakers(self) -> int:
        """How many speakers the trials have."""
        return self.speakers.shape[1]

    def select(self, names: list[str]) -> "Influence":
        """Return that of the figures `names` alone, in that order."""
        rows = [self.names.index(name) for name in names]
        return Influence(names, self.values[rows], self.speakers[rows], self.pairs[rows])

    def minus(self, other: "Influence") -> "Influence":
        """Return that of the differences from `other`.

        Raises:
            SdpnError: the two are not of the same figures, speakers and pairs.
        """
        if (self.speakers.shape, self.pairs.shape) != (other.speakers.shape, other.pairs.shape):
            raise SdpnError(f"comparison: {other.n_speakers} speakers of one system, {self.n_speakers} of the other")
        parts = (self.values - other.values, self.speakers - other.speakers, self.pairs - other.pairs)
        return Influence(self.names, *parts)

    def variances(self) -> np.ndarray:
        """The variance of each figure over other people of the same kind: (n_figures,).

        Trials vary together where they share a speaker. Sums over speakers count what is particular to a pair of
        speakers twice, once for each of the two, so it is taken out once. (The multiway cluster-robust variance:
        Cameron, Gelbach and Miller, Journal of Business & Economic Statistics 29(2), 2011.) It is never taken to be
        less than what is particular to pairs.
        """
        n = self.n_speakers
        of_pairs = np.mean(self.pairs**2, axis=1)
        return np.maximum(np.sum(self.speakers**2, axis=1) - of_pairs, of_pairs) * (n / max(n - 1, 1))


def influence_of(
    names: list[str],
    values: np.ndarray,
    losses: Iterator[np.ndarray],
    is_target: np.ndarray,
    enroll_speaker: np.ndarray,
    test_speaker: np.ndarray,
) -> Influence:
    """Sum the influences of trials over speakers and over pairs of speakers.

    Args:
        names, values: of the figures, (n_figures,).
        losses: for each figure the losses (n_trials,) whose means over targets and over non-targets it is the sum of.
        is_target: (n_trials,) bool.
        enroll_speaker, test_speaker: (n_trials,) integers 0 .. n_speakers - 1, all of them in use.
    """
    n_speakers = int(max(enroll_speaker.max(), test_speaker.max())) + 1
    enroll, test, of_targets = enroll_speaker[~is_target], test_speaker[~is_target], enroll_speaker[is_target]
    low, high = np.minimum(enroll, test).astype(np.int64), np.maximum(enroll, test)
    met, pair = np.unique(low * n_speakers + high, return_inverse=True)
    speakers, pairs = np.empty((len(names), n_speakers)), np.empty((len(met), len(names)), np.float32)
    for figure, loss in enumerate(losses):
        target, nontarget = ((one - one.mean()) / len(one) for one in (loss[is_target], loss[~is_target]))
        speakers[figure] = np.bincount(of_targets, target, n_speakers)
        speakers[figure] += np.bincount(enroll, nontarget, n_speakers) + np.bincount(test, nontarget, n_speakers)
        pairs[:, figure] = np.bincount(pair, nontarget)
    return Influence(names, np.asarray(values, dtype=np.float64), speakers, _sketched(pairs))


def _sketched(pairs: np.ndarray) -> np.ndarray:
    """Random signed sums of influences of pairs (n_pairs, n_figures): (n_figures, SKETCHES)."""
    rng = np.random.default_rng([len(pairs), 9])
    sums = np.empty((pairs.shape[1], SKETCHES))
    for first in range(0, SKETCHES, _AT_ONCE):
        some = sums[:, first : first + _AT_ONCE]
        bits = rng.integers(256, size=(some.shape[1], -(-len(pairs) // 8)), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=len(pairs)).astype(np.float32)
        some[:] = (2 * (signs @ pairs) - pairs.sum(axis=0)).T
    return sums


def eer_losses(scores: np.ndarray, is_target: np.ndarray, threshold: float) -> np.ndarray:
    """The losses (n_trials,) of the equal error rate, which is reached at `threshold`."""
    of_target, of_nontarget = (density(scores[kind], threshold) for kind in (is_target, ~is_target))
    both = of_target + of_nontarget
    weight = of_nontarget / both if both > 0 else 0.5
    rejected = scores < threshold
    return np.where(is_target, weight * rejected, (1 - weight) * ~rejected)


def density(scores: np.ndarray, at: float) -> float:
    """The density of scores (n_scores,) at a point, by a Gaussian kernel."""
    width = kernel_width(scores)
    if width <= 0:
        return 0.0
    near = scores[np.abs(scores - at) < 5 * width]
    return float(np.exp(-0.5 * ((near - at) / width) ** 2).sum() / (np.sqrt(2 * np.pi) * width * len(scores)))


def kernel_width(scores: np.ndarray) -> float:
    """The standard deviation of a Gaussian kernel that smooths scores (n_scores,), by Silverman's rule."""
    quartiles = np.percentile(scores, [25, 75])
    spread = min(scores.std(), (quartiles[1] - quartiles[0]) / 1.349) or scores.std()
    return float(0.9 * spread * len(scores) ** -0.2)


def min_cllr_losses(scores: np.ndarray, is_target: np.ndarray, curve: DetCurve) -> np.ndarray:
    """The losses (n_trials,) of the minimum Cllr: those of the best monotone calibration of these scores."""
    corner = hull(curve.n_missed.astype(np.float64), curve.n_accepted.astype(np.float64))
    with np.errstate(divide="ignore"):
        target = np.log(np.diff(curve.n_missed[corner]) / curve.n_targets)
        nontarget = np.log(-np.diff(curve.n_accepted[corner]) / curve.n_nontargets)
    block = np.searchsorted(curve.thresholds[corner[1:-1]], scores, side="right")
    return cllr_losses((target - nontarget)[block], is_target)


def cllr_losses(ratios: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """The losses (n_trials,) of Cllr, of natural log-likelihood ratios."""
    return np.logaddexp(0, np.where(is_target, -ratios, ratios)) / (2 * np.log(2))
