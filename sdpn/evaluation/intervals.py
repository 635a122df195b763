"""How sure the figures are: 95 % intervals, and paired comparisons of two systems, from the influence of speakers."""

from dataclasses import dataclass

import numpy as np

from sdpn.evaluation.influence import Influence

FEWEST_SPEAKERS = 10
"""With fewer speakers no interval is given: a handful of people tell nothing of others."""


def intervals_of(found: Influence) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure that has one, by Student's t over speakers.

    It is symmetric for the logarithm. An error rate that came out low goes with a variance that came out low: on the
    scale of the rate itself, too many intervals would lie below the truth. A figure without any error has no interval:
    that there was no error does not say how few there are elsewhere.
    """
    if found.n_speakers < FEWEST_SPEAKERS:
        return {}
    intervals = {}
    widths = _student(found.n_speakers) * np.sqrt(found.variances())
    for name, value, width in zip(found.names, found.values, widths, strict=True):
        if value > 0 and width > 0:
            most = 100.0 if name.startswith("eer") else 1.0 if name.startswith("min") else np.inf
            factor = np.exp(width / value)
            intervals[name] = float(value / factor), float(min(value * factor, most))
    return intervals


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


def paired_differences(a: Influence, b: Influence) -> dict[str, Difference]:
    """Compare two systems scored on the same trials, figure by figure.

    What makes a speaker easy or hard for both falls out of the differences of influences.

    Raises:
        SdpnError: the trials are not the same.
    """
    from scipy.stats import t

    found, n = b.minus(a), a.n_speakers
    differences = {}
    for name, value, deviation in zip(found.names, found.values, np.sqrt(found.variances()), strict=True):
        width, p = _student(n) * deviation, 1.0
        if n < FEWEST_SPEAKERS:
            width = np.nan
        elif deviation > 0:
            p = float(2 * t.sf(abs(value) / deviation, n - 1))
        differences[name] = Difference(float(value), float(value - width), float(value + width), p)
    return differences


def _student(n_speakers: int) -> float:
    """How many standard errors a 95 % interval reaches to either side."""
    from scipy.stats import t

    return float(t.ppf(0.975, max(n_speakers - 1, 1)))
