#!/usr/bin/env python3
"""Stage 0 for CN-Celeb: the dev speakers of CN-Celeb1 and all of CN-Celeb2 to train on, CN-Celeb1's trials to evaluate.

    local/prepare_cnceleb.py --cnceleb1 /corpora/CN-Celeb_flac --cnceleb2 /corpora/CN-Celeb2_flac --nj 16 data

The folders lie as the archives unpack. The trial list `cnceleb` enrolls models of several utterances (enroll.map);
`cnceleb_joined` enrolls their joined copies (enroll.lst); --trials adds a list of your own, names as in these (models,
too, without --enroll-map). Without --cnceleb2, CN-Celeb1 alone is trained on.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cnceleb

from sdpn.audio.files import Listing, fingerprint, list_recordings, refuse_without_ffmpeg
from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import run
from sdpn.corpus.clips import find_clips
from sdpn.corpus.download import download_clips, fetch_all
from sdpn.corpus.options import absolute
from sdpn.corpus.stage0 import GivenTrials, prepare
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.recipe.program import program, stage0
from sdpn.trials.names import refuse_unknown


@program(__doc__, "data")
@stage0("cnceleb")
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(data, given), partial(run_jobs, nj=nj)
    if options["download"]:
        fetched, catalogue = data / "download", options["downloads_config"]
        if not options["cnceleb1"]:
            for name in ("cnceleb1", "cnceleb2"):
                options[name] = options[name] or str(fetch_all(name, fetched, catalogue).resolve())
        options |= download_clips(options, fetched, catalogue)
    if not options["cnceleb1"]:
        raise SdpnError(f"--cnceleb1 is not given: {cnceleb.WHERE}")
    clips = find_clips(options, run_all)
    root = cnceleb.find_root(Path(options["cnceleb1"]), 1)
    protocol = cnceleb.Protocol.read(root)
    given_trials = GivenTrials.read(options)
    given_trials.refuse_name({"cnceleb", "cnceleb_joined", "dev"})
    if not given_trials.models:  # those of the corpus serve
        enrolled = {trial.enroll for trial in given_trials.trials}
        models = {model: names for model, names in protocol.models.items() if model in enrolled}
        given_trials = replace(given_trials, models=models)
    everyone, evaluation = list_recordings(root / "data", run_all), list_recordings(root / "eval", run_all)
    train = [cnceleb.train_part(everyone, protocol)]
    if options["cnceleb2"]:
        train.append(list_recordings(cnceleb.find_root(Path(options["cnceleb2"]), 2) / "data", run_all))
    for listing in [*train, evaluation]:
        refuse_without_ffmpeg(listing)
        if not listing.files:
            raise SdpnError(f"{listing.folder}: there is no audio file of its part in it: {listing.what_else}")
    inputs = {
        "files": digest([fingerprint(listing.files) for listing in [everyone, *train, evaluation]]),
        "protocol": digest(protocol.trials, protocol.models, protocol.joined, given_trials.fingerprint),
    }
    find = partial(find_speech, data, train, everyone, evaluation, protocol, given_trials, run_all)
    prepare(data, "cnceleb", options, inputs, clips, find, run_all, add_far)


def find_speech(
    data: Path,
    train: list[Listing],
    everyone: Listing,
    evaluation: Listing,
    protocol: cnceleb.Protocol,
    given: GivenTrials,
    run_all: Callable,
) -> Prepared:
    """Read the headers of what is needed."""
    found = cnceleb.scan_eval(everyone, evaluation, protocol, given, run_all, data / CACHE / "eval")
    for name, unknown in found.unknown.items():
        where, listing = f"{name} ({evaluation.folder}/lists)", data / "trials" / f"{name}.missing.txt"
        total = len({name for trial in protocol.trials for name in (trial.enroll, trial.test)})
        if name == given.name:
            where, total = given.path, len(given.names)
        refuse_unknown(unknown, found.known, total, where, str(evaluation.folder), listing, found.skipped)
    utterances, skipped = cnceleb.scan_train(train, run_all, data / CACHE / "train")
    return Prepared(
        {"train": utterances, "eval": found.utterances}, found.trials, {}, {"train": skipped, "eval": found.skipped}
    )


if __name__ == "__main__":
    run(main)
