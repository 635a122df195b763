"""The figures of one row of the table: error rates, costs, their intervals, and what its plots are drawn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from sdpn.backend.calibration import Calibration
from sdpn.backend.config import OperatingPoint
from sdpn.evaluation.compat import EER
from sdpn.evaluation.influence import (
    Influence,
    cllr_losses,
    eer_losses,
    influence_of,
    kernel_width,
    min_cllr_losses,
)
from sdpn.evaluation.intervals import intervals_of
from sdpn.evaluation.metrics import DetCurve, act_dcf, cllr, det_curve
from sdpn.trials.arrays import TrialList

DET_STEP = 0.02  # of a normal deviate, between the points of a DET curve that are drawn
DET_EDGE = 1e-6  # what stands for the rates 0 and 1, whose deviates are infinite: off the plot, so that curves leave it
CELLS = 800  # into which scores are counted before their density is smoothed,
POINTS = 200  # and points of the curve


@dataclass(frozen=True)
class Wanted:
    """Which figures are computed.

    Attributes:
        points: of the detection costs.
        compat: the tool whose EER stands beside ours, or "none".
        prior: of the calibration.
    """

    points: list[OperatingPoint]
    compat: str = "none"
    prior: float = 0.1


@dataclass(frozen=True)
class Figures:
    """What `evaluate` found.

    Attributes:
        values: figure -> value over all trials.
        intervals: figure -> its 95 % interval, see `intervals_of`.
        influence: of the trials on the figures, which paired comparisons need.
        thresholds: figure (`eer_percent`, `min_dcf_P`) -> the score at which it is reached, a trial being accepted from
            there on; None where nothing is accepted.
        plots: what DET curve and densities are drawn from.
        calibration: weight and offset that make log-likelihood ratios of the scores, or None.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    influence: Influence
    thresholds: dict[str, float | None]
    plots: dict[str, Any]
    calibration: dict[str, float] | None


def evaluate(
    trials: TrialList,
    scores: np.ndarray,
    speakers: tuple[np.ndarray, np.ndarray],
    wanted: Wanted,
    calibration_trials: np.ndarray | None = None,
    calibrated: bool = False,
) -> Figures:
    """Compute every figure of a score file.

    The names of the figures: `eer_percent`, `min_cllr`, and for each operating point `min_dcf_P`; `cllr` and
    `act_dcf_P` of the scores taken at their word as log-likelihood ratios, and the same with `_calibrated` at their
    end after calibration. Calibration is monotone, so the former need no such twin.

    Args:
        scores: (n_trials,).
        speakers: of enrollments and test utterances, see `TrialList.speakers`.
        calibration_trials: (2, n), scores and labels (1 for targets) to calibrate on; None for no calibration.
        calibrated: whether the scores have been calibrated (fused) already: their word is `_calibrated`.
    """
    target, nontarget = scores[trials.is_target], scores[~trials.is_target]
    curve = det_curve(target, nontarget)
    values = {"eer_percent": 100 * curve.eer(), "min_cllr": curve.min_cllr()}
    values |= {f"min_dcf_{point.name}": curve.min_dcf(*point.numbers) for point in wanted.points}
    ratios: dict[str, np.ndarray] = {"_calibrated" if calibrated else "": scores}
    parameters = None
    if calibration_trials is not None:
        fitted = Calibration(wanted.prior).fit(calibration_trials[0][:, None], calibration_trials[1] > 0)
        parameters = {"weight": float(fitted.weights_[0]), "offset": fitted.offset_}
        if parameters["weight"] > 0:  # else the calibration trials are told apart worse than by chance
            ratios["_calibrated"] = fitted.transform(scores[:, None])
    for suffix, ratio in ratios.items():
        values[f"cllr{suffix}"] = cllr(ratio[trials.is_target], ratio[~trials.is_target])
        for point in wanted.points:
            cost = act_dcf(ratio[trials.is_target], ratio[~trials.is_target], *point.numbers)
            values[f"act_dcf_{point.name}{suffix}"] = cost
    marks = _marks(curve, wanted.points)
    reached = ["eer_percent", *(f"min_dcf_{point.name}" for point in wanted.points)]
    thresholds = {figure: mark["threshold"] for figure, mark in zip(reached, marks, strict=True)}
    limits = {figure: np.inf if at is None else at for figure, at in thresholds.items()}

    def losses() -> Iterator[np.ndarray]:
        """Yield the losses of each figure, in the order of `values`."""
        is_target = trials.is_target
        yield 100 * eer_losses(scores, is_target, limits["eer_percent"])
        yield min_cllr_losses(scores, is_target, curve)
        for point in wanted.points:
            yield _dcf_losses(scores >= limits[f"min_dcf_{point.name}"], is_target, point)
        for ratio in ratios.values():
            yield cllr_losses(ratio, is_target)
            for point in wanted.points:
                miss, false_alarm = _weights(point)
                yield _dcf_losses(ratio >= np.log(false_alarm / miss), is_target, point)

    people = np.unique(np.concatenate(speakers), return_inverse=True)[1].reshape(2, -1)
    influence = influence_of(list(values), np.array([*values.values()]), losses(), trials.is_target, *people)
    intervals = intervals_of(influence)
    if wanted.compat != "none":
        values[f"eer_percent_{wanted.compat}"] = 100 * EER[wanted.compat](scores, trials.is_target)
    plots = {"det": _drawn(curve), "marks": marks, "densities": _densities(target, nontarget)}
    return Figures(values, intervals, influence, thresholds, plots, parameters)


def _weights(point: OperatingPoint) -> tuple[float, float]:
    """The normalized weights of misses and false alarms."""
    miss, false_alarm = point.c_miss * point.p_target, point.c_fa * (1 - point.p_target)
    return miss / min(miss, false_alarm), false_alarm / min(miss, false_alarm)


def _dcf_losses(accepted: np.ndarray, is_target: np.ndarray, point: OperatingPoint) -> np.ndarray:
    miss, false_alarm = _weights(point)
    return np.where(is_target, miss * ~accepted, false_alarm * accepted)


def _drawn(curve: DetCurve) -> dict[str, list[float | None]]:
    """As many points of the curve as can be told apart on the normal-deviate axes."""
    p_miss, p_fa = (np.clip(rates, DET_EDGE, 1 - DET_EDGE) for rates in (curve.p_miss, curve.p_fa))
    cells = np.round(np.column_stack((ndtri(p_miss), ndtri(p_fa))) / DET_STEP)
    new = np.append(True, (np.diff(cells, axis=0) != 0).any(axis=1))
    new[-1] = True
    thresholds = curve.thresholds[new]
    kept = {"p_miss": p_miss[new], "p_fa": p_fa[new], "threshold": thresholds[np.isfinite(thresholds)]}
    found: dict[str, list[float | None]] = {
        name: [float(f"{number:.6g}") for number in row] for name, row in kept.items()
    }
    return found | {"threshold": found["threshold"] + [None] * (len(found["p_fa"]) - len(found["threshold"]))}


def _marks(curve: DetCurve, points: list[OperatingPoint]) -> list[dict[str, Any]]:
    """Where on the curve the EER and the minimum costs lie."""
    rate, crossing = curve.eer(), curve.thresholds[np.argmax(curve.p_miss >= curve.p_fa)]
    marks = [("EER", rate, rate, crossing)]
    for point in points:
        miss, false_alarm = _weights(point)
        best = int(np.argmin(miss * curve.p_miss + false_alarm * curve.p_fa))
        marks.append((f"minDCF({point.name})", curve.p_miss[best], curve.p_fa[best], curve.thresholds[best]))
    return [
        {"name": name, "p_miss": float(p_miss), "p_fa": float(p_fa)}
        | {"threshold": float(threshold) if np.isfinite(threshold) else None}
        for name, p_miss, p_fa, threshold in marks
    ]


def _densities(target: np.ndarray, nontarget: np.ndarray) -> dict[str, list[float]]:
    """The densities of both classes over all scores but the outermost thousandth at either end.

    Each is smoothed by a Gaussian kernel whose width goes with the number of its trials, so that a hundred targets are
    a curve and no comb.
    """
    low, high = np.percentile(np.concatenate((target, nontarget)), [0.1, 99.9])
    low, high = min(low, target.min()), max(high, np.percentile(target, 99.9))
    margin = max(3 * kernel_width(target), 3 * kernel_width(nontarget), 0.02 * (high - low)) or 1.0
    edges = np.linspace(low - margin, high + margin, CELLS + 1)
    cell = edges[1] - edges[0]
    found = {"score": (edges[:-1] + cell / 2)[:: CELLS // POINTS]}
    for name, scores in (("target", target), ("nontarget", nontarget)):
        counts = np.histogram(scores, edges)[0]
        width = max(kernel_width(scores) / cell, 1.0)
        offsets = np.arange(-int(4 * width) - 1, int(4 * width) + 2)
        kernel = np.exp(-0.5 * (offsets / width) ** 2)
        smooth = np.convolve(counts, kernel / kernel.sum())[len(offsets) // 2 :][:CELLS]
        found[name] = smooth[:: CELLS // POINTS] / (cell * len(scores))
    return {name: [float(f"{number:.5g}") for number in row] for name, row in found.items()}
