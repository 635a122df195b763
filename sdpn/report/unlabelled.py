"""The results of an experiment without an evaluation set: what is known without labels, and what a set would add."""

from pathlib import Path
from typing import Any

from sdpn.backend.config import ORACLE, BackendConfig
from sdpn.config import to_dict
from sdpn.files import digest
from sdpn.report import page as html
from sdpn.report.report import report, results_work
from sdpn.report.results import as_json, write_dated
from sdpn.report.rows import Origin, ResultRow
from sdpn.scoring.unlabelled import Known

WHAT_LABELS_ADD = (
    "There is no evaluation set, so there are no error rates: labelled recordings of people who are not in the "
    "training set (DIR/eval/SPEAKER/...) would say how often two voices are taken for one, and one for two."
)


def write_unlabelled(
    exp_dir: Path,
    data: Path,
    name: str,
    known: Known,
    settings: BackendConfig,
    seed: int,
    points: dict | None,
) -> tuple[list[str], list[Path]]:
    """Write results.md, results.json and report.html into `exp_dir/results` where they differ from what stands there.

    Args:
        data: the folder of the corpus.
        name: of the corpus.
        points: the embedding map (`embedding_map`), or None.

    Returns:
        the sentences for a terminal, and the paths.
    """
    tables = tables_of(known)
    settings_text = {**to_dict(settings), "seed": seed, "data": str(data)}
    parts = [WHAT_LABELS_ADD, ""]
    for title, (head, *body), lines in tables:
        cells = [head, ["---"] * len(head), *body]
        parts += [f"## {title}", "", *("| " + " | ".join(row) + " |" for row in cells), ""]
        parts += [*(f"- {line}" for line in lines), ""]
    sections = [
        (
            title.split()[0].lower(),
            title,
            [html.table(head, [[html.Cell(text) for text in row] for row in body], title), html.bullets(lines)],
        )
        for title, (head, *body), lines in tables
    ]
    work = results_work(exp_dir, {"corpus": name, "settings": settings_text, "tables": digest(tables)}, points)
    if work.stale_reason() is None:
        return plain_lines(tables), [exp_dir / "results" / file for file in work.output_digests()]
    work.begin()
    of_page = {"": (exp_dir, points, settings_text)}
    further = {"without_labels": stored(known)}

    def texts(origin: Origin) -> dict[str, str]:
        return {
            "results.md": "\n".join([f"# Results: {name}", "", str(origin), "", *parts]),
            "results.json": as_json(name, [origin], rows_of(known), [], settings_text, further),
            "report.html": report(f"Results: {name}", [origin], [], [], of_page, WHAT_LABELS_ADD, sections),
        }

    written = write_dated(exp_dir, texts)
    work.finish(written)
    return plain_lines(tables), written


def rows_of(known: Known) -> list[ResultRow]:
    """Return the back-ends as rows without trials and figures, from which `sdpn verify` takes its calibration."""
    return [
        ResultRow(
            "",
            backend.system,
            backend.name,
            oracle=backend.name.startswith(ORACLE),
            chain=backend.chain,
            network=backend.network,
            targets=backend.targets,
            nontargets=backend.nontargets,
            calibration=backend.calibration,
            calibrated_by="clusters" if backend.calibration else None,
            not_calibrated=backend.failure,
            backend_digest=backend.digest,
        )
        for backend in known.backends
    ]


def stored(known: Known) -> dict[str, Any]:
    """Return what results.json holds of it beside the rows."""
    rates = {f"{backend.system} {backend.name}": backend.eer_percent for backend in known.backends}
    return {"probe_eer_percent": known.probe, "clusters": known.clusters, "eer_percent_between_clusters": rates}


def tables_of(known: Known) -> list[tuple[str, list[list[str]], list[str]]]:
    """Put what is known into tables: a title, the heading and the rows, and sentences on what they mean."""
    tables = []
    if known.probe:
        tables.append(
            (
                "Halves of utterances",
                [["network", "EER %"], *([name, f"{percent:.2f}"] for name, percent in known.probe.items())],
                [
                    "how often the two halves of a training utterance are taken for those of two, by cosine: a network "
                    "that has learned voices does better than the untrained one, but so does one that knows recordings"
                ],
            )
        )
    if known.clusters:
        shape = known.clusters
        sizes = f"{shape['smallest']} - {shape['median']:g} - {shape['largest']}"
        tables.append(
            (
                "Clusters of the training x-vectors",
                [
                    ["x-vectors", "clusters", "smallest - median - largest", "left out", "silhouette"],
                    [
                        *(str(shape[key]) for key in ("vectors", "clusters")),
                        sizes,
                        str(shape["left_out"]),
                        f"{shape['silhouette']:.3f}",
                    ],
                ],
                [
                    "clusters stand for speakers where back-ends need classes; the silhouette is 1 where they are far "
                    "apart, 0 where they touch"
                ],
            )
        )
    if known.backends:
        body = []
        for backend in known.backends:
            found = backend.calibration
            ratio = f"{found['weight']:.4g} x score {found['offset']:+.4g}" if found else "-"
            rate = "-" if backend.eer_percent is None else f"{backend.eer_percent:.2f}"
            trials = f"{backend.targets}/{backend.nontargets}"
            body.append([backend.system, backend.name, ratio, rate, trials])
        lines = [f"{backend.system}, {backend.name}: `{backend.chain}`" for backend in known.backends]
        lines += [
            f"{backend.system}, {backend.name}: not calibrated: {backend.failure}"
            for backend in known.backends
            if backend.failure
        ]
        lines += [
            "trials are pairs within and between clusters that were kept out of the back-end; their EER tells clusters "
            "apart, which the network itself has made: it is no error rate of speakers"
        ]
        head = ["system", "back-end", "log-likelihood ratio", "EER % between clusters", "trials"]
        tables.append(("Calibration by clusters", [head, *body], lines))
    return tables


def plain_lines(tables: list[tuple[str, list[list[str]], list[str]]]) -> list[str]:
    """Return the tables for a terminal, columns aligned."""
    lines = []
    for title, rows, _ in tables:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [title, *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows), ""]
    return [*lines, WHAT_LABELS_ADD]
