"""The error rates of other tools, each by its own rules, to compare figures with theirs.

They go through the trials one by one in the order of their scores, so where scores are tied the order of the trials in
the list decides; `sdpn.evaluation.metrics` takes tied scores as one operating point.
"""

from collections.abc import Callable

import numpy as np


def wespeaker_eer(scores: np.ndarray, is_target: np.ndarray) -> float:
    """wespeaker/utils/score_metrics.py: the two operating points about p_miss = p_fa, and the line between them."""
    p_miss, p_fa = _one_by_one(scores, is_target)
    difference = p_miss - p_fa
    after = np.argmax(difference >= 0)
    if after == 0:  # one target below all else, or one non-target: the tool itself finds no point before it and fails
        return float(p_miss[0])
    before = np.flatnonzero(difference < 0)[-1]
    part = difference[after] / (p_fa[before] - p_fa[after] - (p_miss[before] - p_miss[after]))
    return float(p_miss[after] + part * (p_miss[before] - p_miss[after]))


def kaldi_eer(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Kaldi's ivectorbin/compute-eer.cc: the first target score above as many non-targets as its rank asks for."""
    target, nontarget = np.sort(scores[is_target]), np.sort(scores[~is_target])
    rank = np.arange(len(target))
    accepted = (len(nontarget) * rank / len(target)).astype(np.int64)
    place = np.maximum(len(nontarget) - 1 - accepted, 0)
    enough = nontarget[place] < target
    enough[-1] = True
    return float(np.argmax(enough) / len(target))


def voxceleb_trainer_eer(scores: np.ndarray, is_target: np.ndarray) -> float:
    """voxceleb_trainer's tuneThreshold.py: the larger rate at the point of scikit-learn's curve nearest to equality."""
    from sklearn.metrics import roc_curve

    p_fa, hit, _ = roc_curve(is_target, scores, pos_label=1)
    nearest = np.nanargmin(np.abs(1 - hit - p_fa))
    return float(max(p_fa[nearest], 1 - hit[nearest]))


def one_by_one_min_dcf(
    scores: np.ndarray, is_target: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """The normalized minimum cost as all three compute it: Kaldi's sid/compute_min_dcf.py and its descendants."""
    p_miss, p_fa = _one_by_one(scores, is_target)
    costs = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    return float(costs.min() / min(c_miss * p_target, c_fa * (1 - p_target)))


EER: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "wespeaker": wespeaker_eer,
    "kaldi": kaldi_eer,
    "voxceleb_trainer": voxceleb_trainer_eer,
}
"""The equal error rate of each tool: (scores (n_trials,), is_target (n_trials,) bool) -> a rate in [0, 1]."""


def _one_by_one(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Miss and false alarm rates after each trial, in rising order of score, is rejected."""
    labels = np.asarray(is_target)[np.argsort(scores, kind="stable")]
    p_miss = np.cumsum(labels) / labels.sum()
    p_fa = 1 - np.cumsum(~labels) / (~labels).sum()
    return p_miss, p_fa
