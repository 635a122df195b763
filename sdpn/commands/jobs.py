"""`sdpn jobs`: what has become of the jobs that --cmd slurm submitted."""

from pathlib import Path

import click

from sdpn.commands.options import PATH


@click.command()
@click.argument("folder", type=PATH)
def jobs(folder: Path) -> None:
    """Say for each step how many shards are done, run, wait or have failed, with the logs of those that are not done.

    \b
    sdpn jobs data
    sdpn jobs exp/toy

    FOLDER is that of the data (stages 1 to 3) or of the experiment (stages 4 to 6).
    """
    from sdpn.cluster.overview import overview

    for line in overview(folder):
        click.echo(line)
