"""The results of an experiment: results.md, results.json and report.html, whose page may hold several experiments."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sdpn.backend.config import BackendConfig
from sdpn.config import to_dict
from sdpn.console import counted
from sdpn.files import digest
from sdpn.locks import remove_partial
from sdpn.report import page as html
from sdpn.report import plots
from sdpn.report.again import again
from sdpn.report.pairs import compare_pairs
from sdpn.report.results import (
    as_json,
    best_of,
    cell,
    columns,
    environment,
    legend,
    markdown,
    write_dated,
)
from sdpn.report.rows import Origin, ResultRow
from sdpn.report.tensorboard import write_scalars
from sdpn.report.training import training_curves, training_section
from sdpn.shards import Work

FIRST_FIGURES = ("eer_percent", "min_", "cllr_calibrated")  # the table begins with them, a switch shows the others
MOST_PAIRS = 400  # comparisons in the page's table, of each trial list those with the best rows first


def write_results(
    exp_dir: Path,
    data: Path,
    name: str,
    rows: list[ResultRow],
    settings: BackendConfig,
    seed: int,
    points: dict | None,
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Write the results of an experiment into `exp_dir/results`, unless they are there and what they show is the same.

    Args:
        data: the folder of the corpus.
        name: of the corpus.
        points: the embedding map (`embedding_map`), or None.

    Returns:
        the comparisons of all pairs, and the paths.
    """
    settings_text = {**to_dict(settings), "seed": seed, "data": str(data)}
    folder = exp_dir / "results"
    remove_partial(folder)
    rows_digest = digest([row.to_dict() for row in rows])
    work = results_work(exp_dir, {"corpus": name, "settings": settings_text, "rows": rows_digest}, points)
    if work.stale_reason() is None:  # most of a rerun that does nothing would go into the comparisons and the page
        tree = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return tree["comparisons"], [folder / name for name in work.output_digests()]
    work.begin()
    pairs = compare_pairs(rows)

    def texts(origin: Origin) -> dict[str, str]:
        return {
            "results.md": markdown(name, [origin], rows, pairs),
            "results.json": as_json(name, [origin], rows, pairs, settings_text),
            "report.html": report(f"Results: {name}", [origin], rows, pairs, {"": (exp_dir, points, settings_text)}),
        }

    written = write_dated(exp_dir, texts)
    write_scalars(exp_dir, rows)
    work.finish(written)
    return pairs, written


def results_work(exp_dir: Path, shown: dict[str, Any], points: dict | None) -> Work:
    """The results of an experiment as a piece of work.

    Args:
        shown: what the page shows beside the embedding map `points` and the course of the training.
    """
    inputs = {
        **shown,
        "experiment": str(exp_dir),
        "map": digest(points),
        "training curves": digest(training_curves(exp_dir)),  # the log itself holds times
        "training settings": exp_dir / "config.yaml",
        "environment": environment(),
        "program": {path.name: path for path in sorted(Path(__file__).parent.iterdir()) if path.is_file()},
    }
    return Work(exp_dir / "results", "results", inputs)


def report(
    title: str,
    made: list[Origin],
    rows: list[ResultRow],
    pairs: list[dict[str, Any]],
    experiments: dict[str, tuple[Path, dict | None, dict[str, Any]]],
    lead: str | None = None,
    further: Sequence[tuple[str, str, list[str]]] = (),
) -> str:
    """The page.

    Args:
        rows, pairs: the rows of the table, and the comparisons; without rows the page has none of their sections.
        experiments: name ("" where there is but one) -> its folder, embedding map, and settings of stage 6.
        lead: the sentence at the top, that of `headline` where None.
        further: sections to begin with, see `html.Page.section`.
    """
    looks = plots.styles(rows)
    curves_of = [(row, look) for row, look in zip(rows, looks, strict=True) if row.figures]
    shown, lines = [row for row, _ in curves_of], [look for _, look in curves_of]
    drawn = [json.loads((row.folder / "figures.json").read_text(encoding="utf-8")) for row in shown]
    page = html.Page(
        title,
        verdict(rows, pairs) or headline(rows, pairs) if lead is None else lead,
        [str(origin) for origin in made],
    )
    for section in further:
        page.section(*section)
    said = html.text(
        "Below each figure its 95 % interval. Bold: the lowest of its trial list, rows with oracle labels left aside. "
        "A click on a heading sorts; the switch shows the other figures."
    )
    if rows:
        if shown:
            page.section("lists", "By trial list", [_by_list(rows), html.text(headline(rows, pairs))])
        page.section("results", "Results", [said, _table(rows, looks), html.bullets(legend(rows))])
    if pairs:
        page.section("better", "Which is better", _better(rows, pairs))
    if shown:
        page.section("det", "DET curves", _det(page, shown, drawn, lines))
        page.section("scores", "Scores", _densities(page, shown, drawn))
    maps = {name: points for name, (_, points, _) in experiments.items() if points}
    if maps:
        page.section("map", "Embedding map", _maps(page, maps))
    curves = training_section(page, {name: folder for name, (folder, _, _) in experiments.items()})
    if curves:
        page.section("training", "Training", curves)
    page.section("setup", "Setup", _setup(experiments))
    return page.html()


def headline(rows: list[ResultRow], pairs: list[dict[str, Any]]) -> str:
    """What came out, in a sentence for each trial list."""
    parts = []
    for trials in dict.fromkeys(row.trials for row in rows):
        mine = [row for row in rows if row.trials == trials and row.figures]
        if not mine:
            parts.append(f"{trials}: no row could be made.")
            continue
        best = best_of(rows, trials)
        own = [pair for pair in pairs if best in (rows[pair["a"]], rows[pair["b"]])]
        rivals = [pair for pair in own if not (rows[pair["a"]].oracle or rows[pair["b"]].oracle)]
        alike = sum(not pair["differences"]["eer_percent"]["shown"] for pair in rivals)
        n_others = sum(not row.oracle for row in mine) - (not best.oracle)
        oracle = "" if n_others == len(mine) - 1 else " without oracle labels"
        others = f", not shown to be better than {alike} of the {n_others} others{oracle}" if alike else ""
        if own and len(rivals) < n_others:
            others += f", not compared with {n_others - len(rivals)} others, whose trials are not the same"
        parts.append(f"{trials}: lowest EER {cell(best, 'eer_percent', True)} % by {best.label}{others}.")
    return " ".join(parts)


def verdict(rows: list[ResultRow], pairs: list[dict[str, Any]]) -> str:
    """Say for each trial list whether training beat the baselines, and by how much; "" if there are none."""
    parts = []
    for trials in dict.fromkeys(row.trials for row in rows):
        mine = [row for row in rows if row.trials == trials and row.figures and not row.oracle]
        trained = min((row for row in mine if not row.baseline), key=lambda row: row.eer_percent, default=None)
        baseline = min((row for row in mine if row.baseline), key=lambda row: row.eer_percent, default=None)
        if trained is None or baseline is None:
            continue
        gain = baseline.eer_percent - trained.eer_percent
        found = next((pair for pair in pairs if _are(rows, pair, trained, baseline)), None)
        if found is None:
            said = "was not compared with"
        elif found["differences"]["eer_percent"]["shown"]:
            said = "beats" if gain > 0 else "is behind"
        else:
            said = f"is not shown to {'beat' if gain > 0 else 'be behind'}"
        parts.append(
            f"{trials}: training {said} the baselines, with an EER of {trained.eer_percent:.2f} % ({trained.label}) "
            f"against {baseline.eer_percent:.2f} % ({baseline.label})."
        )
    return " ".join(parts)


def _by_list(rows: list[ResultRow]) -> str:
    """Sum up each trial list in a line: its trials, the best row of the trained network, and the best baseline."""
    body = []
    for trials in dict.fromkeys(row.trials for row in rows if row.figures):
        mine = [row for row in rows if row.trials == trials and row.figures and not row.oracle]
        first = next(row for row in rows if row.trials == trials and row.figures)
        speakers = "" if first.speakers is None else counted(first.speakers, "speaker")
        cells = [html.Cell(trials, f"{first.targets} / {first.nontargets} trials, {speakers}".strip(", "))]
        for baseline in (False, True):
            own = [row for row in mine if row.baseline == baseline]
            best = min(own, key=lambda row: row.eer_percent, default=None)
            if best is None:
                cells += [html.Cell("-"), html.Cell("-")]
                continue
            low_high = cell(best, "eer_percent", True)[len(cell(best, "eer_percent")) :].strip(" []")
            costs = [key for key in best.figures if key.startswith("min_dcf")][:1]
            cost = ", ".join(f"minDCF({key.removeprefix('min_dcf_')}) {cell(best, key)}" for key in costs)
            cells += [html.Cell(cell(best, "eer_percent"), low_high.replace(", ", " - "), best.eer_percent)]
            cells += [html.Cell(best.label, cost)]
        body.append(cells)
    return html.table(["trials", "EER %", "by", "EER % of baselines", "by"], body, "a line for each trial list")


def _are(rows: list[ResultRow], pair: dict[str, Any], one: ResultRow, other: ResultRow) -> bool:
    """Return whether a comparison is of these two rows."""
    compared = (rows[pair["a"]], rows[pair["b"]])
    return compared in ((one, other), (other, one))


def _table(rows: list[ResultRow], looks: list[dict[str, str]]) -> str:
    """The one table; on a phone, one column holds all the names, so that the first figures stand beside it."""
    figures = columns(rows)
    several = any(row.experiment for row in rows)
    head = ["row", *(["experiment"] if several else []), "system", "back-end", "norm", "trials"]
    body = []
    for row, look in zip(rows, looks, strict=True):
        mine = [other for other in rows if other.trials == row.trials and not other.oracle]
        trials = f"{row.targets} / {row.nontargets}"
        oracle = "oracle labels" if row.oracle else ""
        backend = row.backend + (" + quality" if row.quality else "")
        cells = [html.Cell(row.label, f"{row.trials} {trials} {oracle}", swatch=look, only="narrow")]
        cells += [html.Cell(row.experiment, only="wide", name=True)] if several else []
        cells += [html.Cell(row.shown_system, swatch=look, only="wide", name=True)]
        cells += [html.Cell(backend, oracle, only="wide", name=True)]
        cells += [html.Cell(row.score_norm, only="wide", name=True), html.Cell(row.trials, trials, only="wide")]
        for _, key in figures:
            best = (
                row in mine
                and key in row.figures
                and row.figures[key] == min(other.figures[key] for other in mine if key in other.figures)
            )
            interval = cell(row, key, True)[len(cell(row, key)) :].strip(" []").replace(", ", " - ")
            shown = "" if key.startswith(FIRST_FIGURES) else "more"
            cells.append(html.Cell(cell(row, key), interval, row.figures.get(key), strong=best, only=shown))
        body.append(cells)
    return html.table([*head, *(heading for heading, _ in figures)], body, "error rates")


def _better(rows: list[ResultRow], pairs: list[dict[str, Any]]) -> list[str]:
    lists = list(dict.fromkeys(pair["trials"] for pair in pairs))
    shown = [
        pair
        for trials in lists
        for pair in [pair for pair in pairs if pair["trials"] == trials][: max(1, MOST_PAIRS // len(lists))]
    ]
    best = {trials: best_of(rows, trials) for trials in lists}
    alike: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for pair in shown:
        compared = (rows[pair["a"]], rows[pair["b"]])
        kind = alike if compared[0].is_like(compared[1]) else first if best[pair["trials"]] in compared else others
        kind.append(pair)
    parts = []
    if alike:
        parts = [
            html.text("Like against like: the same back-end and normalization of two experiments."),
            _pairs(rows, alike),
        ]
    parts += [
        html.text(
            "The row with the lowest EER of its trial list against each other row: differences, the first minus the "
            "second; below each its 95 % interval over speakers, paired, bold where it leaves zero out. p "
            "is of the EER, of a single comparison."
        )
    ]
    if first:
        parts.append(_pairs(rows, first))
    if others:
        parts.append(html.fold(f"all other pairs ({len(others)})", _pairs(rows, others)))
    if len(shown) < len(pairs):
        parts.append(html.text(f"{len(pairs) - len(shown)} more stand in results.json."))
    return parts


def _pairs(rows: list[ResultRow], pairs: list[dict[str, Any]]) -> str:
    costs = [key for key in pairs[0]["differences"] if key.startswith("min_dcf")][:2]
    figures = {"eer_percent": "EER", **{key: f"minDCF({key.removeprefix('min_dcf_')})" for key in costs}}
    body = []
    for pair in pairs:
        b, a, verdict = rows[pair["b"]].label, rows[pair["a"]].label, "no difference shown to"
        if pair["differences"]["eer_percent"]["shown"]:
            verdict = "is better than"
        cells = [html.Cell(b, f"{verdict} {a} ({pair['trials']})", only="narrow")]
        marks = ["oracle labels" if rows[pair[side]].oracle else "" for side in "ba"]
        cells += [html.Cell(b, marks[0], only="wide", name=True), html.Cell(verdict, only="wide", name=True)]
        cells += [html.Cell(a, marks[1], only="wide", name=True), html.Cell(pair["trials"], only="wide")]
        for key in figures:
            found, digits = pair["differences"][key], 2 if key == "eer_percent" else 4
            interval = f"{found['low']:+.{digits}f} to {found['high']:+.{digits}f}"
            known = not math.isnan(found["low"])  # there is none of few speakers
            shown = "more" if key in costs[1:] else ""
            value = f"{found['value']:+.{digits}f}"
            cells.append(html.Cell(value, interval if known else "", found["value"], strong=found["shown"], only=shown))
            if key == "eer_percent":
                cells.append(html.Cell(f"{found['p']:.2g}" if known else "-", "", found["p"]))
        body.append(cells)
    head = ["comparison", "row", "verdict", "than", "trials", "EER", "p", *list(figures.values())[1:]]
    return html.table(head, body, "comparisons")


def _det(page: html.Page, rows: list, drawn: list, looks: list) -> list[str]:
    shapes = plots.symbols(drawn)
    marks = ", ".join(f"{name} a {shape}" for name, shape in shapes.items())
    parts = [
        html.text(f"Misses against false alarms as the threshold moves, nearer to the lower left is better: {marks}.")
    ]
    for trials, places in _lists(rows).items():
        own, curves, lines = ([things[place] for place in places] for things in (rows, drawn, looks))
        parts += [
            f"<h3>{html.escape(trials)}</h3>",
            page.plot(plots.det_plot(own, curves, lines, shapes), f"DET curves of {trials}"),
        ]
        parts.append(html.legend([(row.label, look) for row, look in zip(own, lines, strict=True)]))
    return parts


def _densities(page: html.Page, rows: list, drawn: list) -> list[str]:
    said = "How the scores of target and non-target trials are spread; the less they overlap, the better."
    parts = [html.text(f"{said} The menu chooses the row.")]
    for trials, places in _lists(rows).items():
        figure = plots.density_plot([rows[place] for place in places], [drawn[place] for place in places])
        parts += [f"<h3>{html.escape(trials)}</h3>", page.plot(figure, f"densities of the scores of {trials}")]
    return parts


def _maps(page: html.Page, maps: dict[str, dict[str, Any]]) -> list[str]:
    parts = [
        html.text(
            "Training utterances, a sample, by t-SNE of their x-vectors: alike ones lie near each other, distances "
            "between groups say little. The largest clusters are coloured; no speaker label is used."
        )
    ]
    for name, points in maps.items():
        parts += [f"<h3>{html.escape(name)}</h3>"] * bool(name)
        parts.append(page.plot(plots.map_plot(points), f"embedding map {name}"))
        parts.append(html.legend([(of, html.dot(colour)) for colour, of in plots.clusters_shown(points).values()]))
    return parts


def _setup(experiments: dict[str, tuple[Path, dict | None, dict[str, Any]]]) -> list[str]:
    """How to make it again, the settings, and the environment; nothing that differs between equal runs."""
    parts = []
    for name, (folder, _, settings) in experiments.items():
        title = f"{name}: " if name else ""
        training = folder / "config.yaml"
        heading = f"{title}how to make it again (in the folder of the recipe, by its data folder)"
        parts.append(html.fold(heading, html.verbatim("\n".join(again(folder, settings))), opened=True))
        if training.exists():
            config = training.read_text(encoding="utf-8")
            parts.append(html.fold(f"{title}training (config.yaml)", html.verbatim(config)))
        parts.append(html.fold(f"{title}stage 6", html.verbatim(yaml.safe_dump(settings, sort_keys=False))))
    versions = "\n".join(f"{part} {which}" for part, which in environment().items())
    parts.append(html.fold("environment", html.verbatim(versions)))
    return parts


def _lists(rows: list[ResultRow]) -> dict[str, list[int]]:
    """The indices of the rows of each trial list."""
    lists: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        lists.setdefault(row.trials, []).append(index)
    return lists
