"""`sdpn info`: the state of a training."""

from pathlib import Path

import click


@click.command()
@click.argument("exp", type=click.Path(path_type=Path))
def info(exp: Path) -> None:
    """Say in plain words how far the training in EXP is and whether it is healthy, also while it runs.

    \b
    sdpn info exp/toy
    """
    from sdpn.training.state import describe

    for line in describe(exp):
        click.echo(line)
