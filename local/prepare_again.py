#!/usr/bin/env python3
"""Stage 0 once more, for the corpus that DATA holds, with the options that it was prepared with.

    local/prepare_again.py --nj 4 data

Recordings that have come or gone since are noticed; where nothing has changed, nothing is done. Further options go to
the corpus's own program (`--nj`, `--allow-pipes`, ...).
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from sdpn.console import run
from sdpn.corpus.layout import Corpus
from sdpn.recipe.program import program


@program(__doc__, ignore_unknown_options=True)
@click.argument("further", nargs=-1, type=click.UNPROCESSED)
@click.argument("data", type=click.Path(path_type=Path))
def main(data: Path, further: tuple[str, ...]) -> None:
    corpus = Corpus.read(data)
    name = "combine.py" if corpus.parts else f"prepare_{corpus.name}.py"
    words = corpus.parts or words_of(corpus.options)
    os.execv(sys.executable, [sys.executable, str(Path(__file__).with_name(name)), *words, *further, str(data)])


def words_of(options: dict[str, Any]) -> list[str]:
    """Return the command line that gives a program these options."""
    words = []
    for name, value in options.items():
        name = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--un{name}")
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words


if __name__ == "__main__":
    run(main)
