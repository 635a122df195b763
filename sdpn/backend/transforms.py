"""Transforms of x-vectors, in scikit-learn's manner: `fit` on training vectors, then `transform` any.

Every transform keeps what it learned in attributes that end in an underscore. `note_` is a sentence for the user
where the data did not allow what was asked for, else empty.
"""

import numpy as np

from sdpn.backend.vectors import as_classes, as_matrix, class_means, within_scatter_is_zero
from sdpn.errors import SdpnError

WITHIN_FLOOR = 1e-4  # of the variance of a dimension within classes, added to it
RANK_TOLERANCE = 1e-10  # of the largest variance: a direction with less holds nothing but rounding errors


class Transform:
    """What the transforms of a chain have in common."""

    needs_classes = False
    needs_adaptation = False
    note_ = ""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> (n_vectors, n_kept)."""
        raise NotImplementedError

    def transform_training(self, X: np.ndarray) -> np.ndarray:
        """What the vectors of the training set become; the same, but where the training set is of another domain."""
        return self.transform(X)


class MeanSubtract(Transform):
    """Subtract the mean of the training vectors.

    Attributes:
        mean_: (n_dimensions,).
    """

    def fit(self, X: np.ndarray) -> "MeanSubtract":
        """Learn the mean of `X` (n_vectors, n_dimensions)."""
        self.mean_ = as_matrix(X, "mean-subtract").mean(axis=0)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> the same shape."""
        return as_matrix(X, "mean-subtract", len(self.mean_)) - self.mean_


class LengthNorm(Transform):
    """Scale every vector to the length sqrt(n_dimensions), as Kaldi's ivector-normalize-length does.

    That length gives every dimension a variance of about 1, which is where the EM of `PLDA` starts from; the cosine
    does not see it.
    """

    def fit(self, X: np.ndarray) -> "LengthNorm":
        """Learn the dimension of `X` (n_vectors, n_dimensions)."""
        self.n_dimensions_ = as_matrix(X, "length-norm").shape[1]
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> the same shape.

        Raises:
            SdpnError: a vector has length zero, and so no direction.
        """
        X = as_matrix(X, "length-norm", self.n_dimensions_)
        return X * (np.sqrt(X.shape[1]) / lengths(X, "length-norm"))[:, None]


class LDA(Transform):
    """Linear discriminant analysis, through scikit-learn: the directions that tell the classes apart best.

    The output has unit variance within the classes. (Fukunaga, Introduction to Statistical Pattern Recognition,
    1990, chapter 10.)

    Args:
        dim: dimensions to keep; lowered to what the classes and the rank of the data allow.

    Attributes:
        mean_: (n_dimensions,), what is subtracted first.
        projection_: (n_dimensions, n_kept).
    """

    needs_classes = True

    def __init__(self, dim: int):
        self.dim = dim

    def fit(self, X: np.ndarray, classes: np.ndarray) -> "LDA":
        """Learn from `X` (n_vectors, n_dimensions) with the class of each vector.

        Raises:
            SdpnError: fewer than two classes, or nothing varies within them.
        """
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        X = as_matrix(X, "lda")
        classes = as_classes(classes, "lda", len(X))
        if within_scatter_is_zero(X, classes):
            raise SdpnError("lda: the vectors of every class are identical: nothing varies within a class")
        limit = min(self.dim, classes.max(), X.shape[1])  # n_classes - 1 directions hold all the class means
        fitted = LinearDiscriminantAnalysis(solver="svd", n_components=limit).fit(X, classes)
        self.mean_ = fitted.xbar_
        self.projection_ = fitted.scalings_[:, :limit]
        kept = self.projection_.shape[1]
        self.note_ = (
            f"lda: {self.dim} dimensions asked for, {kept} kept: "
            f"the data have {X.shape[1]} dimensions and {classes.max() + 1} classes"
            if kept < self.dim
            else ""
        )
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> (n_vectors, n_kept)."""
        return (as_matrix(X, "lda", len(self.mean_)) - self.mean_) @ self.projection_


class WCCN(Transform):
    """Within-class covariance normalization: the vectors come out with identity covariance within the classes.

    (Hatch, Kajarekar and Stolcke, Within-class covariance normalization for SVM-based speaker recognition, Interspeech
    2006.) With an utterance and its augmented views for a class, what rooms and noises do counts as little as anything.

    Attributes:
        projection_: (n_dimensions, n_dimensions), lower triangular.
    """

    needs_classes = True

    def fit(self, X: np.ndarray, classes: np.ndarray) -> "WCCN":
        """Learn from `X` (n_vectors, n_dimensions) with the class of each vector.

        Raises:
            SdpnError: nothing varies within the classes.
        """
        X = as_matrix(X, "wccn")
        classes = as_classes(classes, "wccn", len(X))
        if within_scatter_is_zero(X, classes):
            raise SdpnError("wccn: the vectors of every class are identical: nothing varies within a class")
        counts, means = class_means(X, classes)
        offsets = X - means[classes]
        covariance = offsets.T @ offsets / (len(X) - len(counts))
        variances = np.diag(covariance).copy()  # each is raised a little: where nothing varies, nothing is blown up
        covariance[np.diag_indices_from(covariance)] += WITHIN_FLOOR * np.maximum(
            variances, WITHIN_FLOOR * variances.max()
        )
        self.projection_ = np.linalg.cholesky(np.linalg.inv(covariance))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> the same shape."""
        return as_matrix(X, "wccn", len(self.projection_)) @ self.projection_


class Whiten(Transform):
    """Whitening by principal components: the training vectors come out with mean 0 and identity covariance.

    Args:
        dim: how many leading components to keep; None for all that the data span.

    Attributes:
        mean_: (n_dimensions,).
        projection_: (n_dimensions, n_kept), the components divided by their standard deviations.
    """

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def fit(self, X: np.ndarray) -> "Whiten":
        """Learn mean and covariance of `X` (n_vectors, n_dimensions).

        Raises:
            SdpnError: all vectors are the same.
        """
        X = as_matrix(X, "whiten")
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        variances, components = np.linalg.eigh(centred.T @ centred / max(len(X) - 1, 1))
        variances, components = variances[::-1], components[:, ::-1]
        if variances[0] <= np.finfo(np.float64).tiny:
            raise SdpnError(f"whiten: all {len(X)} training vectors are the same")
        rank = np.count_nonzero(variances > RANK_TOLERANCE * variances[0])
        wanted = X.shape[1] if self.dim is None else self.dim
        kept = min(rank, wanted)
        components = components[:, :kept] * _signs(components[:, :kept])
        self.projection_ = components / np.sqrt(variances[:kept])
        self.note_ = (
            f"whiten: {kept} of {wanted} dimensions kept: the training vectors span no more" if kept < wanted else ""
        )
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> (n_vectors, n_kept)."""
        return (as_matrix(X, "whiten", len(self.mean_)) - self.mean_) @ self.projection_


class SideBySide(Transform):
    """Give two vectors that stand side by side the same weight: each is centred and scaled to a mean square of 1.

    What LDA makes of them does not depend on it; a length norm or a cosine without LDA before it would hear only the
    larger one.

    Args:
        dim: dimensions of the first vector; the rest is the second one.

    Attributes:
        mean_: (n_dimensions,).
        scale_: (n_dimensions,), equal within each of the two.
    """

    def __init__(self, dim: int):
        self.dim = dim

    def fit(self, X: np.ndarray) -> "SideBySide":
        """Learn from `X` (n_vectors, n_dimensions).

        Raises:
            SdpnError: there is no second vector, or one of the two does not vary.
        """
        X = as_matrix(X, "side-by-side")
        if X.shape[1] <= self.dim:
            raise SdpnError(
                f"side-by-side: the vectors have {X.shape[1]} dimensions, so nothing stands beside the first {self.dim}"
            )
        self.mean_ = X.mean(axis=0)
        variances = X.var(axis=0)
        self.scale_ = np.empty(X.shape[1])
        for part in (slice(self.dim), slice(self.dim, None)):
            variance = variances[part].mean()
            if variance <= np.finfo(np.float64).tiny:
                raise SdpnError(f"side-by-side: one of the two is the same in all {len(X)} training vectors")
            self.scale_[part] = 1 / np.sqrt(variance)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_vectors, n_dimensions) -> the same shape."""
        return (as_matrix(X, "side-by-side", len(self.mean_)) - self.mean_) * self.scale_


def lengths(X: np.ndarray, where: str) -> np.ndarray:
    """The Euclidean length of each row of `X`.

    Raises:
        SdpnError: one of them is zero.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", X, X))
    zero = np.count_nonzero(norms == 0)
    if zero:
        raise SdpnError(
            f"{where}: {zero} of {len(X)} vectors have length zero, and so no direction (are they constant?)"
        )
    return norms


def _signs(components: np.ndarray) -> np.ndarray:
    """One sign for each column, such that its largest entry is positive: LAPACK's choice differs by version."""
    largest = np.abs(components).argmax(axis=0)
    return np.where(components[largest, np.arange(components.shape[1])] < 0, -1.0, 1.0)
