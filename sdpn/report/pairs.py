"""Which of two systems is better: every pair of rows scored on the same trials, by paired bootstrap."""

import math
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from sdpn.evaluation.intervals import FEWEST_SPEAKERS, Replicates, paired_differences
from sdpn.report.rows import ResultRow


def compare_pairs(rows: list[ResultRow]) -> list[dict[str, Any]]:
    """Compare all rows that share trials and draws.

    Args:
        rows: of the table; those without figures are in no pair.

    Returns:
        for each pair its trial list, the rows `a` and `b` (indices in `rows`; b has the lower EER), the differences
        b - a of every figure that both have, and a sentence. Sorted by trial list, then by the EER of b and of a.
    """
    replicates = {index: load_replicates(row) for index, row in enumerate(rows) if row.figures}
    groups: dict[tuple[str, str | None], list[int]] = {}  # two sets may have trials of the same names
    for index, found in replicates.items():
        row = rows[index]
        if found.speakers.size:
            groups.setdefault((row.trials, row.paired), []).append(index)
    pairs = []
    for group in groups.values():
        for b, a in combinations(sorted(group, key=lambda index: rows[index].eer_percent), 2):
            shared = [name for name in replicates[b].names if name in replicates[a].names]
            of_a, of_b = (np.array([rows[index].figures[name] for name in shared]) for index in (a, b))
            draws_a, draws_b = (replicates[index].select(shared) for index in (a, b))
            differences = dict(zip(shared, paired_differences(of_a, of_b, draws_a, draws_b), strict=True))
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


def load_replicates(row: ResultRow) -> Replicates:
    """Load the figures of a row in every draw, as stage 6 keeps them beside its scores."""
    with np.load(row.folder / "bootstrap.npz") as kept:
        draws = kept["speakers"].astype(np.float64), kept["pairs"].astype(np.float64)
        return Replicates(kept["names"].tolist(), *draws, int(kept["n_speakers"]))


def sentence(a: str, b: str, difference: dict[str, float]) -> str:
    """E.g. "B is better than A: EER -0.42 [-0.61, -0.20], p = 0.001"; `b` is the one with the lower EER."""
    low, high, p = difference["low"], difference["high"], difference["p"]
    if math.isnan(low):
        return f"no difference can be shown between {b} and {a}: fewer than {FEWEST_SPEAKERS} speakers"
    figures = f"EER {difference['value']:+.2f} [{low:+.2f}, {high:+.2f}], p = {p:.2g}"
    if low > 0 or high < 0:
        return f"{b} is better than {a}: {figures}"
    return f"no difference shown between {b} and {a}: {figures}"
