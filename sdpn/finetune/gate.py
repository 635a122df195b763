"""The dynamic loss gate: below which loss a label is trusted (Han, Chen & Qian 2022, arXiv 2208.01928)."""

import math
from dataclasses import dataclass

import numpy as np

_FEWEST = 10  # losses that a mixture is fitted to
_FLOOR = 1e-3  # of the deviations, relative to that of all log losses


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians: sum over k of weights[k] N(x; means[k], deviations[k]^2), the lower mean first."""

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log(weights[k] N(x; ...)): (n, 2)."""
        z = (np.asarray(x, dtype=np.float64)[:, None] - self.means) / self.deviations
        return np.log(self.weights) - np.log(self.deviations) - 0.5 * (math.log(2 * math.pi) + z * z)


def fit_mixture(x: np.ndarray, iterations: int = 200, tolerance: float = 1e-6) -> Mixture | None:
    """Fit two Gaussians to numbers (n,) by expectation and maximization; None where these are too few or all alike.

    It begins with the two halves about the middle between the 5 % and the 95 % quantile.
    """
    x = np.sort(np.asarray(x, dtype=np.float64))  # the order of a sum decides its last bits
    floor = _FLOOR * x.std() if len(x) else 0.0
    if len(x) < _FEWEST or floor == 0:
        return None
    low, high = np.quantile(x, (0.05, 0.95))
    shares = np.stack((x <= (low + high) / 2, x > (low + high) / 2), axis=1).astype(np.float64)
    if not shares.any(axis=0).all():
        return None
    before = -np.inf
    for _ in range(iterations):
        counts = np.maximum(shares.sum(axis=0), 1e-12)
        means = shares.T @ x / counts
        variances = (shares * (x[:, None] - means) ** 2).sum(axis=0) / counts
        mixture = Mixture(counts / counts.sum(), means, np.maximum(np.sqrt(variances), floor))
        log_densities = mixture.log_densities(x)
        total = np.logaddexp(log_densities[:, 0], log_densities[:, 1])
        shares = np.exp(log_densities - total[:, None])
        if total.mean() - before < tolerance:
            break
        before = total.mean()
    order = np.argsort(mixture.means)
    return Mixture(mixture.weights[order], mixture.means[order], mixture.deviations[order])


def crossing(mixture: Mixture) -> float | None:
    """Where between the two means the weighted densities are equal; None where that is nowhere.

    The logarithms of both are parabolas, so their difference a x^2 + b x + c has at most two roots; at most one of
    these is between the means, where one density falls and the other rises.
    """
    (m0, m1), (d0, d1) = mixture.means, mixture.deviations
    inverse0, inverse1 = 0.5 / d0**2, 0.5 / d1**2
    a = inverse1 - inverse0
    b = 2 * (m0 * inverse0 - m1 * inverse1)
    c = m1**2 * inverse1 - m0**2 * inverse0 + math.log(mixture.weights[0] * d1 / (mixture.weights[1] * d0))
    roots = np.roots([a, b, c] if abs(a) > 1e-12 * (inverse0 + inverse1) else [b, c])
    inside = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and m0 < root.real < m1]
    return inside[0] if inside else None


def gate_threshold(losses: np.ndarray, before: float) -> float:
    """The loss above which a label does not count in the coming epoch.

    Args:
        losses: (n,) of the last epoch; what is not a number was not seen in it.
        before: the threshold so far, which stays where the mixture gives none.
    """
    seen = losses[np.isfinite(losses)]
    mixture = fit_mixture(np.log(np.maximum(seen, 1e-12)))
    found = None if mixture is None else crossing(mixture)
    return before if found is None else math.exp(found)
