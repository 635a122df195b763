"""The results: rows of figures, as a table in Markdown for people, JSON for programs, aligned text for a terminal."""

import json
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdpn.backend.chain import Chain
from sdpn.console import counted
from sdpn.evaluation.intervals import FEWEST_SPEAKERS
from sdpn.files import digest, write_text
from sdpn.locks import remove_partial
from sdpn.report.rows import Origin, ResultRow, read_origin
from sdpn.scoring.plan import Row
from sdpn.shards import Work
from sdpn.training.state import trained_on_labels

MOST_SENTENCES = 15  # comparisons of a trial list that results.md spells out; all stand in results.json and the report
PACKAGES = ("sdpn", "torch", "numpy", "scipy", "scikit-learn", "numba", "lhotse", "kaldiio", "h5py", "plotly")


_VECTORS = {
    "clean": "clean training x-vectors",
    "augmented": "augmented views of training utterances",
    "both": "training x-vectors, clean and augmented",
}
_AVERAGED = {
    "raw": "the x-vectors are averaged before anything is subtracted, projected or normalized (as in Kaldi's recipes)",
    "transformed": "what the steps before the scorer make of each is averaged",
}


def result_rows(exp_dir: Path, rows: list[Row]) -> list[ResultRow]:
    """Collect the results of the rows: figures, or why there are none."""
    made = [_result_of(row, row.figures, exp_dir) if row.figures else _failed(row) for row in rows]
    if not trained_on_labels(exp_dir):
        return made
    return [row if row.baseline else replace(row, oracle=True, labelled=True) for row in made]


def _named(row: Row) -> ResultRow:
    """Return what a row is called by, before it has figures."""
    return ResultRow(
        trials=row.trials.name,
        system=row.system.name,
        backend=row.backend_name,
        score_norm=row.norm,
        quality=row.quality,
        fused=[part.name for part in row.parts],
        oracle=row.oracle,
        baseline=row.system.baseline,
        backend_digest=row.backend.work.identity if row.backend else None,
    )


def _failed(row: Row) -> ResultRow:
    trials = row.trials.usable
    return replace(
        _named(row),
        failure=row.failure,
        targets=trials.n_targets,
        nontargets=trials.n_nontargets,
        trials_digest=_trials_digest(row, trials.n_targets, trials.n_nontargets),
    )


def _trials_digest(row: Row, targets: int, nontargets: int) -> str:
    files = {key: made for key, made in row.score_file.fingerprint.items() if key.startswith("trials.")}
    return digest(files, targets, nontargets)


def _result_of(row: Row, figures: Work, exp_dir: Path) -> ResultRow:
    found = figures.report()
    trials = _trials_digest(row, found["targets"], found["nontargets"])
    return replace(
        _named(row),
        **row.score_file.report(),
        figures=found["figures"],
        intervals=found["intervals"],
        calibration=found["calibration"],
        calibrated_by=row.calibrator.name if row.calibration and row.calibrator else None,
        doubt=row.doubt,
        not_calibrated=_why_not_calibrated(row, found["calibration"]),
        targets=found["targets"],
        nontargets=found["nontargets"],
        speakers=found["speakers"],
        thresholds=found["thresholds"],
        trials_digest=trials,
        paired=digest(trials, figures.fingerprint["speakers"]),
        figures_digest=figures.identity,
        scores=str(row.scores_path.relative_to(exp_dir)),
        folder=row.folder,
    )


def _why_not_calibrated(row: Row, calibration: dict[str, float] | None) -> str | None:
    if calibration and calibration["weight"] <= 0:
        return "on the calibration trials it tells targets and non-targets the wrong way"
    return row.calibration.report().get("failure") if row.calibration else None


def environment() -> dict[str, str]:
    """What the figures were computed with."""
    found = {"Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_texts(directory: Path, texts: dict[str, str]) -> list[Path]:
    """Write files into `directory` where they differ from what stands there; return their paths."""
    remove_partial(directory)
    for name, text in texts.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    return [directory / name for name in texts]


def write_dated(exp_dir: Path, made: Callable[[Origin], dict[str, str]]) -> list[Path]:
    """Write the results of an experiment into `exp_dir/results`, with the day on which they last changed.

    Args:
        made: gives the texts, file name -> content, for an origin.
    """
    today, before = date.today().isoformat(), read_origin(exp_dir)
    if before is not None and before.date != today:
        texts = made(Origin.of(exp_dir, before.date))
        paths = {exp_dir / "results" / name: text for name, text in texts.items()}
        if all(path.exists() and path.read_text(encoding="utf-8") == text for path, text in paths.items()):
            return [*paths]  # nothing has changed since that day
    return write_texts(exp_dir / "results", made(Origin.of(exp_dir, today)))


def as_json(
    name: str,
    made: list[Origin],
    rows: list[ResultRow],
    pairs: list[dict[str, Any]],
    settings: dict[str, Any],
    further: dict[str, Any] | None = None,
) -> str:
    """Return the content of results.json; `further` is what else it holds."""
    tree: dict[str, Any] = {"corpus": name, "experiments": [origin._asdict() for origin in made]}
    tree |= {"rows": [row.to_dict() for row in rows], "comparisons": pairs, **(further or {})}
    tree |= {"settings": settings, "environment": environment()}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def columns(rows: list[ResultRow]) -> list[tuple[str, str]]:
    """The heading and the key of every figure in the table, in order; those that no row has are left out."""
    keys = list(dict.fromkeys(key for row in rows for key in row.figures))
    costs = [key.removeprefix("min_dcf_") for key in keys if key.startswith("min_dcf_")]
    tools = [key for key in keys if key.startswith("eer_percent_")]
    wanted = [("EER %", "eer_percent")]
    wanted += [(f"EER % ({key.removeprefix('eer_percent_')})", key) for key in tools]
    wanted += [(f"minDCF({cost})", f"min_dcf_{cost}") for cost in costs]
    wanted += [("minCllr", "min_cllr"), ("Cllr raw", "cllr"), ("Cllr", "cllr_calibrated")]
    for cost in costs:
        wanted += [(f"actDCF({cost}) raw", f"act_dcf_{cost}"), (f"actDCF({cost})", f"act_dcf_{cost}_calibrated")]
    return [(heading, key) for heading, key in wanted if key in keys]


def card_lines(rows: list[ResultRow]) -> list[str]:
    """Return the error rates of the trained network as the lines of a table, for its model card."""
    lines = []
    for row in rows:
        if row.figures and not row.baseline and row.system == "sdpn":
            eer = cell(row, "eer_percent", interval=True)
            lines.append(f"| {row.trials} | {row.backend} | {row.score_norm} | {eer} |")
    return ["| trials | back-end | normalization | EER %, with its 95 % interval |", "|---|---|---|---:|", *lines]


def cell(row: ResultRow, key: str, interval: bool = False) -> str:
    """A figure as text, with its 95 % interval where asked for; a dash where the row has none.

    A row that could not be made says so in the place of its EER.
    """
    if row.failure and key == "eer_percent":
        return "not made"
    if key not in row.figures:
        return "-"
    digits = 2 if key.startswith("eer") else 3 if "cllr" in key else 4
    text = f"{row.figures[key]:.{digits}f}"
    if interval and key in row.intervals:
        low, high = row.intervals[key]
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text


def markdown(name: str, made: list[Origin], rows: list[ResultRow], pairs: list[dict[str, Any]]) -> str:
    """Return the content of results.md: the table, what is better than what, and what the names stand for."""
    figures = columns(rows)
    head = [*_names(rows), *(heading for heading, _ in figures), "trials"]
    rule = ["---"] * len(_names(rows)) + ["---:"] * len(figures) + ["---"]
    lines = [[*_labels(row, rows), *(cell(row, key, True) for _, key in figures), _trials(row)] for row in rows]
    table = ["| " + " | ".join(cells) + " |" for cells in [head, rule, *lines]]
    parts = [f"# Results: {name}", "", *(f"{origin}  " for origin in made), "", *table, ""]
    if pairs:
        parts += ["## Which is better", "", *(f"- {line}" for line in sentences(rows, pairs)), ""]
    parts += ["## Thresholds", "", "A trial is accepted if its score, before calibration, is at least this.", ""]
    parts += [*_threshold_table(rows), ""]
    return "\n".join([*parts, "## What the names stand for", "", *(f"- {line}" for line in legend(rows)), ""])


def _threshold_table(rows: list[ResultRow]) -> list[str]:
    """Return the scores at which the EER and the minimum costs are reached, as lines of Markdown."""
    reached = [(heading, key) for heading, key in columns(rows) if any(key in row.thresholds for row in rows)]
    head = [*_names(rows), *(f"at {heading.removesuffix(' %')}" for heading, _ in reached), "trials"]
    rule = ["---"] * len(_names(rows)) + ["---:"] * len(reached) + ["---"]
    made = [row for row in rows if not row.failure]
    lines = [[*_labels(row, rows), *(threshold(row, key) for _, key in reached), row.trials] for row in made]
    return ["| " + " | ".join(cells) + " |" for cells in [head, rule, *lines]]


def threshold(row: ResultRow, key: str) -> str:
    """Return the score from which on trials are accepted at a figure, as text."""
    if key not in row.thresholds:
        return "-"
    found = row.thresholds[key]
    return "none accepted" if found is None else f"{found:.4g}"


def plain_text(rows: list[ResultRow]) -> str:
    """The table with aligned columns for a terminal: names to the left, figures to the right."""
    shown = [
        (heading, key)
        for heading, key in columns(rows)
        if key.startswith(("eer", "min_dcf")) or key == "cllr_calibrated"
    ]
    head = [*_names(rows), "EER %", "95 %", *(heading for heading, key in shown if key != "eer_percent"), "trials"]
    lines = [head]
    for row in rows:
        low, high = row.intervals.get("eer_percent", (None, None))
        band = "" if low is None else f"{low:.2f} - {high:.2f}"
        figures = [cell(row, key) for _, key in shown if key != "eer_percent"]
        lines.append([*_labels(row, rows), cell(row, "eer_percent"), band, *figures, _trials(row)])
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(head))]
    n_names = len(_names(rows))
    aligned = []
    for cells in [lines[0], ["-" * width for width in widths], *lines[1:]]:
        padded = [
            text.rjust(width) if n_names <= column < len(head) - 1 else text.ljust(width)
            for column, (text, width) in enumerate(zip(cells, widths, strict=True))
        ]
        aligned.append("  ".join(padded).rstrip())
    return "\n".join(aligned)


def best_of(rows: list[ResultRow], trials: str) -> ResultRow:
    """The row of a trial list with the lowest EER; those with oracle labels are no candidates unless all have them.

    At least one row of the list must have figures.
    """
    mine = [row for row in rows if row.trials == trials and row.figures]
    return min((row for row in mine if not row.oracle), key=lambda row: row.eer_percent, default=mine[0])


def sentences(rows: list[ResultRow], pairs: list[dict[str, Any]]) -> list[str]:
    """For each trial list what is better than what; where there are many pairs, those with the best row alone.

    Of several experiments, like is compared with like first.
    """
    lines = []
    for trials in dict.fromkeys(pair["trials"] for pair in pairs):
        mine = [pair for pair in pairs if pair["trials"] == trials]
        if all((rows[pair["a"]].speakers or FEWEST_SPEAKERS) < FEWEST_SPEAKERS for pair in mine):  # all say the same
            lines.append(
                f"{trials}: no difference can be shown between any two rows: fewer than {FEWEST_SPEAKERS} speakers"
            )
            continue
        alike = [pair for pair in mine if rows[pair["a"]].is_like(rows[pair["b"]])]
        lines += [f"{trials}: {pair['sentence']}" for pair in alike]
        mine = [pair for pair in mine if pair not in alike]
        if len(mine) > MOST_SENTENCES:
            best = best_of(rows, trials)
            mine = [pair for pair in mine if best is rows[pair["b"]] or best is rows[pair["a"]]]
        lines += [f"{trials}: {pair['sentence']}" for pair in mine[:MOST_SENTENCES]]
        if len(mine) > MOST_SENTENCES:
            lines.append(f"{trials}: {len(mine) - MOST_SENTENCES} rows further behind are in results.json")
    return lines


def legend(rows: list[ResultRow]) -> list[str]:
    """What the names in the table stand for, each once, in the order of the table."""
    lines = []
    for row in sorted(rows, key=lambda row: row.failure is not None):  # the made ones know the number of speakers
        if row.failure and any(other.trials == row.trials and not other.failure for other in rows):
            continue
        speakers = "" if row.speakers is None else f", of {row.speakers} speakers"
        lines.append(f"trials {row.trials}: {row.targets} target, {row.nontargets} non-target{speakers}")
    lines += _failures(rows)
    rows = [row for row in rows if not row.failure]
    for row in rows:
        if row.fused:
            weights = ", ".join(f"{weight:.3g} x {name}" for name, weight in (row.weights or {}).items())
            lines.append(f"{_of(row)}: logistic regression, {weights} {row.offset:+.3g}")
            continue
        learned = ""
        if row.chain and Chain(row.chain).needs_classes:
            learned = f"; classes: {counted(row.pseudo_speakers or 0, 'pseudo-speaker')}, no labels"
            if row.classes == "speakers":
                learned = "; classes: oracle, the speaker labels that the corpus has"
            elif row.classes == "utterances":
                learned = "; classes: utterances with their augmented views, no labels"
        if row.fit_on:
            learned += f"; learned from {_VECTORS[row.fit_on]}"
        if row.adaptation_set:
            learned += f"; adapted to '{row.adaptation_set}' without its labels"
        lines.append(f"{_of(row)}: `{row.chain}`{learned}")
        if row.enrollment:
            lines.append(f"{_of(row)}: of several enrolled utterances, {_AVERAGED[row.enrollment]}")
        if row.quality:
            lines.append(f"quality: {', '.join(row.quality)} of both sides beside the score, by logistic regression")
    for row in rows:
        if row.cohort:
            cohort = {"utterances": "training x-vectors", "clusters": "means of pseudo-speakers"}[row.cohort]
            if row.cohort_of not in (None, "clean"):
                cohort += f" ({row.cohort_of})"
            top = f", the {row.top_n} largest scores" if row.top_n else ""
            lines.append(f"score normalization {row.score_norm}: cohort of {row.cohort_size} {cohort}{top}")
    for row in rows:
        if row.clusters_oracle:
            found, experiment = row.clusters_oracle, f"{row.experiment}: " if row.experiment else ""
            lines.append(
                f"{experiment}clusters of {row.system}, compared with the {found['n_speakers']} speakers that the "
                f"corpus names (oracle, for analysis alone): NMI {found['nmi']:.3f}, purity {found['purity']:.3f}, "
                f"speaker purity {found['speaker_purity']:.3f}"
            )
    lines += [f"{row.label}: {row.doubt}" for row in rows if row.doubt]
    lines += _calibration_legend(rows)
    few = {row.trials: row.speakers for row in rows if row.speakers is not None and row.speakers < FEWEST_SPEAKERS}
    for trials, number in few.items():
        lines.append(
            f"no intervals for {trials}: it has {counted(number, 'speaker')}, and fewer than {FEWEST_SPEAKERS} tell "
            "too little of others"
        )
    if any(row.intervals for row in rows):
        lines.append("intervals: 95 %, over speakers; comparisons are paired: speaker by speaker")
        lines.append("p: of a single comparison, not corrected for the number of comparisons")
    return list(dict.fromkeys(lines))


def _failures(rows: list[ResultRow]) -> list[str]:
    """Why rows could not be made, with the trial lists that lack them."""
    lists: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.failure:
            lists.setdefault((row.label, row.failure), []).append(row.trials)
    return [f"{', '.join(names)}: {label}: not made: {why}" for (label, why), names in lists.items()]


def _calibration_legend(rows: list[ResultRow]) -> list[str]:
    calibrated = any(row.calibration for row in rows)
    lines = []
    if calibrated:
        lines.append(
            "raw: scores taken at their word as log-likelihood ratios; without raw: after calibration by logistic "
            "regression"
        )
        for name in dict.fromkeys(row.calibrated_by for row in rows if row.calibrated_by):
            clusters = "trials within and between clusters of the training set: pseudo-labels, no speaker label"
            on = clusters if name == "clusters" else f"the trial list {name}, whose own rows know too much"
            lines.append(f"calibration: on {on}")
    lines += [f"{row.label}: not calibrated: {row.not_calibrated}" for row in rows if row.not_calibrated]
    return lines


def _of(row: ResultRow) -> str:
    """System and back-end, after the experiment where there are several, which may differ in what they learned."""
    experiment = f"{row.experiment}: " if row.experiment else ""
    return f"{experiment}{row.shown_system}, {row.backend}"


def _names(rows: list[ResultRow]) -> list[str]:
    return [*(["experiment"] if any(row.experiment for row in rows) else []), "system", "back-end", "norm"]


def _labels(row: ResultRow, rows: list[ResultRow]) -> list[str]:
    experiment = [row.experiment] if any(other.experiment for other in rows) else []
    backend = f"{row.backend} + quality" if row.quality else row.backend
    return [*experiment, row.shown_system, backend, row.score_norm]


def _trials(row: ResultRow) -> str:
    return f"{row.trials} ({row.targets}/{row.nontargets})"
