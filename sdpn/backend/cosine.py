"""The cosine of the angle between two vectors."""

import numpy as np

from sdpn.backend.scorer import Scorer
from sdpn.backend.transforms import lengths
from sdpn.backend.vectors import as_matrix


class Cosine(Scorer):
    """Score two vectors by the cosine between them, in [-1, 1]. There is nothing to learn but the dimension."""

    def fit(self, X: np.ndarray) -> "Cosine":
        """Learn the dimension of `X` (n_vectors, n_dimensions)."""
        self.n_dimensions_ = as_matrix(X, "cosine").shape[1]
        return self

    def before_mean(self, X: np.ndarray) -> np.ndarray:
        """Utterances of one model count equally: each is scaled to length 1 before their mean is taken."""
        return self.transform(X)

    def transform(self, X: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Scale every vector to length 1; how many utterances it is the mean of does not matter.

        Raises:
            SdpnError: a vector has length zero, and so no direction.
        """
        X = as_matrix(X, "cosine", self.n_dimensions_)
        return X / lengths(X, "cosine")[:, None]

    def _terms(self, enroll: np.ndarray, test: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return enroll, np.zeros(len(enroll)), np.zeros(len(test))
