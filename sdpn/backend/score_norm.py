"""Score normalization against a cohort of other speakers: z, t, s and adaptive s-norm.

With mu_e, sd_e the mean and the population deviation of the scores of an enrollment against the cohort, and mu_t,
sd_t those of the test utterance:

    z    (s - mu_e) / sd_e                                          Reynolds, Digital Signal Processing 10, 2000
    t    (s - mu_t) / sd_t                                          Auckenthaler et al., ibid.
    s    0.5 * ((s - mu_e) / sd_e + (s - mu_t) / sd_t)              Kenny, Odyssey 2010
    as   the same, each mean and deviation over the N largest
         cohort scores of that side                                 Matejka et al., Interspeech 2017 (adaptive s-norm 1)
    as2  the same, but each over those N of the cohort that are
         nearest to the other side                                  Matejka et al., ibid. (adaptive s-norm 2)

The scores against the cohort are formed a block of utterances at a time, so that memory grows neither with
utterances x cohort nor with trials x cohort.
"""

from dataclasses import dataclass

import numba
import numpy as np

from sdpn.backend.config import METHODS
from sdpn.backend.scorer import Scorer, blocks
from sdpn.errors import SdpnError


@dataclass(frozen=True)
class Side:
    """The vectors of one side of the trials, in the space of the scorer.

    Attributes:
        vectors: (n_vectors, D).
        counts: (n_vectors,), how many utterances each is the mean of; None for one.
    """

    vectors: np.ndarray
    counts: np.ndarray | None = None


@dataclass(frozen=True)
class CohortStatistics:
    """What the scores against the cohort look like, for each vector of one side: arrays (n_vectors,).

    Attributes:
        mean, deviation: over the whole cohort.
        top_mean, top_deviation: over the N largest scores.
        nearest: (n_vectors, N) int32, the places of the N largest scores in the cohort, in no order; None where they
            were not asked for.
    """

    mean: np.ndarray
    deviation: np.ndarray
    top_mean: np.ndarray
    top_deviation: np.ndarray
    nearest: np.ndarray | None = None


def cohort_statistics(
    scorer: Scorer,
    vectors: np.ndarray,
    cohort: np.ndarray,
    top_n: int,
    counts: np.ndarray | None = None,
    nearest: bool = False,
) -> CohortStatistics:
    """Score `vectors` as enrollments against the cohort and keep means and deviations, a block of vectors at a time.

    Where every vector is one utterance, the scorer is symmetric and the statistics hold for the test side too.

    Args:
        scorer: a fitted scorer.
        vectors: (n_vectors, D), in the space of the scorer.
        cohort: (n_cohort, D), in the same space.
        top_n: N, at most n_cohort.
        counts: (n_vectors,), how many utterances each vector is the mean of; None for one.
        nearest: whether to keep which of the cohort score highest, as as2 needs it.

    Raises:
        SdpnError: `top_n` is larger than the cohort, or less than 2.
    """
    if not 2 <= top_n <= len(cohort):
        raise SdpnError(f"score normalization: cannot take the {top_n} largest of {len(cohort)} cohort scores")
    statistics = np.empty((4, len(vectors)))
    places = np.empty((len(vectors), top_n), dtype=np.int32) if nearest else None
    rest = len(cohort) - top_n
    for block in blocks(len(vectors), len(cohort)):
        scores = scorer.score_matrix(vectors[block], cohort, None if counts is None else counts[block])
        _moments(scores, statistics[0, block], statistics[1, block])
        if places is not None:
            places[block] = np.argpartition(scores, rest, axis=1)[:, rest:]
            scores = np.take_along_axis(scores, places[block], axis=1)
        else:
            scores.partition(rest, axis=1)
            scores = scores[:, rest:]
        _moments(scores, statistics[2, block], statistics[3, block])
    mean, deviation, top_mean, top_deviation = statistics
    return CohortStatistics(mean, deviation, top_mean, top_deviation, nearest=places)


def normalize(
    scores: np.ndarray,
    method: str,
    enroll: CohortStatistics,
    test: CohortStatistics,
    enroll_index: np.ndarray,
    test_index: np.ndarray,
) -> np.ndarray:
    """Normalize the scores of trials by z, t, s or as (`normalize_as2` does as2).

    Args:
        scores: (n_trials,).
        method: one of METHODS but as2.
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


def normalize_as2(
    scores: np.ndarray,
    scorer: Scorer,
    cohort: np.ndarray,
    enroll: Side,
    test: Side,
    nearest_enroll: np.ndarray,
    nearest_test: np.ndarray,
    enroll_index: np.ndarray,
    test_index: np.ndarray,
) -> np.ndarray:
    """Adaptive s-norm whose cohort is chosen by the other side (Matejka et al., Interspeech 2017, eq. 7).

    Args:
        scores: (n_trials,).
        scorer: a fitted scorer.
        cohort: (n_cohort, D), in the space of the scorer.
        enroll, test: the two sides.
        nearest_enroll, nearest_test: `CohortStatistics.nearest` of each side.
        enroll_index, test_index: (n_trials,), each trial's place in the sides.

    Returns:
        (n_trials,).

    Raises:
        SdpnError: the cohort scores that it looks at are all equal for some trial.
    """
    z = _standardize(scores, *_selected(scorer, enroll, cohort, enroll_index, nearest_test, test_index))
    t = _standardize(scores, *_selected(scorer, test, cohort, test_index, nearest_enroll, enroll_index))
    return 0.5 * (z + t)


def _selected(
    scorer: Scorer, side: Side, cohort: np.ndarray, index: np.ndarray, nearest: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (n_trials,) of each trial's scores of `side` against what is nearest to its other side."""
    order = np.argsort(index, kind="stable")
    sorted_index = index[order]
    moments = np.empty((2, len(index)))
    for block in blocks(len(side.vectors), len(cohort)):
        trials = order[slice(*np.searchsorted(sorted_index, [block.start, block.stop]))]
        if len(trials):
            counts = None if side.counts is None else side.counts[block]
            matrix = scorer.score_matrix(side.vectors[block], cohort, counts)
            _moments_at(matrix, index[trials] - block.start, nearest, other[trials], trials, moments)
    return moments[0], moments[1]


def _standardize(
    scores: np.ndarray, mean: np.ndarray, deviation: np.ndarray, index: np.ndarray | slice = slice(None)
) -> np.ndarray:
    equal = np.count_nonzero(deviation <= 1e-12 * np.abs(mean))
    if equal:
        raise SdpnError(
            f"score normalization: the cohort scores of {equal} of {len(mean)} utterances are all equal: "
            "the cohort holds copies of one vector, or the back-end keeps too few dimensions"
        )
    return (scores - mean[index]) / deviation[index]


@numba.njit(cache=True, nogil=True, parallel=True)
def _moments(scores, mean, deviation):
    """Mean and population deviation of each row of `scores`, in two passes (one would lose digits)."""
    columns = scores.shape[1]
    for row in numba.prange(scores.shape[0]):
        total, squares = 0.0, 0.0
        for column in range(columns):
            total += scores[row, column]
        centre = total / columns
        for column in range(columns):
            squares += (scores[row, column] - centre) ** 2
        mean[row], deviation[row] = centre, np.sqrt(squares / columns)


@numba.njit(cache=True, nogil=True, parallel=True)
def _moments_at(scores, rows, nearest, other, trials, moments):
    """`_moments` for each trial, over the columns nearest[other] of its row of `scores`; into moments[:, trial]."""
    columns = nearest.shape[1]
    for i in numba.prange(len(trials)):
        own, chosen = scores[rows[i]], nearest[other[i]]
        total, squares = 0.0, 0.0
        for k in range(columns):
            total += own[chosen[k]]
        centre = total / columns
        for k in range(columns):
            squares += (own[chosen[k]] - centre) ** 2
        moments[0, trials[i]], moments[1, trials[i]] = centre, np.sqrt(squares / columns)
