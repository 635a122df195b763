#!/usr/bin/env python3
"""How many functions an utterance passes through, or a trial: those that stages 0 to 4 enter, or stage 6.

    tests/bench/journey.py --checkout . --corpus-dir FOLDER --config tiny.yaml
    tests/bench/journey.py --checkout . --data data --exp exp/toy

The first is of a small folder of recordings, the second of an experiment after stage 5, which is copied. The programs
of the recipe run in this process, one job each. The last line is one JSON object: distinct functions and the files they
stand in, in total and by stage, and returns: how often, going through the functions as they are first entered, one
comes back to a file that was left before. Comprehensions and generator expressions count with their function.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
import threading
from itertools import groupby
from pathlib import Path

import click


class Entered:
    """The functions of the recipe in a folder that were entered, as (file, first line, name)."""

    def __init__(self, folder: Path):
        self.folders = tuple(f"{folder}/{part}/" for part in ("sdpn", "local", "steps"))
        self.own, self.functions = {}, {}

    def __call__(self, frame, event: str, argument) -> None:
        code = frame.f_code
        known = self.own.get(code)
        if known is None:
            named = not code.co_name.startswith("<") or code.co_name == "<lambda>"
            known = self.own[code] = named and code.co_filename.startswith(self.folders)
            if known:
                self.functions[code.co_filename, code.co_firstlineno, code.co_name] = len(self.functions)

    @property
    def returns(self) -> int:
        """How often one comes back to a file that was left before."""
        files = [file for file, _ in groupby(file for file, _, _ in self.functions)]
        return len(files) - len(set(files))


def run_program(path: Path, words: list[str]) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main.main(words, standalone_mode=False)


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.option("--checkout", type=click.Path(path_type=Path, exists=True), default=Path(__file__).parents[2])
@click.option("--corpus-dir", type=click.Path(path_type=Path, exists=True))
@click.option("--config", type=click.Path(path_type=Path, exists=True))
@click.option("--data", "of_trials", type=click.Path(path_type=Path, exists=True), help="of a trial: the data folder")
@click.option("--exp", "experiment", type=click.Path(path_type=Path, exists=True), help="and the experiment")
@click.option("--list", "listed", is_flag=True, help="name them, in the order in which they are entered")
def main(
    checkout: Path,
    corpus_dir: Path | None,
    config: Path | None,
    of_trials: Path | None,
    experiment: Path | None,
    listed: bool,
) -> None:
    given = [(corpus_dir, config), (of_trials, experiment)]
    if [None in pair for pair in given].count(False) != 1:
        raise click.UsageError("give --corpus-dir and --config, or --data and --exp")
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
        if of_trials and experiment:
            made_later = shutil.ignore_patterns("scores", "backends", "results", "checkpoints")
            shutil.copytree(experiment, exp, ignore=made_later)
            chosen = ["--config", str(checkout / "conf" / "backend.yaml")]
            stages = [["steps/score.py", *chosen, str(of_trials), exp]]
        everything, counts = {}, []
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
            everything |= {function: None for function in entered.functions if function not in everything}
    files = len({file for file, _, _ in everything})
    for file, line, name in everything if listed else ():
        print(f"{file}:{line}: {name}")
    found = {"functions": len(everything), "files": files, "by_stage": counts}
    print(json.dumps(found | ({"returns": entered.returns} if of_trials else {})))


if __name__ == "__main__":
    main()
