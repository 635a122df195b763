"""Calibration: from scores of any scale, and what else is known of a trial, to log-likelihood ratios."""

import numpy as np

from sdpn.errors import SdpnError


class Calibration:
    """Logistic regression from the features of a trial to its natural log-likelihood ratio.

    The ratio is `features @ weights_ + offset_`. One score is calibrated, several scores are fused, and quality
    measures stand beside them as further features. Trials are weighted such that the targets make up `prior` of them,
    and the prior's log odds are taken out of the offset again, so the share of targets among the training trials does
    not matter. (Brümmer et al., IEEE Trans. ASLP 15(7), 2007.)

    A small penalty on the weights of the standardized features keeps them finite where the classes do not overlap.

    Args:
        prior: in (0, 1): where on the scale the ratios are to fit best.

    Attributes:
        weights_: (n_features,).
        offset_: float.
    """

    def __init__(self, prior: float = 0.1):
        self.prior = prior

    def fit(self, features: np.ndarray, is_target: np.ndarray) -> "Calibration":
        """Learn from trials with labels.

        Args:
            features: (n_trials, n_features).
            is_target: (n_trials,) bool.

        Raises:
            SdpnError: one of the two classes is missing, or a feature is not finite.
        """
        from sklearn.linear_model import LogisticRegression

        features, is_target = np.asarray(features, dtype=np.float64), np.asarray(is_target, dtype=bool)
        n_targets = np.count_nonzero(is_target)
        if n_targets in (0, len(is_target)):
            raise SdpnError(
                f"calibration: {n_targets} of {len(is_target)} calibration trials are targets: it needs both classes"
            )
        if not np.isfinite(features).all():
            raise SdpnError("calibration: the calibration trials have scores that are NaN or infinite")
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0  # a feature that does not vary says nothing
        shares = np.where(is_target, self.prior / n_targets, (1 - self.prior) / (len(is_target) - n_targets))
        regression = LogisticRegression(tol=1e-8, max_iter=1000)
        regression.fit((features - mean) / deviation, is_target, sample_weight=shares * len(is_target))
        self.weights_ = regression.coef_[0] / deviation
        self.offset_ = float(regression.intercept_[0] - mean @ self.weights_ - np.log(self.prior / (1 - self.prior)))
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        """(n_trials, n_features) -> natural log-likelihood ratios (n_trials,)."""
        return np.asarray(features, dtype=np.float64) @ self.weights_ + self.offset_
