#!/usr/bin/env python3
"""Stage 0 for a folder of recordings: speaker/[session/]utterance.flac, .wav, .opus, .m4a, ...

    local/prepare_folder.py --corpus-dir my/recordings --nj 4 data

Where DIR/train and one or more DIR/eval* exist, they are the sets, each with speakers below it; otherwise a share of
the speakers is held out as set eval. The first level is the speaker, the second the session; deeper levels belong to
the utterance's name. DIR/spk2gender (`speaker m|f` lines), where it exists, keeps non-target trials within a gender.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from sdpn.audio.files import Listing, fingerprint, list_audio, refuse_without_ffmpeg
from sdpn.cluster.pool import run_jobs
from sdpn.console import run
from sdpn.corpus.clips import find_clips
from sdpn.corpus.folder import Scan, read_genders, scan_speech, set_folders
from sdpn.corpus.options import absolute, stage0_options, trial_options
from sdpn.corpus.stage0 import GivenTrials, prepare, split_speakers, trials_of
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.utterance import Utterance

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "), context_settings={"show_default": True})
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--corpus-dir", required=True, type=click.Path(path_type=Path), help="the folder of recordings")
@trial_options
@click.option("--eval-share", default=0.2, type=SHARE, help="of the speakers, where they must be split")
@stage0_options
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(given), partial(run_jobs, nj=nj)
    corpus_dir = Path(options["corpus_dir"])
    speech = {name: list_audio(folder, run_all) for name, folder in set_folders(corpus_dir).items()}
    for listing in speech.values():
        if not listing.files:
            raise SdpnError(f"{listing.folder}: there is no audio file in it: {listing.what_else}")
        refuse_without_ffmpeg(listing)
    genders = read_genders(corpus_dir / "spk2gender")
    trials = GivenTrials.read(options)
    inputs = {
        "files": digest([[name, fingerprint(listing.files)] for name, listing in speech.items()]),
        "genders": digest(genders),
        "trials": trials.fingerprint,
    }
    find = partial(find_speech, data, options, speech, genders, trials, run_all)
    prepare(data, "folder", options, inputs, find_clips(options, run_all), find, run_all)


def find_speech(
    data: Path,
    options: dict[str, Any],
    speech: dict[str, Listing],
    genders: dict[str, str],
    given: GivenTrials,
    run_all: Callable,
) -> Prepared:
    """Read all headers, and make sets and trials."""
    scans = {name: scan_speech(listing, genders, run_all, data / CACHE / name) for name, listing in speech.items()}
    for scan in scans.values():
        if not scan.entries:
            raise SdpnError(
                f"{scan.folder}: none of {len(scan.skipped)} files can be used (the first: {scan.skipped[0]})"
            )
    sets = make_sets(scans, options, given)
    ids = {name: scans.get(name, scans["train"]).ids for name in sets if name != "train"}
    skipped = {name: scan.skipped for name, scan in scans.items()}
    trials = trials_of(given, ids, sets, data, options["seed"], skipped)
    return Prepared(sets, trials, {}, skipped)


def make_sets(scans: dict[str, Scan], options: dict[str, Any], given: GivenTrials) -> dict[str, list[Utterance]]:
    """The entries of `train` and of every evaluation set.

    Where the folder itself has no such sets, the speakers that the trials name are evaluated, or else a share.
    """
    where = options["corpus_dir"]
    speech = {name: scan.entries for name, scan in scans.items()}
    if list(speech) == ["train"]:
        ids = scans["train"].ids if given.trials else {}
        speech = split_speakers(speech["train"], ids, given, options, where, scans["train"].skipped)
    for name, entries in speech.items():
        speakers = {entry.speaker for entry in entries}
        if len(speakers) < 2:
            found = f"one speaker alone ({next(iter(speakers))})" if speakers else "no speaker"
            raise SdpnError(f"{where}: {found} for the set {name}: at least two are needed")
    return speech


if __name__ == "__main__":
    run(main)
