"""How well scores tell targets from non-targets: equal error rate and detection cost.

A trial is accepted where its score is at least the threshold. Trials with equal scores are accepted or rejected
together, so tied scores are one operating point and no figure depends on the order of the trials.
"""

from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError


@dataclass(frozen=True)
class DetCurve:
    """All operating points of a set of scores, from accepting every trial to rejecting every trial.

    Attributes:
        thresholds: (n_points,), rising: every distinct score, then infinity.
        p_miss: (n_points,), the share of target trials rejected; never falls.
        p_fa: (n_points,), the share of non-target trials accepted (false alarms); never rises.
    """

    thresholds: np.ndarray
    p_miss: np.ndarray
    p_fa: np.ndarray

    def eer(self) -> float:
        """The equal error rate, in [0, 1]: where the straight lines between operating points meet p_miss = p_fa.

        Where scores are not tied, every line is horizontal or vertical and the rate is a share of one of the two
        classes that an operating point attains. This is WeSpeaker's and voxceleb_trainer's definition, but for
        their treatment of ties. Kaldi's compute-eer answers with the next attainable share of the targets, at most
        one target trial away.
        """
        difference = self.p_miss - self.p_fa  # rises from -1 to 1
        after = int(np.argmax(difference >= 0))
        before = after - 1
        part = difference[before] / (difference[before] - difference[after])
        return float(self.p_miss[before] + part * (self.p_miss[after] - self.p_miss[before]))

    def min_dcf(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """The minimum of the normalized detection cost over all thresholds.

        min(c_miss p_target p_miss + c_fa (1 - p_target) p_fa) / min(c_miss p_target, c_fa (1 - p_target)): 1 is the
        cost of the better of accepting all and rejecting all. (NIST speaker recognition evaluations, 2008 and later.)

        Raises:
            SdpnError: `p_target` is not between 0 and 1, or a cost is not positive.
        """
        if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
            raise SdpnError(
                f"detection cost: p_target = {p_target:g}, c_miss = {c_miss:g}, c_fa = {c_fa:g}: "
                "the first must lie between 0 and 1, the costs must be positive"
            )
        miss, false_alarm = c_miss * p_target, c_fa * (1 - p_target)
        return float(np.min(miss * self.p_miss + false_alarm * self.p_fa) / min(miss, false_alarm))


def det_curve(target: np.ndarray, nontarget: np.ndarray) -> DetCurve:
    """The operating points of scores of target trials (n_targets,) and of non-target trials (n_nontargets,).

    Raises:
        SdpnError: there are no trials of one class, or a score is NaN.
    """
    target = np.sort(_scores(target, "target"))
    nontarget = np.sort(_scores(nontarget, "non-target"))
    distinct = np.unique(np.concatenate((target, nontarget)))
    rejected_targets = np.append(np.searchsorted(target, distinct), len(target))
    rejected_nontargets = np.append(np.searchsorted(nontarget, distinct), len(nontarget))
    return DetCurve(
        thresholds=np.append(distinct, np.inf),
        p_miss=rejected_targets / len(target),
        p_fa=(len(nontarget) - rejected_nontargets) / len(nontarget),
    )


def eer(target: np.ndarray, nontarget: np.ndarray) -> float:
    """The equal error rate, in [0, 1]; see `DetCurve.eer`."""
    return det_curve(target, nontarget).eer()


def min_dcf(
    target: np.ndarray, nontarget: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """The minimum normalized detection cost; see `DetCurve.min_dcf`."""
    return det_curve(target, nontarget).min_dcf(p_target, c_miss, c_fa)


def _scores(scores: np.ndarray, kind: str) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0:
        raise SdpnError(f"metrics: there are no scores of {kind} trials")
    nan = np.count_nonzero(np.isnan(scores))
    if nan:
        raise SdpnError(f"metrics: {nan} of {len(scores)} scores of {kind} trials are NaN")
    return scores
