"""Which of two systems is better: every pair of rows scored on the same trials, compared speaker by speaker."""

import math
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from sdpn.errors import SdpnError
from sdpn.evaluation.influence import Influence
from sdpn.evaluation.intervals import FEWEST_SPEAKERS, paired_differences
from sdpn.report.rows import ResultRow


def compare_pairs(rows: list[ResultRow]) -> list[dict[str, Any]]:
    """Compare all rows of the same trials and speakers.

    Args:
        rows: of the table; those without figures are in no pair.

    Returns:
        for each pair its trial list, the rows `a` and `b` (indices in `rows`; b has the lower EER), the differences
        b - a of every figure that both have, and a sentence. Sorted by trial list, then by the EER of b and of a.
    """
    influences = {index: load_influence(row) for index, row in enumerate(rows) if row.figures}
    groups: dict[tuple[str, str | None], list[int]] = {}  # two sets may have trials of the same names
    for index in influences:
        groups.setdefault((rows[index].trials, rows[index].paired), []).append(index)
    pairs = []
    for group in groups.values():
        for b, a in combinations(sorted(group, key=lambda index: rows[index].eer_percent), 2):
            shared = [name for name in influences[b].names if name in influences[a].names]
            differences = paired_differences(influences[a].select(shared), influences[b].select(shared))
            pairs.append(
                {
                    "trials": rows[a].trials,
                    "a": a,
                    "b": b,
                    "differences": {
                        name: {**asdict(found), "shown": found.shown} for name, found in differences.items()
                    },
                    "sentence": sentence(rows[a].label, rows[b].label, asdict(differences["eer_percent"])),
                }
            )
    return pairs


def load_influence(row: ResultRow) -> Influence:
    """Load how speakers move the figures of a row, as stage 6 keeps it beside its scores.

    Raises:
        SdpnError: it is not there, as in results of an earlier version.
    """
    path = row.folder / "influence.npz"
    try:
        with np.load(path) as kept:
            return Influence(kept["names"].tolist(), kept["values"], kept["speakers"], kept["pairs"])
    except FileNotFoundError:
        raise SdpnError(f"{path} is missing: the results are of an earlier version, run stage 6 again") from None


def sentence(a: str, b: str, difference: dict[str, float]) -> str:
    """E.g. "B is better than A: EER -0.42 [-0.61, -0.20], p = 0.001"; `b` is the one with the lower EER."""
    low, high, p = difference["low"], difference["high"], difference["p"]
    if math.isnan(low):
        return f"no difference can be shown between {b} and {a}: fewer than {FEWEST_SPEAKERS} speakers"
    figures = f"EER {difference['value']:+.2f} [{low:+.2f}, {high:+.2f}], p = {p:.2g}"
    if low > 0 or high < 0:
        return f"{b} is better than {a}: {figures}"
    return f"no difference shown between {b} and {a}: {figures}"
