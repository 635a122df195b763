#!/usr/bin/env python3
"""What VoxCeleb2 with the paper's setting costs, computed from what was measured: disk, time and memory by stage.

    python tests/bench/costs.py            prints the table of the main README

Measures nothing. Each constant has the day on which it was measured and the program that measures it; take a new one
when a benchmark gives another. Core hours are of one core of an AMD EPYC. The last line is one JSON object.
"""

import json
from typing import NamedTuple

import click


class Measured(NamedTuple):
    """A figure that was measured."""

    value: float
    unit: str
    day: str
    by: str


# The corpora, from the papers that describe them and the headers of their files
TRAIN_HOURS, TRAIN_UTTERANCES = 2306.0, 1_092_009  # VoxCeleb2 dev
EVAL_HOURS = 352.0  # VoxCeleb1, all of which the lists E and H need
EPOCHS = 150
VIEW_HOURS = 100_000 * 5 * 4 / 3600  # stage 5's views of training utterances

CACHE = Measured(0.058, "GB an hour of speech, 16 bit", "2026-11-25", "tests/bench/features.py")
SCAN = Measured(0.1, "core hours for 1.1 million files, stages 0 and 1", "2026-11-25", "tests/bench/corpus.py")
SCAN_MEMORY = Measured(1.4, "GB, stages 0 and 1", "2026-11-25", "tests/bench/corpus.py")
FBANK = Measured(11.0, "core seconds an hour of speech in m4a", "2026-11-29", "steps/make_fbank.py on 40 and 240 files")
REVERB = Measured(
    6.2, "core seconds an hour of speech in m4a", "2026-11-29", "steps/make_augment.py on 40 and 240 files"
)
TRAIN = Measured(0.91, "utterances a core second, 1024 channels", "2026-11-25", "tests/bench/train_step.py")
EXTRACT = Measured(24.0, "seconds of speech a core second, 1024 channels", "2026-11-25", "tests/bench/extract.py")
SCORE_MEMORY = Measured(1.2, "GB, stage 6", "2026-11-25", "tests/bench/scoring.py")
VECTOR = 512 * 4 / 1e9  # GB of an x-vector


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
def main() -> None:
    speech = TRAIN_HOURS + EVAL_HOURS
    vectors = TRAIN_UTTERANCES + 153_516 + 500_000
    rows = [
        ("0, 1", "manifests, cuts", 1.0, SCAN.value, SCAN_MEMORY.value),
        ("2", "fbank, 16 bit", speech * CACHE.value, speech * FBANK.value / 3600, None),
        ("3", "one reverberated copy", TRAIN_HOURS * CACHE.value, TRAIN_HOURS * REVERB.value / 3600, None),
        ("4", f"{EPOCHS} epochs", 1.0, EPOCHS * TRAIN_UTTERANCES / TRAIN.value / 3600, None),
        ("5", "x-vectors, also of views", vectors * VECTOR, 3600 * (speech + VIEW_HOURS) / EXTRACT.value / 3600, None),
        ("6", "scores, results", 1.0, 0.5, SCORE_MEMORY.value),
    ]
    print("| stage | | disk, GB | core hours | GPU hours | memory, GB |\n|---|---|---:|---:|---:|---:|")
    for stage, name, disk, hours, memory in rows:
        gpu = "not measured" if stage in ("4", "5") else ""
        print(f"| {stage} | {name} | {disk:,.0f} | {_rounded(hours)} | {gpu} | {'' if memory is None else memory} |")
    for name, one in sorted(globals().items()):
        if isinstance(one, Measured):
            print(f"  {name}: {one.value:g} {one.unit} ({one.day}, {one.by})")
    print(json.dumps({"disk_gb": sum(row[2] for row in rows), "core_hours": sum(row[3] for row in rows)}))


def _rounded(hours: float) -> str:
    """Return hours with two figures that count."""
    if hours < 1:
        return "under 1"
    digits = 10 ** max(0, len(str(int(hours))) - 2)
    return f"{round(hours / digits) * digits:,}"


if __name__ == "__main__":
    main()
