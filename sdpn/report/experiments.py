"""Several experiments side by side: their rows in one table, compared, on one page."""

import json
from pathlib import Path
from typing import Any

from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.report.pairs import compare_pairs
from sdpn.report.report import report
from sdpn.report.results import as_json, legend, markdown, plain_text, sentences, write_texts
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
    rows, experiments = [], {}
    lists: dict[str, set[str | None]] = {}
    for name, folder in zip(names, folders, strict=True):
        tree = read_results(folder)
        rows += [{**row, "experiment": name} for row in tree["rows"]]
        for row in tree["rows"]:
            lists.setdefault(row["trials"], set()).add(row.get("trials_digest"))
        points = folder / "results" / "map.json"
        found = json.loads(points.read_text(encoding="utf-8")) if points.exists() else None
        experiments[name] = (folder, found, tree["settings"])
    for row in rows:
        if len(lists[row["trials"]]) > 1:  # other trials by the same name are another list
            row["trials"] = f"{row['trials']} of {row['experiment']}"
    order = list(dict.fromkeys(row["trials"] for row in rows))
    rows.sort(key=lambda row: order.index(row["trials"]))
    pairs, title = compare_pairs(rows), ", ".join(names)
    texts = {
        "results.md": markdown(title, rows, pairs),
        "results.json": as_json(title, rows, pairs, {name: settings for name, (_, _, settings) in experiments.items()}),
        "report.html": report(f"Results: {title}", rows, pairs, experiments),
    }
    return plain_text(rows), [*sentences(rows, pairs), *legend(rows)], write_texts(out, texts)


def read_results(exp_dir: Path) -> dict[str, Any]:
    """What `write_results` left in an experiment, each row with the folder of its score file.

    Raises:
        SdpnError: stage 6 has not been run on it or was interrupted, or its files are damaged.
    """
    path = exp_dir / "results" / "results.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        for row in tree["rows"]:
            row["directory"] = str((exp_dir / row["scores"]).parent)
    except FileNotFoundError:
        raise SdpnError(f"{path} is missing: run stage 6 on {exp_dir} first") from None
    except (ValueError, KeyError, TypeError):
        raise SdpnError(f"{path} is damaged: run stage 6 on {exp_dir} again") from None
    for row in tree["rows"]:
        directory = Path(row["directory"])
        if not (directory / "figures.json").exists():
            raise SdpnError(f"{directory} has lost its figures: run stage 6 on {exp_dir} again")
        figures = Work.finished(directory, "figures")
        whole = figures is not None and figures.stale_reason() is None
        if not whole or digest(figures.fingerprint) != row.get("figures_digest"):
            raise SdpnError(
                f"the figures in {directory} are not those of {path}, as after a stage 6 that was interrupted: "
                f"run stage 6 on {exp_dir} again"
            )
    return tree
