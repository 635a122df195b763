"""`sdpn compare`: the results of several experiments on one page."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("experiments", nargs=-1, type=PATH)
@click.option("--model", "models", multiple=True, type=PATH, help="the same as one of EXPERIMENTS; may be given again")
@click.option("--out", default="comparison", show_default=True, type=PATH, help="folder of the page")
def compare(experiments: tuple[Path, ...], models: tuple[Path, ...], out: Path) -> None:
    """Put the results of EXPERIMENTS (folders that stage 6 has been run on) side by side, and say which is better.

    \b
    sdpn compare exp/small exp/paper --out comparison

    writes comparison/{results.md,results.json,report.html}. Rows of the same trial list are compared speaker by
    speaker where both experiments have scored the same trials.
    """
    experiments += models
    if not experiments:
        raise click.UsageError("name the experiments to compare")
    from sdpn.console import say
    from sdpn.report.experiments import compare_experiments

    rows, sentences, written = compare_experiments(list(experiments), out)
    say(f"{rows}\n")
    for line in sentences:
        say(f"  {line}")
    say(f"  also in {', '.join(str(path) for path in written)}")
