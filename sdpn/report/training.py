"""The training curves of an experiment, and the section of the page that shows them."""

import json
import re
from pathlib import Path

from sdpn.report import page as html
from sdpn.report import plots

NOT_A_CURVE = re.compile(r"step|epoch|second|time|wait|memory|throughput|gpu|device|world|rank$")
WITH_RANK = "effective_rank"
FIRST_CURVES = ("loss", "effective_rank", "probe_eer", "dev_eer", "prototypes_in_use")  # the others are folded
WHAT_IS_GOOD = {
    "loss": "Good: it falls, fast at first, and levels out.",
    "effective_rank": "Good: it ends well above 10. Near 1, all x-vectors have become one: a collapse.",
    "probe_eer": "Good: it falls below that of the untrained network. Halves of an utterance share their recording, so "
    "that a low rate alone proves little; a rising one is a warning.",
    "dev_eer": "Good: it falls to the end. Where it rises again, the training is too long.",
    "prototypes_in_use": "Good: most of the prototypes, from some epochs on. A handful is a collapse.",
    "assignment_loss": "Good: it falls.",
    "mean_entropy_loss": "Good: it stays near 0: prototypes are used equally.",
    "diversity_loss": "Good: it falls slowly and stays finite: x-vectors keep apart.",
    "dimension_loss": "Good: it falls: dimensions say different things.",
    "gradient_norm": "Good: it calms down; lasting peaks ask for a lower learning rate.",
    "assignment_perplexity": "Good: it rises with the prototypes in use.",
    "target_entropy": "Good: it falls: the teacher becomes sure. At the logarithm of the prototypes it knows nothing.",
    "neighbour_distance": "Good: it stays well above 0. Near 0, x-vectors fall on each other.",
    "living_dimensions": "Good: 1: every dimension varies.",
    "agreement": "Good: it rises: the student chooses the teacher's prototypes.",
    "lr": "It rises during the warm-up, then falls.",
    "teacher_momentum": "It rises towards 1: the teacher comes to rest.",
}


def training_curves(folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of every figure in the training log that is no clock; empty where there is no log."""
    path = folder / "train.jsonl"
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            figures = json.loads(line)
        except ValueError:  # cut off by a kill, or damaged
            continue
        if not isinstance(figures, dict) or not isinstance(figures.get("step"), int):
            continue
        for name, value in figures.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
            if number and (name == WITH_RANK or not NOT_A_CURVE.search(name)):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(figures["step"])
                values.append(value)
    return curves


def training_section(page: html.Page, folders: dict[str, Path]) -> list[str]:
    """Draw the curves of experiments, by name: those that tell most at once, the others where asked for."""
    curves = {name: training_curves(folder) for name, folder in folders.items()}
    figures = dict.fromkeys(figure for found in curves.values() for figure in found)
    if not figures:
        return []
    colours = plots.colours(curves)

    def panel(figure: str) -> str:
        own = {name: found[figure] for name, found in curves.items() if figure in found}
        good = f"<p>{html.escape(WHAT_IS_GOOD[figure])}</p>" if figure in WHAT_IS_GOOD else ""
        return f"<div>{page.plot(plots.training_plot(figure, own, colours), f'{figure} over the steps')}{good}</div>"

    first = [panel(figure) for figure in FIRST_CURVES if figure in figures]
    others = [panel(figure) for figure in figures if figure not in FIRST_CURVES]
    parts = [html.text("What the training log holds, over the steps.")]
    if len(curves) > 1:
        parts.append(html.legend([(name, html.dot(colour)) for name, colour in colours.items()]))
    parts += ['<div class="grid">', *first, "</div>"]
    if others:
        parts.append(html.fold(f"{len(others)} more", f'<div class="grid">{"".join(others)}</div>'))
    return parts
