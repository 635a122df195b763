"""The table of results: Markdown for people, JSON for programs, aligned text for the terminal."""

import json
from pathlib import Path
from typing import Any

from sdpn.backend.chain import Chain
from sdpn.corpus.layout import Corpus
from sdpn.evaluation.systems import Scoring
from sdpn.files import write_text

COLUMNS = ("system", "back-end", "score normalization", "EER %", "minDCF(0.01)", "minDCF(0.05)", "trials")
FIGURES = slice(3, 6)  # the columns aligned to the right


def result_rows(exp_dir: Path, scorings: list[Scoring]) -> list[dict[str, Any]]:
    """One dictionary for each row of the table, its figures not rounded."""
    return [
        {
            "trials": scoring.trials,
            "system": scoring.system.name,
            "backend": scoring.backend,
            "score_norm": scoring.norm,
            **scoring.work.report(),
            "scores": str(scoring.scores_file.relative_to(exp_dir)),
        }
        for scoring in scorings
    ]


def write_results(exp_dir: Path, corpus: Corpus, rows: list[dict[str, Any]]) -> list[Path]:
    """Write results.md and results.json into `exp_dir` where they differ from what stands there; return their paths."""
    tree = json.dumps({"corpus": corpus.name, "rows": rows}, indent=2, ensure_ascii=False)
    texts = {exp_dir / "results.md": markdown(corpus, rows), exp_dir / "results.json": tree + "\n"}
    for leftover in exp_dir.glob(".results.partial-*"):  # of a killed run
        leftover.unlink(missing_ok=True)
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    return list(texts)


def markdown(corpus: Corpus, rows: list[dict[str, Any]]) -> str:
    """The table, and below it what the trial lists, back-ends and normalizations are."""
    rule = ["---"] * len(COLUMNS)
    rule[FIGURES] = ["---:"] * len(rule[FIGURES])
    table = ["| " + " | ".join(cells) + " |" for cells in [COLUMNS, rule, *(_cells(row) for row in rows)]]
    return "\n".join([f"# Results: {corpus.name}", "", *table, "", *(f"- {line}" for line in legend(rows)), ""])


def plain_text(rows: list[dict[str, Any]]) -> str:
    """The table with aligned columns: text to the left, figures to the right."""
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(COLUMNS))]
    rule = ["-" * width for width in widths]
    figures = range(len(COLUMNS))[FIGURES]
    aligned = []
    for cells in [lines[0], rule, *lines[1:]]:
        padded = [
            cell.rjust(width) if column in figures else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        aligned.append("  ".join(padded).rstrip())
    return "\n".join(aligned)


def legend(rows: list[dict[str, Any]]) -> list[str]:
    """What the names in the table stand for, each once, in the order of the table."""
    lines = []
    for row in rows:
        lines.append(f"trials {row['trials']}: {row['targets']} target, {row['nontargets']} non-target")
    for row in rows:
        classes = f"; classes: {row['pseudo_speakers']} pseudo-speakers, no labels"
        learned = classes if Chain(row["chain"]).needs_classes else ""
        lines.append(f"{row['system']}, {row['backend']}: `{row['chain']}`{learned}")
    for row in rows:
        if row["cohort"]:
            cohort = {"utterances": "training utterances", "clusters": "means of pseudo-speakers"}[row["cohort"]]
            top = f", the {row['top_n']} largest scores" if row["top_n"] else ""
            lines.append(f"score normalization {row['score_norm']}: cohort of {row['cohort_size']} {cohort}{top}")
    return list(dict.fromkeys(lines))


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["system"],
        row["backend"],
        row["score_norm"],
        f"{row['eer_percent']:.2f}",
        f"{row['min_dcf_0.01']:.4f}",
        f"{row['min_dcf_0.05']:.4f}",
        f"{row['trials']} ({row['targets']}/{row['nontargets']})",
    ]
