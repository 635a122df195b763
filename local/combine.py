#!/usr/bin/env python3
"""Train on several corpora together: one data folder of several, for stages 4 to 6.

    local/combine.py data/a data/b data/ab
    ./run.sh --stage 4 --data-dir data/ab --exp-dir exp/ab

Stages 0 to 3 must have been run on each part, with the same settings. Features and reverberated copies are used where
they lie: nothing is computed or copied again. Ids that clash get the name of the part's folder in front; the
evaluation sets and trial lists of all parts stay, each with rows of its own in the results. Noise, music and babble are
those of all parts together.
"""

from pathlib import Path

import click

from sdpn.console import run
from sdpn.recipe.program import program


@program(__doc__)
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
def main(parts: tuple[Path, ...], data: Path) -> None:
    from sdpn.augment.combine import combine_folders

    combine_folders(list(parts), data)


if __name__ == "__main__":
    run(main)
