"""CN-Celeb 1 and 2 as their archives unpack: train speakers, evaluation utterances, enrollment maps and trials.

    CN-Celeb_flac/data/id00000/singing-01-001.flac     every speaker; those of dev/dev.lst are trained on
    CN-Celeb_flac/eval/test/id00800-singing-01-001.flac
    CN-Celeb_flac/eval/enroll/id00800-enroll.flac      what enroll.map names, joined
    CN-Celeb_flac/eval/lists/{trials.lst,enroll.map,enroll.lst}
    CN-Celeb2_flac/data/id10000/vlog-01-001.flac       every speaker is trained on

The lists name .wav files where the archives hold .flac, so names are compared without their extension.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sdpn.audio.files import AudioFile, Listing
from sdpn.audio.headers import probe
from sdpn.console import say
from sdpn.corpus.stage0 import GivenTrials
from sdpn.errors import Reason, SdpnError
from sdpn.skipped import Skipped
from sdpn.tables import read_names
from sdpn.trials.lists import (
    Trial,
    Trials,
    TrialSet,
    name_by_id,
    name_models,
    read_enroll_map,
    read_trials,
    refuse_one_kind,
)
from sdpn.utterance import Utterance

WHERE = "it is at https://www.openslr.org/82/, and --download fetches it (22 GB and more)"


def find_root(folder: Path, number: int) -> Path:
    """The folder of CN-Celeb `number` that has `data`: the one given, or the one of the archive's name in it.

    Raises:
        SdpnError: neither has.
    """
    names = ("CN-Celeb_flac", "CN-Celeb_wav") if number == 1 else ("CN-Celeb2_flac", "CN-Celeb2_wav")
    needed = ("data", "eval") if number == 1 else ("data",)
    for candidate in (folder, *(folder / name for name in names)):
        if all((candidate / part).is_dir() for part in needed):
            return candidate
    raise SdpnError(
        f"{folder} is not CN-Celeb{number} as its archive unpacks: no folder {' and '.join(needed)}; {WHERE}"
    )


@dataclass(frozen=True)
class Protocol:
    """What the lists of CN-Celeb1 say.

    Attributes:
        train_speakers: those of dev.lst; None where there is none.
        trials: enrolled model against `test/...`, without extensions.
        models: paths below `data` (no extensions) that each model is made of; empty without enroll.map.
        joined: path below `eval` (no extension) of each model's joined utterances; empty without enroll.lst.
    """

    train_speakers: set[str] | None
    trials: list[Trial]
    models: dict[str, list[str]]
    joined: dict[str, str]

    @staticmethod
    def read(root: Path) -> "Protocol":
        """Read dev.lst and eval/lists; converted copies of the corpus often leave the lists in CN-Celeb_flac beside.

        Raises:
            SdpnError: the trials are missing, or a list has not the form it should have.
        """
        roots = (root, root.parent / "CN-Celeb_flac")
        lists = next((place / "eval" / "lists" for place in roots if (place / "eval" / "lists").is_dir()), None)
        if lists is None:
            raise SdpnError(f"{root}/eval/lists is missing: it holds trials.lst and enroll.map; {WHERE}")
        dev = next((place / "dev" / "dev.lst" for place in roots if (place / "dev" / "dev.lst").is_file()), None)
        trials = read_trials(lists / "trials.lst")
        refuse_one_kind(trials, lists / "trials.lst")
        models = read_enroll_map(lists / "enroll.map", optional=True)
        joined = read_enroll_map(lists / "enroll.lst", optional=True)
        if not models and not joined:
            raise SdpnError(f"{lists}: there is neither enroll.map nor enroll.lst, so nobody knows who is enrolled")
        named = trials.enrolled
        return Protocol(
            set(read_names(dev, "list of speakers")) if dev else None,
            [Trial(trial.enroll, _stem(trial.test), trial.target) for trial in trials],
            {
                # In some copies the map names a model by its speaker alone
                model if model in named or f"{model}-enroll" not in named else f"{model}-enroll": [
                    _stem(name) for name in names
                ]
                for model, names in models.items()
            },
            {model: _stem(names[0]) for model, names in joined.items()},
        )

    @property
    def eval_speakers(self) -> set[str]:
        """Speakers of the evaluation, by the names of its files."""
        tests = {_speaker_of(os.path.basename(trial.test)) for trial in self.trials}
        return tests | {_speaker_of(name) for names in self.models.values() for name in names}


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _speaker_of(name: str) -> str:
    return name.split("/")[0].split("-")[0]


def train_part(listing: Listing, protocol: Protocol) -> Listing:
    """The files below CN-Celeb1's `data` that are trained on."""
    if protocol.train_speakers is None:
        say("  there is no dev/dev.lst: whoever is not evaluated is trained on")
        evaluated = protocol.eval_speakers
        return listing.where(lambda file: _speaker_of(file.name) not in evaluated)
    return listing.where(lambda file: _speaker_of(file.name) in protocol.train_speakers)


def scan_train(listings: Iterable[Listing], run: Callable, cache: Path) -> tuple[list[Utterance], list[Skipped]]:
    """The utterances below `data` folders: speaker/genre-session-number."""
    utterances, skipped = [], []
    for number, listing in enumerate(listings):
        skipped += listing.skipped
        files = []
        for file in listing.files:
            if file.name.count("/") == 1 and len(file.name.split()) == 1:
                files.append(file)
            else:
                skipped.append(
                    Skipped(file.path, Reason("its path is not speaker/utterance, or has white space in it"))
                )
        for file, header in _headers(files, run, f"headers below {listing.folder}", cache / str(number), skipped):
            speaker, name = _stem(file.name).split("/")
            utterances.append(_utterance(f"{speaker}-{name}", file, header, speaker, name))
    return utterances, skipped


@dataclass(frozen=True)
class Evaluation:
    """The utterances of the evaluation, what was skipped, and the trial lists with the names that are not there.

    `known` are the names that are there.
    """

    utterances: list[Utterance]
    skipped: list[Skipped]
    trials: dict[str, TrialSet]
    unknown: dict[str, list[str]]
    known: list[str]


def scan_eval(
    data: Listing, evaluation: Listing, protocol: Protocol, given: GivenTrials, run: Callable, cache: Path
) -> Evaluation:
    """The utterances that the trials name: tests, those of enrolled models (below `data`), and their joined copies.

    Two lists come of it: `cnceleb`, whose models are made of several utterances, and `cnceleb_joined`, whose models are
    one recording each. Papers report either. The list that is given names files as these do, with or without extension.
    """
    wanted = {trial.test for trial in protocol.trials} | set(protocol.joined.values()) | set(map(_stem, given.names))
    enrolled = {name for names in protocol.models.values() for name in names}
    enrolled |= {_stem(name).removeprefix("data/") for name in given.names}
    roles = [(file, _stem(file.name)) for file in evaluation.files if _stem(file.name) in wanted]
    roles += [(file, f"data/{_stem(file.name)}") for file in data.files if _stem(file.name) in enrolled]
    role_of = {file.path: role for file, role in roles}
    joined = {name: model for model, name in protocol.joined.items()}
    skipped = list(evaluation.skipped)
    utterances, ids = [], {}
    for file, header in _headers([file for file, _ in roles], run, "headers of the evaluation", cache, skipped):
        role = role_of[file.path]
        name = os.path.basename(role)
        if role.startswith("data/"):
            speaker, id = role.split("/")[1], f"{role.split('/')[1]}-enroll-{name}"
        elif role in joined:
            speaker = _speaker_of(name)
            id = f"{speaker}-joined"
        else:
            speaker, _, rest = name.partition("-")
            name, id = rest, f"{speaker}-test-{rest}"
        ids[role] = id
        utterances.append(_utterance(id, file, header, speaker, name))
    sets, unknown = {}, {}
    if protocol.models:
        used = {trial.enroll for trial in protocol.trials}
        trials, lacking = name_by_id(protocol.trials, ids, protocol.models)
        models, missing = name_models(
            {model: [f"data/{name}" for name in names] for model, names in protocol.models.items()}, ids, used
        )
        sets["cnceleb"], unknown["cnceleb"] = TrialSet("eval", trials, models), sorted({*lacking, *missing})
    has_joined = any(name in ids for name in joined)
    if protocol.joined and (has_joined or not protocol.models):
        enrolled_ids = {model: ids[name] for model, name in protocol.joined.items() if name in ids}
        trials, lacking = name_by_id(protocol.trials, {**ids, **enrolled_ids})
        sets["cnceleb_joined"], unknown["cnceleb_joined"] = TrialSet("eval", trials), lacking
    if given.trials:
        names = {name: ids.get(_stem(name)) or ids.get(f"data/{_stem(name)}") for name in given.names}
        known = {name: id for name, id in names.items() if id}
        trials, lacking = name_by_id(given.trials, known, given.models)
        models, missing = name_models(given.models, known, Trials.of(given.trials).enrolled)
        sets[given.name] = TrialSet("eval", trials, models)
        unknown[given.name] = sorted({*lacking, *missing})
    return Evaluation(utterances, skipped, sets, unknown, list(ids))


def _headers(files: list[AudioFile], run: Callable, title: str, cache: Path, skipped: list[Skipped]):
    """The files that can be used, with their headers; the others join `skipped`."""
    for file, header in zip(files, probe(files, run, title, cache), strict=True):
        if isinstance(header, Reason):
            skipped.append(Skipped(file.path, header))
        else:
            yield file, header


def _utterance(id: str, file: AudioFile, header: tuple, speaker: str, name: str) -> Utterance:
    """An utterance named genre-session-number; the session is the first two."""
    session = name.rpartition("-")[0]
    return Utterance(id, file.path, *header, speaker, f"{speaker}-{session}" if session else None)
