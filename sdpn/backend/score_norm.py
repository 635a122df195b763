"""Score normalization against a cohort of other speakers: z, t, s and adaptive s-norm.

With mu_e, sd_e the mean and the population deviation of the scores of an enrollment against the cohort, and mu_t,
sd_t those of the test utterance:

    z    (s - mu_e) / sd_e                                          Reynolds, Digital Signal Processing 10, 2000
    t    (s - mu_t) / sd_t                                          Auckenthaler et al., ibid.
    s    0.5 * ((s - mu_e) / sd_e + (s - mu_t) / sd_t)              Kenny, Odyssey 2010
    as   the same, each mean and deviation over the N largest
         cohort scores of that side                                 Matejka et al., Interspeech 2017 (adaptive s-norm 1)
"""

from dataclasses import dataclass

import numpy as np

from sdpn.backend.scorer import Scorer, blocks
from sdpn.errors import SdpnError

METHODS = ("none", "z", "t", "s", "as")


@dataclass(frozen=True)
class CohortStatistics:
    """What the scores against the cohort look like, for each vector of one side: arrays (n_vectors,).

    Attributes:
        mean, deviation: over the whole cohort.
        top_mean, top_deviation: over the N largest scores.
    """

    mean: np.ndarray
    deviation: np.ndarray
    top_mean: np.ndarray
    top_deviation: np.ndarray


def cohort_statistics(
    scorer: Scorer, vectors: np.ndarray, cohort: np.ndarray, top_n: int, counts: np.ndarray | None = None
) -> CohortStatistics:
    """Score `vectors` as enrollments against the cohort and keep means and deviations, a block of vectors at a time.

    Where every vector is one utterance, the scorer is symmetric and the statistics hold for the test side too.

    Args:
        scorer: a fitted scorer.
        vectors: (n_vectors, D), in the space of the scorer.
        cohort: (n_cohort, D), in the same space.
        top_n: N, at most n_cohort.
        counts: (n_vectors,), how many utterances each vector is the mean of; None for one.

    Raises:
        SdpnError: `top_n` is larger than the cohort, or less than 2.
    """
    if not 2 <= top_n <= len(cohort):
        raise SdpnError(f"score normalization: cannot take the {top_n} largest of {len(cohort)} cohort scores")
    statistics = np.empty((4, len(vectors)))
    for block in blocks(len(vectors), len(cohort)):
        scores = scorer.score_matrix(vectors[block], cohort, None if counts is None else counts[block])
        statistics[0, block], statistics[1, block] = scores.mean(axis=1), scores.std(axis=1)
        scores.partition(len(cohort) - top_n, axis=1)
        top = scores[:, len(cohort) - top_n :]
        statistics[2, block], statistics[3, block] = top.mean(axis=1), top.std(axis=1)
    return CohortStatistics(*statistics)


def normalize(
    scores: np.ndarray,
    method: str,
    enroll: CohortStatistics,
    test: CohortStatistics,
    enroll_index: np.ndarray,
    test_index: np.ndarray,
) -> np.ndarray:
    """Normalize the scores of trials.

    Args:
        scores: (n_trials,).
        method: one of METHODS.
        enroll: the statistics of the enrollments.
        test: the statistics of the test utterances.
        enroll_index: (n_trials,), each trial's place in `enroll`.
        test_index: (n_trials,), each trial's place in `test`.

    Returns:
        (n_trials,).

    Raises:
        SdpnError: the method is unknown, or the cohort scores that it looks at are all equal for some vector.
    """
    if method == "none":
        return scores
    if method == "z":
        return _standardize(scores, enroll.mean, enroll.deviation, enroll_index)
    if method == "t":
        return _standardize(scores, test.mean, test.deviation, test_index)
    if method == "s":
        z = _standardize(scores, enroll.mean, enroll.deviation, enroll_index)
        t = _standardize(scores, test.mean, test.deviation, test_index)
    elif method == "as":
        z = _standardize(scores, enroll.top_mean, enroll.top_deviation, enroll_index)
        t = _standardize(scores, test.top_mean, test.top_deviation, test_index)
    else:
        raise SdpnError(f"unknown score normalization '{method}'; allowed: {', '.join(METHODS)}")
    return 0.5 * (z + t)


def _standardize(scores: np.ndarray, mean: np.ndarray, deviation: np.ndarray, index: np.ndarray) -> np.ndarray:
    equal = np.count_nonzero(deviation <= 1e-12 * np.abs(mean))
    if equal:
        raise SdpnError(
            f"score normalization: the cohort scores of {equal} of {len(mean)} utterances are all equal: "
            "the cohort holds copies of one vector, or the back-end keeps too few dimensions"
        )
    return (scores - mean[index]) / deviation[index]
