#!/usr/bin/env python3
"""Stage 0 for Kaldi data directories: wav.scp (files, or commands with --allow-pipes), segments, utt2spk, feats.scp.

    local/prepare_kaldi.py --train kaldi/data/train --eval kaldi/data/test --trials kaldi/data/test/trials data

Without --eval a share of the training speakers is held out (--eval-share 0: none is); without --trials, DIR/trials of
every evaluation set serves for it, or else trials are made of its labels. The training set needs no utt2spk: without
one it is all trained on.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import run
from sdpn.corpus.clips import find_clips
from sdpn.corpus.kaldi_dir import DataDir
from sdpn.corpus.options import absolute, named_sets
from sdpn.corpus.stage0 import GivenTrials, prepare, split_speakers, trials_of
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.files import digest
from sdpn.recipe.program import program, stage0
from sdpn.tables import composed
from sdpn.trials.lists import TrialSet


@program(__doc__, "data")
@stage0("kaldi")
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(data, given), partial(run_jobs, nj=nj)
    folders = named_sets(options)
    own = {} if options["trials"] else own_trials(folders)
    trials = GivenTrials.read(options)
    sets = {name: DataDir.read(folder, options["allow_pipes"]) for name, folder in folders.items()}
    inputs = {
        "data directories": digest({name: found.fingerprint for name, found in sets.items()}),
        "trials": digest({name: given.fingerprint for name, given in own.items()}) if own else trials.fingerprint,
    }
    find = partial(find_speech, data, options, sets, trials, own, run_all)
    prepare(data, "kaldi", options, inputs, find_clips(options, run_all), find, run_all, add_far)


def own_trials(folders: dict[str, Path]) -> dict[str, GivenTrials]:
    """The lists that lie in the folders of evaluation sets, by set."""
    lists = {name: folder / "trials" for name, folder in folders.items() if name != "train"}
    return {name: GivenTrials.read({"trials": str(path)}) for name, path in lists.items() if path.is_file()}


def find_speech(
    data: Path,
    options: dict[str, Any],
    sets: dict[str, DataDir],
    given: GivenTrials,
    own: dict[str, GivenTrials],
    run_all: Callable,
) -> Prepared:
    """Read the headers of all recordings, and make sets and trials.

    Args:
        given: what --trials names; of no trials where sets have lists of their own.
        own: these, by set.
    """
    scans = {name: found.find_usable(run_all, data / CACHE / name) for name, found in sets.items()}
    speech = {name: utterances for name, (utterances, _) in scans.items()}
    if list(speech) == ["train"]:
        own_ids = {composed(utterance.id): utterance.id for utterance in speech["train"]}
        speech = split_speakers(speech["train"], own_ids, given, options, str(sets["train"].folder), scans["train"][1])
    ids = {
        name: {composed(utterance.id): utterance.id for utterance in mine}
        for name, mine in speech.items()
        if name != "train"
    }
    skipped = {name: skipped for name, (_, skipped) in scans.items()}
    lists = [(own.get(name, given), {name: known}) for name, known in ids.items()] if own else [(given, ids)]
    trials: dict[str, TrialSet] = {}
    for one, known in lists:
        trials |= trials_of(one, known, speech, data, options["seed"], skipped)
    features = {name: sets.get(name, sets["train"]).features for name in speech}
    return Prepared(speech, trials, {}, skipped, {name: own for name, own in features.items() if own})


if __name__ == "__main__":
    run(main)
