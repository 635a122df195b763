#!/usr/bin/env python3
"""Stage 0 for a folder of recordings: any tree of .flac, .wav, .opus, .m4a, ... files.

    local/prepare_folder.py --corpus-dir my/recordings --nj 4 data

Where DIR/train exists, it is trained on, else all of DIR is. Every DIR/eval* beside it is evaluated and needs
labels: DIR/eval/speaker/[session/]utterance.flac. The training set needs none. Where all of it lies at
speaker/utterance or speaker/session/utterance, the folders directly below are taken for speakers (not where all are
called as dates are), and without DIR/eval* a share of them is held out as set eval; --eval-share 0 trains on all. What
was understood is said; --labelled and --unlabelled say otherwise. DIR/spk2gender (`speaker m|f` lines), where it
exists, keeps non-target trials within a gender.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.audio.files import Listing, fingerprint, list_recordings, refuse_without_ffmpeg
from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import run, say
from sdpn.corpus.clips import find_clips
from sdpn.corpus.folder import Scan, read_genders, scan, set_folders, understand
from sdpn.corpus.options import absolute
from sdpn.corpus.stage0 import GivenTrials, prepare, split_speakers, trials_of
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.recipe.program import program, stage0
from sdpn.utterance import Utterance


@program(__doc__, "data")
@stage0("folder")
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(data, given), partial(run_jobs, nj=nj)
    corpus_dir = Path(options["corpus_dir"])
    speech = {name: list_recordings(folder, run_all) for name, folder in set_folders(corpus_dir).items()}
    for listing in speech.values():
        if not listing.files:
            raise SdpnError(f"{listing.folder}: there is no audio file in it: {listing.what_else}")
        refuse_without_ffmpeg(listing)
    genders = read_genders(corpus_dir / "spk2gender")
    trials = GivenTrials.read(options)
    labelled = {name: is_labelled(name, listing, options, trials) for name, listing in speech.items()}
    inputs = {
        "files": digest([[name, fingerprint(listing.files)] for name, listing in speech.items()]),
        "genders": digest(genders),
        "trials": trials.fingerprint,
    }
    find = partial(find_speech, data, options, speech, labelled, genders, trials, run_all)
    prepare(data, "folder", options, inputs, find_clips(options, run_all), find, run_all, add_far)


def is_labelled(name: str, listing: Listing, options: dict[str, Any], given: GivenTrials) -> bool:
    """Return whether a set is labelled: an evaluation set must be, or have the trials that are given.

    Raises:
        SdpnError: recordings of an evaluation set lie directly in it, and no trials are given.
    """
    if name == "train":
        labelled, sentence = understand(listing, options["labelled"])
        say(f"  {sentence}")
        return labelled
    direct = [file.name for file in listing.files if "/" not in file.name]
    if direct and not given.trials:
        raise SdpnError(
            f"{listing.folder}: {len(direct)} recordings lie directly in it, e.g. {direct[0]}, but who speaks must be "
            f"known where it is evaluated: put them into {listing.folder}/SPEAKER/, or give --trials"
        )
    return not direct


def find_speech(
    data: Path,
    options: dict[str, Any],
    speech: dict[str, Listing],
    labelled: dict[str, bool],
    genders: dict[str, str],
    given: GivenTrials,
    run_all: Callable,
) -> Prepared:
    """Read all headers, and make sets and trials."""
    scans = {
        name: scan(listing, run_all, data / CACHE / name, labelled[name], genders) for name, listing in speech.items()
    }
    for found in scans.values():
        if not found.utterances:
            raise SdpnError(
                f"{found.folder}: none of {len(found.skipped)} files can be used (the first: {found.skipped[0]})"
            )
    sets = make_sets(scans, options, given)
    ids = {name: scans.get(name, scans["train"]).ids for name in sets if name != "train"}
    skipped = {name: found.skipped for name, found in scans.items()}
    trials = trials_of(given, ids, sets, data, options["seed"], skipped)
    return Prepared(sets, trials, {}, skipped)


def make_sets(scans: dict[str, Scan], options: dict[str, Any], given: GivenTrials) -> dict[str, list[Utterance]]:
    """The utterances of `train` and of every evaluation set.

    Where the folder itself has no evaluation set, the speakers that the trials name are one, or else a share; without
    labels there is none.
    """
    where = options["corpus_dir"]
    speech = {name: found.utterances for name, found in scans.items()}
    if list(speech) == ["train"]:
        ids = scans["train"].ids if given.trials else {}
        speech = split_speakers(speech["train"], ids, given, options, where, scans["train"].skipped)
    for name, utterances in speech.items():
        speakers = {utterance.speaker for utterance in utterances}
        if name != "train" and len(speakers) < 2 and speakers != {None}:
            found = f"one speaker alone ({next(iter(speakers))})" if speakers else "no speaker"
            raise SdpnError(f"{where}: {found} for the set {name}: at least two are needed")
    return speech


if __name__ == "__main__":
    run(main)
