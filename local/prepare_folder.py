#!/usr/bin/env python3
"""Stage 0 for a folder of recordings: speaker/[session/]utterance.flac, .wav, .opus, ...

    local/prepare_folder.py --corpus-dir my/recordings --nj 4 data

Where DIR/train and one or more DIR/eval* exist, they are the sets, each with speakers below it; otherwise a share of
the speakers is held out as set eval. The first level is the speaker, the second the session; deeper levels belong to
the utterance's name. DIR/spk2gender (`speaker m|f` lines), where it exists, keeps non-target trials within a gender.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from sdpn.cluster.pool import run_jobs
from sdpn.console import run, say
from sdpn.corpus import synthetic
from sdpn.corpus.audio_files import Listing, fingerprint, list_audio
from sdpn.corpus.folder import Scan, choose_speakers, hold_out, read_genders, scan_clips, scan_speech, set_folders
from sdpn.corpus.manifests import Entry
from sdpn.corpus.trials import Trial, make_trials, name_by_id, read_trials, some
from sdpn.corpus.writer import prepare_once, write_corpus
from sdpn.errors import SdpnError
from sdpn.files import digest

FOLDER = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "), context_settings={"show_default": True})
@click.argument("data", type=FOLDER)
@click.option("--corpus-dir", required=True, type=FOLDER, help="the folder of recordings")
@click.option("--trials", type=FOLDER, help="`enroll test target|nontarget` or `1 enroll test` lines")
@click.option("--noise-dir", type=FOLDER, help="noises; synthetic ones serve where none are given")
@click.option("--music-dir", type=FOLDER, help="music, likewise")
@click.option("--rir-dir", type=FOLDER, help="room impulse responses, likewise")
@click.option("--eval-share", default=0.2, type=SHARE, help="of the speakers, where they must be split")
@click.option("--dev-speakers", default=0, type=click.IntRange(0), help="training speakers held out as set dev")
@click.option("--seed", default=1, type=click.IntRange(0))
@click.option("--nj", default=1, type=click.IntRange(1), help="processes")
def main(data: Path, nj: int, **given: Any) -> None:
    options = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in given.items()}
    if options["dev_speakers"] == 1:
        raise SdpnError("--dev-speakers is 1; give 0, or at least 2")
    sources = find_sources(options)
    make = partial(prepare, data, options, sources, partial(run_jobs, nj=nj))
    prepare_once(data, "folder", options, sources.fingerprint, make)


@dataclass(frozen=True)
class Sources:
    """What the user's folders hold.

    Attributes:
        speech: the files of each set; of `train` alone where its speakers must be split.
        clips: the files of each kind of `noise`, `music` and `rir` that was given.
        genders: by speaker.
        trials: the trials given, or none.
    """

    speech: dict[str, Listing]
    clips: dict[str, Listing]
    genders: dict[str, str]
    trials: list[Trial]

    @property
    def fingerprint(self) -> dict[str, str]:
        """What changes when the folders do."""
        listings = {**self.speech, **self.clips}
        files = digest([[name, fingerprint(listing.files)] for name, listing in listings.items()])
        inputs = {"files": files, "genders": digest(self.genders), "trials": digest(self.trials)}
        return inputs if set(synthetic.KINDS) <= set(self.clips) else {**inputs, "clips": synthetic.fingerprint()}


def find_sources(options: dict[str, Any]) -> Sources:
    """List the user's folders and read the small files.

    Raises:
        SdpnError: one is missing or holds no audio, or a file has not the form it should have.
    """
    corpus_dir = Path(options["corpus_dir"])
    speech = {name: list_audio(folder) for name, folder in set_folders(corpus_dir).items()}
    kinds = {kind: options[f"{kind}_dir"] for kind in synthetic.KINDS}
    clips = {kind: list_audio(folder) for kind, folder in kinds.items() if folder}
    for listing in [*speech.values(), *clips.values()]:
        if not listing.files:
            raise SdpnError(f"{listing.folder}: there is no audio file in it: {listing.what_else}")
    genders = read_genders(corpus_dir / "spk2gender")
    trials = read_trials(options["trials"]) if options["trials"] else []
    if len({trial.target for trial in trials}) == 1:
        raise SdpnError(
            f"{options['trials']}: all trials are {'' if trials[0].target else 'non-'}target: both are needed"
        )
    return Sources(speech, clips, genders, trials)


def prepare(data: Path, options: dict[str, Any], sources: Sources, run_all: Callable) -> list[Path]:
    """Read all headers, make sets and trials, and write them; return the files written."""
    scans = {name: scan_speech(listing, sources.genders, run_all) for name, listing in sources.speech.items()}
    clips = {kind: scan_clips(listing, run_all) for kind, listing in sources.clips.items()}
    for scan in [*scans.values(), *clips.values()]:
        if not scan.entries:
            path, reason = scan.skipped[0]
            raise SdpnError(
                f"{scan.folder}: none of {len(scan.skipped)} files can be used (the first: {path}: {reason})"
            )
    speech = make_sets(scans, options, sources.trials)
    named = name_trials(sources.trials, scans, speech, options["trials"]) if sources.trials else {}
    trials = {
        name: named.get(name) or generate(name, entries, options["seed"])
        for name, entries in speech.items()
        if name != "train"
    }
    lacking = [kind for kind in synthetic.KINDS if kind not in clips]
    if lacking:
        say(f"  synthetic clips serve as {', '.join(lacking)}: no folder was given for them")
    made = synthetic.make_clips(data / "audio", lacking, options["seed"], run_all)
    entries = {kind: clips[kind].entries if kind in clips else made[kind] for kind in synthetic.KINDS}
    skipped = {name: scan.skipped for name, scan in {**scans, **clips}.items()}
    audio = [Path(entry.path) for own in made.values() for entry in own]
    return [*audio, *write_corpus(data, "folder", options, speech, trials, entries, skipped)]


def make_sets(scans: dict[str, Scan], options: dict[str, Any], trials: list[Trial]) -> dict[str, list[Entry]]:
    """The entries of `train` and of every evaluation set.

    Where the folder itself has no such sets, the speakers that the trials name are evaluated, or else a share.
    """
    where = options["corpus_dir"]
    speech = {name: scan.entries for name, scan in scans.items()}
    if list(speech) == ["train"]:
        train = speech["train"]
        speakers = {entry.id: entry.speaker for entry in train}
        ids = scans["train"].ids
        named = {speakers[ids[name]] for trial in trials for name in (trial.enroll, trial.test) if name in ids}
        count = max(2, round(options["eval_share"] * len(set(speakers.values()))))
        chosen = named or choose_speakers(train, count, options["seed"], where)
        speech = dict(zip(("train", "eval"), hold_out(train, chosen), strict=True))
    if options["dev_speakers"]:
        chosen = choose_speakers(speech["train"], options["dev_speakers"], options["seed"], where)
        speech["train"], speech["dev"] = hold_out(speech["train"], chosen)
    for name, entries in speech.items():
        speakers = {entry.speaker for entry in entries}
        if len(speakers) < 2:
            found = f"one speaker alone ({next(iter(speakers))})" if speakers else "no speaker"
            raise SdpnError(f"{where}: {found} for the set {name}: at least two are needed")
    return speech


def name_trials(
    trials: list[Trial], scans: dict[str, Scan], speech: dict[str, list[Entry]], where: str
) -> dict[str, list[Trial]]:
    """The given trials by utterance id, for every evaluation set in which their names exist.

    Raises:
        SdpnError: a set lacks some of the names, or no set has any of them.
    """
    named = {}
    for name in speech:
        if name in ("train", "dev"):
            continue
        ids = scans.get(name, scans["train"]).ids
        own, unknown = name_by_id(trials, ids)
        if unknown and own:
            raise SdpnError(
                f"{where}: {len(unknown)} of its names are no usable utterances of {name}: {some(unknown)}; a name is "
                "an utterance id or a path below the evaluation set"
            )
        if own:
            named[name] = own
        else:
            say(f"  {name}: none of the names in {where} exists there, so its trials are made")
    if not named:
        raise SdpnError(f"{where}: its names exist in no evaluation set, e.g. {trials[0].enroll}")
    return named


def generate(name: str, entries: list[Entry], seed: int) -> list[Trial]:
    """Trials made from the labels of an evaluation set.

    Raises:
        SdpnError: no target trial can be made.
    """
    sessions = defaultdict(set)
    for entry in entries:
        sessions[entry.speaker].add(entry.session)
    single = sum(len(own) == 1 for own in sessions.values())
    trials = make_trials(entries, seed)
    if not any(trial.target for trial in trials):
        raise SdpnError(
            f"{name}: no speaker has two utterances, so there is no target trial: add some, or give --trials"
        )
    if single:
        say(f"  {name}: {single} of {len(sessions)} speakers have one session: their target trials lie within it")
    return trials


if __name__ == "__main__":
    run(main)
