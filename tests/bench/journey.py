#!/usr/bin/env python3
"""How many functions an utterance passes through: those that stages 0 to 4 enter on a small folder of recordings.

    tests/bench/journey.py --checkout . --corpus-dir FOLDER --config tiny.yaml

The programs of the recipe run in this process, one job each. The last line is one JSON object: distinct functions and
the files they stand in, in total and by stage; comprehensions and generator expressions count with their function. The
body of a class counts, too, when its module is imported; `without_classes` leaves these out.
"""

import importlib.util
import inspect
import json
import sys
import tempfile
import threading
from pathlib import Path

import click


class Entered:
    """The functions of the recipe in a folder that were entered, as (file, first line, name), `classes` among them."""

    def __init__(self, folder: Path):
        self.folders = tuple(f"{folder}/{part}/" for part in ("sdpn", "local", "steps"))
        self.own, self.functions, self.classes = {}, set(), set()

    def __call__(self, frame, event: str, argument) -> None:
        code = frame.f_code
        known = self.own.get(code)
        if known is None:
            named = not code.co_name.startswith("<") or code.co_name == "<lambda>"
            known = self.own[code] = named and code.co_filename.startswith(self.folders)
            if known:
                self.functions.add((code.co_filename, code.co_firstlineno, code.co_name))
                if not code.co_flags & inspect.CO_OPTIMIZED:
                    self.classes.add((code.co_filename, code.co_firstlineno, code.co_name))


def run_program(path: Path, words: list[str]) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main.main(words, standalone_mode=False)


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.option("--checkout", type=click.Path(path_type=Path, exists=True), default=Path(__file__).parents[2])
@click.option("--corpus-dir", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--config", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--list", "listed", is_flag=True, help="name them")
def main(checkout: Path, corpus_dir: Path, config: Path, listed: bool) -> None:
    checkout = checkout.resolve()
    sys.path[:0] = [str(checkout), str(checkout / "local"), str(checkout / "steps")]
    with tempfile.TemporaryDirectory() as name:
        data, exp = f"{name}/data", f"{name}/exp"
        stages = [
            ["local/prepare_folder.py", "--corpus-dir", str(corpus_dir), data],
            ["steps/make_cuts.py", data],
            ["steps/make_fbank.py", data],
            ["steps/make_augment.py", data],
            ["steps/train_sdpn.py", "--config", str(config), "--ngpu", "0", data, exp],
        ]
        everything, classes, counts = set(), set(), []
        for program, *words in stages:
            entered = Entered(checkout)
            threading.setprofile(entered)
            sys.setprofile(entered)
            try:
                run_program(checkout / program, words)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
            counts.append([len(entered.functions), len({file for file, _, _ in entered.functions})])
            everything |= entered.functions
            classes |= entered.classes
    files, own = len({file for file, _, _ in everything}), everything - classes
    without = [len(own), len({file for file, _, _ in own})]
    for file, line, name in sorted(everything) if listed else ():
        print(f"{file}:{line}: {name}")
    print(json.dumps({"functions": len(everything), "files": files, "by_stage": counts, "without_classes": without}))


if __name__ == "__main__":
    main()
