"""What a chain ends in: something that scores pairs of vectors, all by matrix operations, in blocks."""

from collections.abc import Iterator

import numba
import numpy as np

from sdpn.errors import SdpnError

BLOCK_BYTES = 1 << 25  # of float64 at a time: large enough for BLAS, small enough for the cache and for any machine


def blocks(count: int, row_size: int) -> Iterator[slice]:
    """Slices that cut `count` rows of `row_size` float64 numbers into blocks of about BLOCK_BYTES."""
    rows = max(1, BLOCK_BYTES // (8 * max(row_size, 1)))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


class Scorer:
    """A score that is bilinear for a given number of enrollment utterances n,

        score(e, t) = left_n(e) . t + bias_n(e) + bias_n(t),

    as the cosine and the log-likelihood ratio of PLDA are. A subclass has `fit`, `transform` and `_terms`.

    Vectors given to `score_pairs` and `score_matrix` come from `transform`. A row of `enroll` may be the mean of
    several utterances; `counts` says of how many (None: of one each), to `transform` and to the scoring alike. With
    one utterance each, both functions are symmetric: enrollment and test may change places.
    """

    needs_classes = False
    needs_adaptation = False
    note_ = ""

    def before_mean(self, X: np.ndarray) -> np.ndarray:
        """What the vectors (n_vectors, n_dimensions) of one model's utterances become before their mean is taken."""
        return X

    def transform(self, X: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Map vectors (n_vectors, n_dimensions) into the space in which they are scored."""
        raise NotImplementedError

    def _terms(self, enroll: np.ndarray, test: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The left factors (n_enroll, D), the biases (n_enroll,) and (n_test,) for n enrollment utterances."""
        raise NotImplementedError

    def score_pairs(
        self,
        enroll: np.ndarray,
        test: np.ndarray,
        enroll_index: np.ndarray,
        test_index: np.ndarray,
        counts: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score trials.

        Args:
            enroll: (n_enroll, D), transformed.
            test: (n_test, D), transformed.
            enroll_index: (n_trials,), the row of `enroll` of each trial.
            test_index: (n_trials,), the row of `test`.
            counts: (n_enroll,), how many utterances each row of `enroll` is the mean of; None for one.

        Returns:
            (n_trials,) float64.
        """
        scores = np.empty(len(enroll_index))
        place = np.zeros(len(enroll), dtype=np.int64)  # of each row of `enroll` among those of its count
        for n, rows in _by_count(counts, len(enroll)):
            chosen = np.arange(len(scores)) if rows is None else np.flatnonzero(np.isin(enroll_index, rows))
            place[slice(None) if rows is None else rows] = np.arange(len(enroll) if rows is None else len(rows))
            left, enroll_bias, test_bias = self._terms(enroll if rows is None else enroll[rows], test, n)
            e, t = place[enroll_index[chosen]], np.asarray(test_index)[chosen]
            scores[chosen] = _dot_pairs(left, np.ascontiguousarray(test), e, t) + enroll_bias[e] + test_bias[t]
        return scores

    def score_matrix(self, enroll: np.ndarray, test: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Score every row of `enroll` against every row of `test`: (n_enroll, n_test) float64."""
        scores = np.empty((len(enroll), len(test)))
        for n, rows in _by_count(counts, len(enroll)):
            chosen = slice(None) if rows is None else rows
            left, enroll_bias, test_bias = self._terms(enroll[chosen], test, n)
            product = left @ test.T
            product += enroll_bias[:, None]
            product += test_bias
            scores[chosen] = product
        return scores


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=True)
def _dot_pairs(left, right, left_index, right_index):
    """left[i] . right[j] for every pair of rows (i, j), without a copy of the rows: they are read where they lie."""
    products = np.empty(len(left_index))
    for pair in numba.prange(len(left_index)):
        a, b = left[left_index[pair]], right[right_index[pair]]
        total = 0.0
        for k in range(a.shape[0]):
            total += a[k] * b[k]
        products[pair] = total
    return products


def _by_count(counts: np.ndarray | None, n_enroll: int) -> Iterator[tuple[int, np.ndarray | None]]:
    """Each number of enrollment utterances with the rows that have it; rows None means all."""
    if counts is None:
        yield 1, None
        return
    counts = as_counts(counts, n_enroll)
    distinct = np.unique(counts)
    for n in distinct:
        yield int(n), None if len(distinct) == 1 else np.flatnonzero(counts == n)


def as_counts(counts: np.ndarray, n_enroll: int) -> np.ndarray:
    """Return `counts` as integers.

    Raises:
        SdpnError: there is not one positive count for each of the `n_enroll` vectors.
    """
    counts = np.asarray(counts)
    if counts.shape != (n_enroll,) or (counts < 1).any():
        raise SdpnError(f"enrollment: every one of the {n_enroll} models needs a number of utterances, at least 1")
    return counts.astype(np.int64)
