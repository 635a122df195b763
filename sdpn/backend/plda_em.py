"""How PLDA is trained: Kaldi's expectation maximization for the two-covariance model, in double precision."""

import numpy as np

from sdpn.backend.transforms import RANK_TOLERANCE
from sdpn.backend.vectors import class_means

WITHIN_FLOOR = 1e-8  # of the largest within-class variance


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


def spanned_basis(scatter: np.ndarray) -> np.ndarray | None:
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
