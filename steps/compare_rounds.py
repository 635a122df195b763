#!/usr/bin/env python3
"""Stage 9, at its end: the rounds side by side.

    steps/compare_rounds.py exp/toy exp/toy/round1 exp/toy/round2

prints and draws (EXP/rounds/rounds.png) what is known of each without labels, by which stage 7 decides whether another
round is worth it: how well halves of utterances are told apart, what the loss gate lets pass, the clusters, and how
far the classes of two rounds agree. The results of those that have been scored stand on one page,
EXP/rounds/report.html.
"""

from pathlib import Path

import click

from sdpn.console import run, say
from sdpn.recipe.program import program


@program(__doc__)
@click.argument("experiments", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(experiments: tuple[Path, ...]) -> None:
    from sdpn.finetune.rounds import draw_rounds, read_round, table_of
    from sdpn.report.experiments import compare_experiments
    from sdpn.report.rows import read_rows

    out = experiments[0] / "rounds"
    rounds = [read_round(folder) for folder in experiments]
    for line in table_of(rounds):
        say(f"  {line}")
    draw_rounds(rounds, out / "rounds.png")
    scored = []
    for folder in experiments:
        try:
            scored += [folder] if any(row.figures for row in read_rows(folder)[0]) else []
        except FileNotFoundError:
            continue
    if len(scored) > 1:
        table, _, written = compare_experiments(scored, out)
        say(f"\n{table}\n  also in {', '.join(map(str, written))}")
    say(f"  drawn in {out}/rounds.png")


if __name__ == "__main__":
    run(main)
