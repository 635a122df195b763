"""Probabilistic linear discriminant analysis: the two-covariance model, with Kaldi's mathematics.

A vector is x = mean + y + e with one y ~ N(0, B) for each class and one e ~ N(0, W) for each vector (Ioffe,
Probabilistic Linear Discriminant Analysis, ECCV 2006). Training, transform, length normalization and score are those
of Kaldi's ivector-compute-plda and ivector-plda-scoring (src/ivector/plda.cc) in double precision.
"""

import numpy as np

from sdpn.backend.adaptation import adapt_plda
from sdpn.backend.plda_em import WITHIN_FLOOR, class_statistics, diagonalize, expectation_maximization, spanned_basis
from sdpn.backend.scorer import Scorer, as_counts
from sdpn.backend.vectors import as_classes, as_matrix, within_scatter_is_zero
from sdpn.errors import SdpnError, refuse_unknown

LENGTH_NORMS = ("kaldi", "simple", "none")


class PLDA(Scorer):
    """Two-covariance PLDA, trained by expectation maximization; the score is a log-likelihood ratio.

    Args:
        iterations: of the EM, from W = B = I.
        length_norm: what `transform` does to u = transform_ (x - mean_), a mean of n utterances: "kaldi" scales it by
            sqrt(D / sum_i(u_i^2 / (psi_i + 1/n))), the length that the model expects; "simple" to the length
            sqrt(D); "none" leaves it.
        smoothing: the share of B that is added to W after training (Kaldi's SmoothWithinClassCovariance); 0 for none.
        adapt: whether `fit` adapts the model to vectors without labels (`adaptation.adapt_plda`).
        mean_diff, within, between: the scales of the adaptation (1.0, 0.3 and 0.7 where not given).

    Attributes:
        mean_: (n_dimensions,), the mean of the class means, every class counting once.
        transform_: (D, n_dimensions): W becomes I and B becomes diag(psi_). D is n_dimensions, or the number of
            dimensions that the training vectors span where that is smaller.
        psi_: (D,), the between-class variances, falling.
        objective_: (iterations,), the log-likelihood for each training vector before each iteration, as Kaldi's
            ComputeObjf gives it; it never falls.
    """

    needs_classes = True

    def __init__(
        self,
        iterations: int = 10,
        length_norm: str = "kaldi",
        smoothing: float = 0.0,
        adapt: bool = False,
        mean_diff: float | None = None,
        within: float | None = None,
        between: float | None = None,
    ):
        given = {"mean_diff_scale": mean_diff, "within_scale": within, "between_scale": between}
        self.scales = {name: scale for name, scale in given.items() if scale is not None}
        if self.scales and not adapt:
            raise SdpnError("plda: mean-diff, within and between say how it adapts: they go with adapt=yes")
        refuse_unknown("length-norm", length_norm, LENGTH_NORMS)
        self.iterations = iterations
        self.length_norm = length_norm
        self.smoothing = smoothing
        self.needs_adaptation = adapt

    def fit(self, X: np.ndarray, classes: np.ndarray, adaptation: np.ndarray | None = None) -> "PLDA":
        """Learn from `X` (n_vectors, n_dimensions) with the class of each vector.

        Args:
            adaptation: (n_others, n_dimensions), vectors without labels, where the model is to be adapted to them.

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
        basis = spanned_basis(scatter + (counts[:, None] * means).T @ means)
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
        if self.smoothing:
            variances = 1 + self.smoothing * self.psi_  # of W + smoothing * B, where W = I and B = diag(psi)
            self.psi_, self.transform_ = self.psi_ / variances, self.transform_ / np.sqrt(variances)[:, None]
        if self.needs_adaptation and adaptation is not None:
            adapted = adapt_plda(self.mean_, self.transform_, self.psi_, adaptation, **self.scales)
            self.mean_, self.transform_, self.psi_ = adapted.mean, adapted.transform, adapted.psi
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
