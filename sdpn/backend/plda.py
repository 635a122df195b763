"""Probabilistic linear discriminant analysis: the two-covariance model, with Kaldi's mathematics.

A vector is x = mean + y + e with one y ~ N(0, B) for each class and one e ~ N(0, W) for each vector (Ioffe,
Probabilistic Linear Discriminant Analysis, ECCV 2006). Training, transform, length normalization and score are those
of Kaldi's ivector-compute-plda and ivector-plda-scoring (src/ivector/plda.cc) in double precision.
"""

import numpy as np

from sdpn.backend.scorer import Scorer, as_counts
from sdpn.backend.transforms import RANK_TOLERANCE
from sdpn.backend.vectors import as_classes, as_matrix, class_means, within_scatter_is_zero
from sdpn.errors import SdpnError

WITHIN_FLOOR = 1e-8  # of the largest within-class variance


class PLDA(Scorer):
    """Two-covariance PLDA, trained by expectation maximization; the score is a log-likelihood ratio.

    Args:
        iterations: of the EM, from W = B = I.
        length_norm: what `transform` does to u = transform_ (x - mean_), a mean of n utterances: "kaldi" scales it by
            sqrt(D / sum_i(u_i^2 / (psi_i + 1/n))), the length that the model expects; "simple" to the length
            sqrt(D); "none" leaves it.

    Attributes:
        mean_: (n_dimensions,), the mean of the class means, every class counting once.
        transform_: (D, n_dimensions): W becomes I and B becomes diag(psi_). D is n_dimensions, or the number of
            dimensions that the training vectors span where that is smaller.
        psi_: (D,), the between-class variances, falling.
        objective_: (iterations,), the log-likelihood for each training vector before each iteration, as Kaldi's
            ComputeObjf gives it; it never falls.
    """

    needs_classes = True

    def __init__(self, iterations: int = 10, length_norm: str = "kaldi"):
        self.iterations = iterations
        self.length_norm = length_norm

    def fit(self, X: np.ndarray, classes: np.ndarray) -> "PLDA":
        """Learn from `X` (n_vectors, n_dimensions) with the class of each vector.

        Raises:
            SdpnError: fewer than two classes, every vector a class of its own, or the vectors of every class
                identical.
        """
        X = as_matrix(X, "plda")
        classes = as_classes(classes, "plda", len(X))
        if within_scatter_is_zero(X, classes):
            raise SdpnError("plda: the vectors of every class are identical: nothing varies within a class")
        counts, means, scatter = class_statistics(X, classes)
        self.mean_ = means.mean(axis=0)
        means = means - self.mean_
        notes = []
        basis = _span(scatter + (counts[:, None] * means).T @ means)
        if basis is not None:
            notes.append(f"{len(basis)} of {X.shape[1]} dimensions used: the training vectors span no more")
            means, scatter = means @ basis.T, basis @ scatter @ basis.T
        if len(X) - len(counts) < means.shape[1]:
            notes.append(f"{len(X)} vectors in {len(counts)} classes are few: a smaller dimension (lda) may do better")
        within, between, self.objective_ = expectation_maximization(counts, means, scatter, self.iterations)
        variances = np.linalg.eigvalsh(within)
        n_floored = np.count_nonzero(variances < 1.01 * WITHIN_FLOOR * variances[-1])
        if n_floored:
            notes.append(f"{n_floored} within-class variances floored at {WITHIN_FLOOR:g} of the largest")
        transform, self.psi_ = diagonalize(within, between)
        self.transform_ = transform if basis is None else transform @ basis
        self.note_ = "plda: " + "; ".join(notes) if notes else ""
        return self

    def transform(self, X: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Map vectors into the space where W = I and B = diag(psi_), and normalize their length.

        Args:
            X: (n_vectors, n_dimensions).
            counts: (n_vectors,), how many utterances each vector is the mean of; None for one.

        Returns:
            (n_vectors, D).
        """
        X = as_matrix(X, "plda", len(self.mean_))
        U = (X - self.mean_) @ self.transform_.T
        if self.length_norm == "none":
            return U
        if self.length_norm == "simple":
            squares = np.einsum("ij,ij->i", U, U)
        else:
            n = np.ones(len(U)) if counts is None else as_counts(counts, len(U))
            squares = (U**2 / (self.psi_ + 1.0 / n[:, None])).sum(axis=1)
        squares[squares == 0] = U.shape[1]  # the mean itself: it has no length to change
        return U * np.sqrt(U.shape[1] / squares)[:, None]

    def _terms(self, enroll: np.ndarray, test: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log N(t; gain e, variance) - log N(t; 0, 1 + psi), sorted by what it multiplies.

        gain = n psi / (n psi + 1), variance = 1 + psi / (n psi + 1): the predictive distribution of t given the mean
        e of n utterances of its class.
        """
        gain = n * self.psi_ / (n * self.psi_ + 1)
        variance = 1 + self.psi_ / (n * self.psi_ + 1)
        constant = -0.5 * np.sum(np.log(variance) - np.log1p(self.psi_))
        enroll_bias = -0.5 * (enroll**2 @ (gain**2 / variance)) + constant
        test_bias = -0.5 * (test**2 @ (1 / variance - 1 / (1 + self.psi_)))
        return enroll * (gain / variance), enroll_bias, test_bias


def class_statistics(X: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the EM needs to know of the data.

    Args:
        X: (n_vectors, D).
        classes: (n_vectors,) integers 0 .. n_classes - 1, none of them empty.

    Returns:
        The number of vectors of each class (n_classes,), the class means (n_classes, D), and the scatter of the
        vectors about the means of their classes (D, D).
    """
    counts, means = class_means(X, classes)
    offsets = X - means[classes]
    return counts, means, offsets.T @ offsets


def expectation_maximization(
    counts: np.ndarray, means: np.ndarray, scatter: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate W and B from W = B = I.

    With m the mean of a class of n vectors, its y has the posterior N(w, M), M = (B^-1 + n W^-1)^-1 and
    w = n M W^-1 m. The update of B is the mean over the classes of M + w w^T; that of W is the scatter plus the sum
    over the classes of n (M + (m - w)(m - w)^T), divided by the number of vectors.

    Both sums are formed in the space in which W = I and B = diag(psi): there M and w are one division for each number,
    so a single decomposition an iteration serves the classes of every size.

    Args:
        counts: (n_classes,).
        means: (n_classes, D), with the global mean subtracted.
        scatter: (D, D), of full rank together with the means.
        iterations: how many.

    Returns:
        W (D, D), its variances floored at WITHIN_FLOOR of the largest; B (D, D); the objective before each iteration
        (iterations,).
    """
    n_vectors, (n_classes, D) = counts.sum(), means.shape
    n = counts[:, None]
    within, between = np.eye(D), np.eye(D)
    objective = np.empty(iterations)
    for iteration in range(iterations):
        transform, psi = diagonalize(within, between)
        back = within @ transform.T  # the inverse of the transform, since T W T^T = I
        u = means @ transform.T
        variance_of_means = psi + 1 / n
        objective[iteration] = -0.5 * (
            np.sum(np.log(variance_of_means) + u**2 / variance_of_means)
            + np.sum((transform @ scatter) * transform)
            + n_vectors * (D * np.log(2 * np.pi) - 2 * np.linalg.slogdet(transform)[1])
        )
        posterior_variances = psi / (1 + n * psi)
        w = n * posterior_variances * u
        rest = u - w
        between = back @ (np.diag(posterior_variances.sum(axis=0)) + w.T @ w) @ back.T / n_classes
        within = back @ (np.diag((n * posterior_variances).sum(axis=0)) + (n * rest).T @ rest) @ back.T
        within = _floor((scatter + within) / n_vectors)
    return within, between, objective / n_vectors


def diagonalize(within: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The transform T with T within T^T = I and T between T^T = diag(psi), and psi, falling and not negative."""
    whiten = np.linalg.inv(np.linalg.cholesky(within))
    psi, rotation = np.linalg.eigh(whiten @ between @ whiten.T)
    return rotation[:, ::-1].T @ whiten, np.maximum(psi[::-1], 0.0)


def _span(scatter: np.ndarray) -> np.ndarray | None:
    """An orthonormal basis (rank, D) of what the vectors span, or None where they span all dimensions.

    In a direction where no training vector varies, W and B would shrink without end and the noise of a test vector
    would decide its scores.
    """
    variances, directions = np.linalg.eigh(scatter)
    spanned = variances > RANK_TOLERANCE * variances[-1]
    return None if spanned.all() else directions[:, spanned].T


def _floor(within: np.ndarray) -> np.ndarray:
    """Raise the variances of W that fall below WITHIN_FLOOR of the largest, as those do that nothing holds up."""
    variances, directions = np.linalg.eigh(within)
    floor = WITHIN_FLOOR * variances[-1]
    if variances[0] >= floor:
        return within
    return (directions * np.maximum(variances, floor)) @ directions.T
