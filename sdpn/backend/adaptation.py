"""Adaptation to another domain by vectors without labels: of a PLDA as Kaldi does it, and of training vectors by CORAL.

The adaptation vectors come from where the trials come from (other recordings of it, or the trials' own, without
their labels); the training vectors come from elsewhere.
"""

from dataclasses import dataclass

import numpy as np

from sdpn.backend.plda_em import diagonalize
from sdpn.backend.transforms import Transform
from sdpn.backend.vectors import as_matrix
from sdpn.errors import SdpnError


@dataclass(frozen=True)
class AdaptedPLDA:
    """What `adapt_plda` returns: the new `PLDA.mean_`, `transform_` and `psi_`."""

    mean: np.ndarray
    transform: np.ndarray
    psi: np.ndarray


def adapt_plda(
    mean: np.ndarray,
    transform: np.ndarray,
    psi: np.ndarray,
    X: np.ndarray,
    mean_diff_scale: float = 1.0,
    within_scale: float = 0.3,
    between_scale: float = 0.7,
) -> AdaptedPLDA:
    """Adapt a PLDA to vectors without labels, as Kaldi's ivector-adapt-plda (PldaUnsupervisedAdaptor::UpdatePlda).

    Where the adaptation vectors vary more than the model's total covariance W + B says, the excess is shared out: a
    part of it is added to W, another to B. Where they vary less, nothing changes. The mean becomes theirs.

    Args:
        mean, transform, psi: of the PLDA.
        X: (n_vectors, n_dimensions), the adaptation vectors.
        mean_diff_scale: how much of the outer product of the shift of the mean counts as their covariance.
        within_scale, between_scale: the shares of the excess.

    Raises:
        SdpnError: there are no vectors, some hold NaN or infinity, or they have another dimension.
    """
    X = as_matrix(X, "plda adaptation", len(mean))
    U = (X - mean) @ transform.T  # here W = I and B = diag(psi)
    shift = U.mean(axis=0)
    centred = U - shift
    covariance = centred.T @ centred / len(U) + mean_diff_scale * np.outer(shift, shift)
    scale = 1 / np.sqrt(1 + psi)  # to where W + B = I
    variances, directions = np.linalg.eigh(covariance * np.outer(scale, scale))
    excess = (directions * np.maximum(variances - 1, 0)) @ directions.T / np.outer(scale, scale)
    again, new_psi = diagonalize(np.eye(len(psi)) + within_scale * excess, np.diag(psi) + between_scale * excess)
    return AdaptedPLDA(X.mean(axis=0), again @ transform, new_psi)


class CORAL(Transform):
    """Correlation alignment: training vectors take on the mean and covariance of the adaptation vectors.

    What follows in the chain is fitted on x' = (x - mean_train) C_train^(-1/2) C_adaptation^(1/2) + mean_adaptation;
    vectors of the new domain are left as they are. (Sun, Feng and Saenko, Return of Frustratingly Easy Domain
    Adaptation, AAAI 2016; for speaker verification Alam et al., Odyssey 2018.)

    Args:
        regularization: added to the variances of both covariances, as a part of their mean.

    Attributes:
        mean_: (n_dimensions,), of the training vectors.
        target_mean_: (n_dimensions,), of the adaptation vectors.
        recolour_: (n_dimensions, n_dimensions), C_train^(-1/2) C_adaptation^(1/2).
    """

    needs_adaptation = True

    def __init__(self, regularization: float = 0.01):
        self.regularization = regularization

    def fit(self, X: np.ndarray, adaptation: np.ndarray) -> "CORAL":
        """Learn from training vectors `X` (n_vectors, n_dimensions) and adaptation vectors of the same dimension.

        Raises:
            SdpnError: all vectors of one of the two are the same.
        """
        X = as_matrix(X, "coral")
        adaptation = as_matrix(adaptation, "coral", X.shape[1])
        self.mean_, self.target_mean_ = X.mean(axis=0), adaptation.mean(axis=0)
        whiten = self._power(X - self.mean_, -0.5, "training")
        self.recolour_ = whiten @ self._power(adaptation - self.target_mean_, 0.5, "adaptation")
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Vectors of the new domain: unchanged."""
        return as_matrix(X, "coral", len(self.mean_))

    def transform_training(self, X: np.ndarray) -> np.ndarray:
        """Vectors of the training set: recoloured."""
        return (as_matrix(X, "coral", len(self.mean_)) - self.mean_) @ self.recolour_ + self.target_mean_

    def _power(self, centred: np.ndarray, exponent: float, which: str) -> np.ndarray:
        """The power of the regularized covariance of vectors of mean zero."""
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        mean = np.maximum(variances, 0).mean()
        if mean <= np.finfo(np.float64).tiny:
            raise SdpnError(f"coral: all {len(centred)} {which} vectors are the same")
        return (directions * (np.maximum(variances, 0) + self.regularization * mean) ** exponent) @ directions.T
