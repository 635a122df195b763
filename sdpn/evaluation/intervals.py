"""How sure the figures are: 95 % intervals, and paired comparisons of two systems, from bootstrap draws.

The percentiles of the draws over speakers would make intervals that are too wide for one reason and too narrow for two.
One factor on the distance of the draws from their median mends all three:

- What is particular to a pair of speakers counts three times in those draws (see `sdpn.evaluation.bootstrap`). Draws of
  the pairs alone measure it: the variance of a figure is V_speakers - 2 V_pairs, as in the multiway cluster-robust
  variance of Cameron, Gelbach and Miller (Journal of Business & Economic Statistics 29(2), 2011). It is never taken to
  be less than V_pairs.
- A bootstrap of n speakers gives (n - 1) / n of the variance.
- Its percentiles are those of a normal distribution where Student's t is due. (For both: the expanded percentile
  interval of Hesterberg, The American Statistician 69(4), 2015.)
"""

from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError

FEWEST_SPEAKERS = 10
"""With fewer speakers no interval is given: resampling a handful of people tells nothing of others."""


@dataclass(frozen=True)
class Replicates:
    """The figures of a row in every draw.

    Attributes:
        names: of the figures.
        speakers: (n_figures, n_draws), of draws of speakers; NaN where a draw lacks targets or non-targets.
        pairs: (n_figures, n_pair_draws), of draws of pairs of speakers.
        n_speakers: how many speakers the trials have.
    """

    names: list[str]
    speakers: np.ndarray
    pairs: np.ndarray
    n_speakers: int

    def interval(self, figure: int) -> tuple[float, float]:
        """Return the 95 % interval of the figure in row `figure`, at 0 or above; NaN where all its draws are."""
        found = self.draws(figure)
        low, high = np.percentile(found, [2.5, 97.5]) if len(found) else (np.nan, np.nan)
        return float(np.maximum(low, 0.0)), float(high)

    def minus(self, other: "Replicates") -> "Replicates":
        """Return the differences from `other` within every draw.

        Raises:
            SdpnError: the two are not of the same figures and draws.
        """
        if (self.speakers.shape, self.pairs.shape) != (other.speakers.shape, other.pairs.shape):
            raise SdpnError(
                f"comparison: {other.speakers.shape[1]} draws of one system, {self.speakers.shape[1]} of the other"
            )
        return Replicates(self.names, self.speakers - other.speakers, self.pairs - other.pairs, self.n_speakers)

    def select(self, names: list[str]) -> "Replicates":
        """Return the figures `names` alone, in that order."""
        rows = [self.names.index(name) for name in names]
        return Replicates(names, self.speakers[rows], self.pairs[rows], self.n_speakers)

    def draws(self, figure: int) -> np.ndarray:
        """Return the draws of the figure in row `figure` without NaNs, their distance from the median as it is due."""
        from scipy.stats import t

        found, pairs = (row[~np.isnan(row)] for row in (self.speakers[figure], self.pairs[figure]))
        if not len(found) or self.n_speakers < 2:
            return found
        variance, of_pairs = found.var(), pairs.var() if len(pairs) else 0.0
        due = max(variance - 2 * of_pairs, min(of_pairs, variance))
        n = self.n_speakers
        student = t.ppf(0.975, n - 1) / t.ppf(0.975, np.inf)
        factor = student * np.sqrt(n / (n - 1) * (due / variance if variance > 0 else 1.0))
        centre = np.median(found)
        return centre + factor * (found - centre)


@dataclass(frozen=True)
class Difference:
    """How a figure of system B differs from that of system A; less is better.

    Attributes:
        value: B - A over all trials.
        low, high: the 95 % interval; NaN where there is none.
        p: the two-sided probability of a difference as far from none, if there were none; 1 where there is no interval.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def paired_differences(a: np.ndarray, b: np.ndarray, draws_a: Replicates, draws_b: Replicates) -> list[Difference]:
    """Compare two systems scored on the same trials, figure by figure.

    Args:
        a, b: (n_figures,), over all trials.
        draws_a, draws_b: the figures of the same draws.

    Raises:
        SdpnError: the draws are not the same.
    """
    differences = draws_b.minus(draws_a)
    found = []
    for figure, value in enumerate(b - a):
        draws = differences.draws(figure)
        if len(draws) and differences.n_speakers >= FEWEST_SPEAKERS:
            low, high = np.percentile(draws, [2.5, 97.5])
            rarer = min((draws <= 0).sum(), (draws >= 0).sum())
            p = min(1.0, 2 * (rarer + 1) / (len(draws) + 1))
        else:
            low, high, p = np.nan, np.nan, 1.0
        found.append(Difference(float(value), float(low), float(high), float(p)))
    return found
