"""Several experiments side by side: their rows in one table, compared, on one page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdpn.errors import SdpnError
from sdpn.report.pairs import compare_pairs
from sdpn.report.report import report
from sdpn.report.results import as_json, legend, markdown, plain_text, sentences, write_texts
from sdpn.report.rows import RESULTS, ResultRow, read_origin, read_rows
from sdpn.shards import Work


def compare_experiments(folders: list[Path], out: Path) -> tuple[str, list[str], list[Path]]:
    """Write the results of several experiments into `out`, as `write_results` does those of one.

    Returns:
        the table as text, the comparisons and the legend as sentences, and the paths.

    Raises:
        SdpnError: stage 6 has not been run on one of them, or one is given twice.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SdpnError("an experiment is given twice")
    rows: list[ResultRow] = []
    experiments = {}
    lists: dict[str, set[str | None]] = {}
    for name, folder in zip(names, folders, strict=True):
        found, settings = read_results(folder)
        if not any(row.figures for row in found):
            raise SdpnError(f"{folder} has no evaluation set, so there is no error rate to compare")
        rows += [replace(row, experiment=name) for row in found]
        for row in found:
            lists.setdefault(row.trials, set()).add(row.trials_digest)
        points = folder / "results" / "map.json"
        Work(points.parent, "map", {}).refuse_changed(points, f"run stage 6 on {folder} again")
        drawn = json.loads(points.read_text(encoding="utf-8")) if points.exists() else None
        experiments[name] = (folder, drawn, settings)
    rows = [  # other trials by the same name are another list
        replace(row, trials=f"{row.trials} of {row.experiment}") if len(lists[row.trials]) > 1 else row for row in rows
    ]
    order = list(dict.fromkeys(row.trials for row in rows))
    rows.sort(key=lambda row: order.index(row.trials))
    pairs, title = compare_pairs(rows), ", ".join(names)
    made = [origin for folder in folders if (origin := read_origin(folder))]
    texts = {
        "results.md": markdown(title, made, rows, pairs),
        "results.json": as_json(title, made, rows, pairs, {name: used for name, (_, _, used) in experiments.items()}),
        "report.html": report(f"Results: {title}", made, rows, pairs, experiments),
    }
    return plain_text(rows), [*sentences(rows, pairs), *legend(rows)], write_texts(out, texts)


def read_results(exp_dir: Path) -> tuple[list[ResultRow], dict[str, Any]]:
    """Read the results of an experiment (`read_rows`), making sure that the figures beside its score files are those.

    Raises:
        SdpnError: stage 6 has not been run on it or was interrupted, or its files are damaged.
    """
    path = exp_dir / RESULTS
    try:
        rows, settings = read_rows(exp_dir)
    except FileNotFoundError:
        raise SdpnError(f"{path} is missing: run stage 6 on {exp_dir} first") from None
    for row in rows:
        if not row.figures:  # of an experiment without an evaluation set
            continue
        if not (row.folder / "figures.json").exists():
            raise SdpnError(f"{row.folder} has lost its figures: run stage 6 on {exp_dir} again")
        figures = Work.finished(row.folder, "figures")
        if row.figures_digest is None or (figures and "influence.npz" not in figures.output_digests()):
            raise SdpnError(f"{path} is of an earlier version of sdpn: run stage 6 on {exp_dir} again")
        if figures is None or figures.stale_reason() is not None or figures.identity != row.figures_digest:
            raise SdpnError(
                f"the figures in {row.folder} are not those of {path}, as after a stage 6 that was interrupted: "
                f"run stage 6 on {exp_dir} again"
            )
    return rows, settings
