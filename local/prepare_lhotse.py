#!/usr/bin/env python3
"""Stage 0 for Lhotse manifests: recordings and supervisions, cuts, or Shar folders.

    local/prepare_lhotse.py --train manifests/cuts_train.jsonl.gz --eval manifests/test --trials trials.txt data

A set is a manifest of cuts, one of recordings (X_recordings_train.jsonl.gz, to which X_supervisions_train.jsonl.gz
beside it belongs), a folder that holds one manifest of cuts or one each of recordings and supervisions, or a Shar
folder, whose audio is copied out as it is. Relative paths are those of the working directory or of a folder above the
manifest. Without --eval a share of the training speakers is held out (--eval-share 0: none is); without --trials,
trials are made of the labels. The training set needs no speakers: without them it is all trained on.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import run
from sdpn.corpus.clips import find_clips
from sdpn.corpus.layout import Corpus
from sdpn.corpus.lhotse_sets import Manifests
from sdpn.corpus.options import absolute, distinguishing, named_sets
from sdpn.corpus.stage0 import GivenTrials, prepare, split_speakers, trials_of
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.files import digest
from sdpn.recipe.program import program, stage0
from sdpn.tables import composed


@program(__doc__, "data")
@stage0("lhotse")
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(data, given), partial(run_jobs, nj=nj)
    paths = named_sets(options)
    trials = GivenTrials.read(options)
    Corpus.refuse_another(data, "lhotse", distinguishing(options))  # before the audio of a Shar folder is put there
    sets = {
        name: Manifests.read(path, options["allow_pipes"], data / "audio" / "shar" / name)
        for name, path in paths.items()
    }
    inputs = {
        "manifests": digest({name: found.fingerprint for name, found in sets.items()}),
        "trials": trials.fingerprint,
    }
    find = partial(find_speech, data, options, sets, trials, run_all)
    prepare(data, "lhotse", options, inputs, find_clips(options, run_all), find, run_all, add_far)


def find_speech(
    data: Path, options: dict[str, Any], sets: dict[str, Manifests], given: GivenTrials, run_all: Callable
) -> Prepared:
    """Read the headers of all recordings, and make sets and trials."""
    scans = {name: found.find_usable(run_all, data / CACHE / name) for name, found in sets.items()}
    speech = {name: utterances for name, (utterances, _) in scans.items()}
    if list(speech) == ["train"]:
        own_ids = {composed(utterance.id): utterance.id for utterance in speech["train"]}
        speech = split_speakers(speech["train"], own_ids, given, options, str(sets["train"].path), scans["train"][1])
    ids = {
        name: {composed(utterance.id): utterance.id for utterance in own}
        for name, own in speech.items()
        if name != "train"
    }
    skipped = {name: skipped for name, (_, skipped) in scans.items()}
    trials = trials_of(given, ids, speech, data, options["seed"], skipped)
    return Prepared(speech, trials, {}, skipped)


if __name__ == "__main__":
    run(main)
