"""Which of two systems is better: every pair of rows scored on the same trials, by paired bootstrap."""

import math
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.evaluation.intervals import FEWEST_SPEAKERS, Replicates, paired_differences


def compare_pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare all rows that share trials and draws.

    Args:
        rows: of the table (`results.result_rows`), each with the folder of its score file in `directory`.

    Returns:
        for each pair its trial list, the rows `a` and `b` (places in `rows`; b has the lower EER), the differences
        b - a of every figure that both have, and a sentence. Sorted by trial list, then by the EER of b and of a.
    """
    replicates = [load_replicates(row) for row in rows]
    groups: dict[tuple[str, str], list[int]] = {}  # two sets may have utterances, and so trials, of the same names
    for place, row in enumerate(rows):
        if replicates[place].speakers.size:
            groups.setdefault((row["trials"], row["paired"]), []).append(place)
    pairs = []
    for group in groups.values():
        for b, a in combinations(sorted(group, key=lambda place: rows[place]["eer_percent"]), 2):
            shared = [name for name in replicates[b].names if name in replicates[a].names]
            values = [np.array([rows[place][name] for name in shared]) for place in (a, b)]
            draws = [replicates[place].select(shared) for place in (a, b)]
            differences = dict(zip(shared, paired_differences(*values, *draws), strict=True))
            pairs.append(
                {
                    "trials": rows[a]["trials"],
                    "a": a,
                    "b": b,
                    "differences": {
                        name: {**asdict(found), "shown": found.shown} for name, found in differences.items()
                    },
                    "sentence": sentence(name_of(rows[a]), name_of(rows[b]), asdict(differences["eer_percent"])),
                }
            )
    return pairs


def load_replicates(row: dict[str, Any]) -> Replicates:
    """Load the figures of a row in every draw, as stage 6 keeps them beside its scores."""
    with np.load(Path(row["directory"]) / "bootstrap.npz") as kept:
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


def name_of(row: dict[str, Any]) -> str:
    """The row in a few words, without its trial list: "sdpn lda-plda+as"."""
    norm = "" if row["score_norm"] == "none" else f"+{row['score_norm']}"
    experiment = f"{row['experiment']}: " if row.get("experiment") else ""
    return f"{experiment}{row['system']} {row['backend']}{norm}{'+quality' if row.get('quality') else ''}"
