"""Calibration: from scores of any scale, and what else is known of a trial, to log-likelihood ratios."""

import numpy as np
from scipy.special import expit

from sdpn.errors import SdpnError


class Calibration:
    """Logistic regression from the features of a trial to its natural log-likelihood ratio.

    The ratio is `features @ weights_ + offset_`. One score is calibrated, several scores are fused, and quality
    measures stand beside them as further features. Trials are weighted such that the targets make up `prior` of them,
    and the prior's log odds are taken out of the offset again, so the share of targets among the training trials does
    not matter. (Brümmer et al., IEEE Trans. ASLP 15(7), 2007.)

    With few trials the likelihood says little of the slope, and nothing if the classes do not overlap. The cost is
    therefore the negative log-likelihood, which grows with the number of trials of the rarer class, plus half the
    squared distance of weights and offset from those of two normal distributions of one covariance, for standardized
    features: these follow from means and covariances alone (van Leeuwen and Brümmer, Interspeech 2013). With 20 trials
    of each class the normal distributions decide, with some hundreds the likelihood does.

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
        from scipy.optimize import minimize

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
        X = np.column_stack(((features - mean) / deviation, np.ones(len(features))))
        n_nontargets = len(is_target) - n_targets
        trials = 2 / (1 / n_targets + 1 / n_nontargets)  # the harmonic mean: the rarer class limits what is known
        shares = np.where(is_target, self.prior / n_targets, (1 - self.prior) / n_nontargets) * trials
        prior_odds, sign = np.log(self.prior / (1 - self.prior)), np.where(is_target, -1.0, 1.0)
        centre = _of_normal_distributions(X[:, :-1], is_target, trials)

        def cost(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
            """Compute the penalized negative log-likelihood and its gradient."""
            odds, away = sign * (X @ coefficients + prior_odds), coefficients - centre
            value = shares @ np.logaddexp(0, odds) + away @ away / 2
            return value, (shares * sign * expit(odds)) @ X + away

        found = minimize(cost, centre, jac=True, method="BFGS", options={"gtol": 1e-9 * trials}).x
        self.weights_ = found[:-1] / deviation
        self.offset_ = float(found[-1] - mean @ self.weights_)
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        """(n_trials, n_features) -> natural log-likelihood ratios (n_trials,)."""
        return np.asarray(features, dtype=np.float64) @ self.weights_ + self.offset_


def _of_normal_distributions(features: np.ndarray, is_target: np.ndarray, trials: float) -> np.ndarray:
    """Compute weights and offset of the log-likelihood ratio of two normal distributions of one covariance.

    Args:
        features: (n_trials, n_features), standardized.
        trials: how many trials the covariance is known from; with few it is widened by 0.1 / trials.
    """
    means = [features[kind].mean(axis=0) for kind in (is_target, ~is_target)]
    scatters = [np.cov(features[kind], rowvar=False, ddof=1) for kind in (is_target, ~is_target) if kind.sum() > 1]
    covariance = np.mean([np.atleast_2d(scatter) for scatter in scatters], axis=0) if scatters else np.zeros(1)
    weights = np.linalg.solve(covariance + 0.1 / trials * np.eye(features.shape[1]), means[0] - means[1])
    return np.append(weights, -weights @ (means[0] + means[1]) / 2)
