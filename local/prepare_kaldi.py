#!/usr/bin/env python3
"""Stage 0 for Kaldi data directories: wav.scp (files, or commands with --allow-pipes), segments, utt2spk, feats.scp.

    local/prepare_kaldi.py --train kaldi/data/train --eval kaldi/data/test --trials kaldi/data/test/trials data

Without --eval a share of the training speakers is held out; without --trials, DIR/trials of the evaluation set serves,
or else trials are made of its labels. The training set needs no utt2spk.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from sdpn.cluster.pool import run_jobs
from sdpn.console import run
from sdpn.corpus.clips import find_clips
from sdpn.corpus.kaldi_dir import DataDir
from sdpn.corpus.options import absolute, named_sets, set_options, stage0_options
from sdpn.corpus.stage0 import GivenTrials, prepare, split_speakers, trials_of
from sdpn.corpus.text import composed
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.files import digest


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "), context_settings={"show_default": True})
@click.argument("data", type=click.Path(path_type=Path))
@set_options("a Kaldi data directory")
@stage0_options
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(given), partial(run_jobs, nj=nj)
    folders = named_sets(options)
    if not options["trials"]:
        own = [
            folder / "trials" for name, folder in folders.items() if name != "train" and (folder / "trials").is_file()
        ]
        options["trials"] = str(own[0]) if len(own) == 1 else None
    trials = GivenTrials.read(options)
    sets = {name: DataDir.read(folder, options["allow_pipes"]) for name, folder in folders.items()}
    inputs = {
        "data directories": digest({name: found.fingerprint for name, found in sets.items()}),
        "trials": trials.fingerprint,
    }
    find = partial(find_speech, data, options, sets, trials, run_all)
    prepare(data, "kaldi", options, inputs, find_clips(options, run_all), find, run_all)


def find_speech(
    data: Path, options: dict[str, Any], sets: dict[str, DataDir], given: GivenTrials, run_all: Callable
) -> Prepared:
    """Read the headers of all recordings, and make sets and trials."""
    scans = {name: found.entries(run_all, data / CACHE / name) for name, found in sets.items()}
    speech = {name: entries for name, (entries, _) in scans.items()}
    if list(speech) == ["train"]:
        ids = {composed(entry.id): entry.id for entry in speech["train"]}
        speech = split_speakers(speech["train"], ids, given, options, str(sets["train"].folder))
    ids = {name: {composed(entry.id): entry.id for entry in own} for name, own in speech.items() if name != "train"}
    skipped = {name: skipped for name, (_, skipped) in scans.items()}
    trials = trials_of(given, ids, speech, data, options["seed"], skipped)
    features = {name: sets.get(name, sets["train"]).features for name in speech}
    return Prepared(speech, trials, {}, skipped, {name: own for name, own in features.items() if own})


if __name__ == "__main__":
    run(main)
