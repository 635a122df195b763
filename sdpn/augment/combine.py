"""Several data folders as one: their training sets train together, and the evaluation sets of all stay.

Features, reverberated copies and banks are used where they lie. The combined folder holds indices over them, the trial
lists, the labels, and what stages 4 to 6 ask for besides.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sdpn.augment.config import NOISE_KINDS
from sdpn.augment.far import FAR
from sdpn.console import counted, say
from sdpn.corpus.layout import COMBINED, Corpus
from sdpn.corpus.writer import prepare_once
from sdpn.errors import SdpnError
from sdpn.features.combined import clashing_ids, combine, refuse_other_settings
from sdpn.features.index import FeatureIndex, open_features
from sdpn.files import digest, file_digest, write_text
from sdpn.shards import Work
from sdpn.tables import read_map
from sdpn.trials.names import some

_LISTS = ("utt2spk", "skipped.tsv", "skipped_fbank.txt")  # of an evaluation set, beside its index
_ORACLE = "utt2spk.oracle"


def combine_folders(parts: list[Path], data: Path) -> None:
    """Make `data` a folder for stages 4 to 6 of the data folders `parts`, unless it is one already and still holds.

    Utterances, speakers, evaluation sets and trial lists that several parts have under one name get the part's name
    in front, that of its folder. The banks of noise, music, babble and rooms are those of all parts together.

    Raises:
        SdpnError: a part is not finished to stage 3, two have features or banks of other settings, what one trains on
            is evaluated in another, or `data` holds something else.
    """
    folders = {folder.resolve().name: folder.resolve() for folder in parts}
    if len(folders) < len(parts) or len(parts) < 2:
        raise SdpnError("expected two or more data folders of different names, and the folder to combine them in")
    if data.resolve() in folders.values():
        raise SdpnError(f"{data} is one of the folders to be combined: give another one to combine them in")
    corpora = {name: Corpus.read(folder) for name, folder in folders.items()}
    _refuse_parts_twice(folders)
    train = {name: open_features(folders[name] / corpus.train) for name, corpus in corpora.items()}
    first = next(iter(train))
    for name, index in train.items():
        refuse_other_settings(first, train[first], name, index)
    banks = _banks(folders, train)
    inputs = {
        f"{name}": digest(
            train[name].fingerprint,
            banks[name].identity if name in banks else None,
            [open_features(folders[name] / set_name).fingerprint for set_name in corpus.evals],
            [file_digest(path) for path in sorted((folders[name] / "trials").glob("*"))],
            [file_digest(path) for path in _lists(folders[name], corpus)],
        )
        for name, corpus in corpora.items()
    }

    def make() -> list[Path]:
        _refuse_shared_recordings(folders)
        written, clashing = _combine_training_sets(folders, corpora, train, data)
        if banks:
            written += _combine_banks(folders, train, banks, clashing, data)
        evaluated, of_evaluation = _combine_evaluation_sets(folders, corpora, data)
        combined = Corpus(COMBINED, "train", list(evaluated.values()), of_evaluation[0], options=options)
        return [*written, *of_evaluation[1], combined.write(data)]

    options = {"parts": [str(folder) for folder in folders.values()]}
    prepare_once(data, COMBINED, options, inputs, make)


def _refuse_parts_twice(folders: dict[str, Path]) -> None:
    """Make sure that no data folder comes in twice, by itself or in others that are combined of it.

    Raises:
        SdpnError: one does: it would be trained on twice.
    """
    owners: dict[Path, Path] = {}
    for folder in folders.values():
        pending = [folder]
        while pending:
            part = pending.pop()
            if owners.setdefault(part, folder) != folder:
                other = owners[part]
                held = f"{other} and {folder} both hold {part}" if part not in (other, folder) else ""
                whole, own = (folder, other) if part == other else (other, folder)
                raise SdpnError(
                    f"{held or f'{whole} holds {own} already'}: it would be trained on twice: leave one of them out"
                )
            pending += [Path(below).resolve() for below in Corpus.read(part).parts]


def _lists(folder: Path, corpus: Corpus) -> list[Path]:
    """Return the files with the labels of a part and with what it left out."""
    paths = [folder / corpus.train / _ORACLE, *(folder / name / file for name in corpus.evals for file in _LISTS)]
    return [path for path in paths if path.exists()]


def _banks(folders: dict[str, Path], train: dict[str, FeatureIndex]) -> dict[str, Work]:
    """Return what stage 3 made in each part; nothing where it was run for none of them.

    Raises:
        SdpnError: it was run for some alone, before the features of now, or with other settings.
    """
    found = {name: Work.finished(folder / "augment", "augment") for name, folder in folders.items()}
    if not any(found.values()):
        say("  stage 3 was run for no part: training goes with --augment off alone")
        return {}
    first = next(name for name, work in found.items() if work)
    for name, work in found.items():
        if work is None or work.fingerprint.get("train") != train[name].fingerprint:
            raise SdpnError(
                f"{folders[name]}: its augmentation is missing or of other features: run stage 3 on it first"
            )
        mine, others = work.report(), found[first].report()
        for key in ("mode", "copies", "max_taps"):
            if mine.get(key) != others.get(key):
                raise SdpnError(
                    f"{folders[name]}/augment was made with other settings than {folders[first]}/augment ({key}): run "
                    "stage 3 on both with the same"
                )
    return {name: work for name, work in found.items() if work}


def _combine_training_sets(
    folders: dict[str, Path], corpora: dict[str, Corpus], train: dict[str, FeatureIndex], data: Path
) -> tuple[list[Path], set[str]]:
    """Write the index and the labels of the training set; return what was written, and the ids that clash."""
    clashing = clashing_ids(train.values())
    written = [*combine(data / "train", train, clashing), _remember(data / "train", train.values())]
    hours = sum(int(index.frames.sum()) * index.config.row_seconds for index in train.values()) / 3600
    say(f"  train: {counted(sum(map(len, train.values())), 'utterance')} of {', '.join(train)}, {hours:.2f} h")
    if clashing:
        say(f"  train: {len(clashing)} ids are in several parts and get the part's name in front, e.g. {min(clashing)}")
    labels = {name: folders[name] / corpus.train / _ORACLE for name, corpus in corpora.items()}
    oracle = data / "train" / _ORACLE
    oracle.unlink(missing_ok=True)
    if all(path.exists() for path in labels.values()):
        speakers = {name: read_map(path) for name, path in labels.items()}
        counts = Counter(speaker for own in speakers.values() for speaker in set(own.values()))
        lines = sorted(
            f"{_named(name, id, id in clashing)} {_named(name, speaker, counts[speaker] > 1)}\n"
            for name, own in speakers.items()
            for id, speaker in own.items()
        )
        write_text(oracle, "".join(lines))
        written.append(oracle)
    return written, clashing


def _combine_banks(
    folders: dict[str, Path], train: dict[str, FeatureIndex], banks: dict[str, Work], clashing: set[str], data: Path
) -> list[Path]:
    """Write the indices of the copies and of the banks of noise below data/augment; return the done-file."""
    folder = data / "augment"
    reports = {name: work.report() for name, work in banks.items()}
    report = next(iter(reports.values()))
    copies = [copy for _, names in report["copies"] for copy in names if copy]
    noises = [kind for kind in NOISE_KINDS if any(kind in own["noises"] for own in reports.values())]
    rooms = any(own["rooms"] for own in reports.values())
    work = Work(folder, "augment", {"train": FeatureIndex.open(data / "train").fingerprint, "parts": digest(reports)})
    work.begin()
    outputs = []
    for copy in copies:
        indices = {name: FeatureIndex.open(path / "augment" / copy, "stage 3") for name, path in folders.items()}
        outputs += combine(folder / copy, indices, clashing)
    for kind in [*noises, *(["rooms"] if rooms else [])]:
        have = {name for name, own in reports.items() if kind in own["noises"] or (kind == "rooms" and own["rooms"])}
        indices = {
            name: FeatureIndex.open(folders[name] / "augment" / kind, "stage 3") for name in folders if name in have
        }
        outputs += combine(folder / kind, indices, clashing_ids(indices.values()))
        say(f"  {kind}: {sum(map(len, indices.values()))} clips of {', '.join(indices)}")
    parts = {str(folders[name]): work.identity for name, work in banks.items()}
    work.finish(outputs, **{**report, "noises": noises, "rooms": rooms, "parts": parts})
    return [work.done_file]


def _combine_evaluation_sets(
    folders: dict[str, Path], corpora: dict[str, Corpus], data: Path
) -> tuple[dict[tuple[str, str], str], tuple[dict[str, str], list[Path]]]:
    """Write the evaluation sets of all parts and their trial lists.

    Returns:
        the name here by (part, set), and the trial lists by name with what was written.
    """
    sets = Counter(name for corpus in corpora.values() for name in corpus.evals)
    lists = Counter(name for corpus in corpora.values() for name in corpus.trials)
    names, trials, written = {}, {}, []
    for part, corpus in corpora.items():
        for name in corpus.evals:
            own = names[part, name] = _named(part, name, sets[name] > 1)
            index = open_features(folders[part] / name)
            written += [*combine(data / own, {part: index}, ()), _remember(data / own, [index])]
            written += [copied for file in _LISTS if (copied := _copy(folders[part] / name / file, data / own / file))]
        for name, of in corpus.trials.items():
            own = _named(part, name, lists[name] > 1)
            trials[own] = names[part, of]
            for ending in (".txt", ".enroll.map"):
                copied = _copy(folders[part] / "trials" / f"{name}{ending}", data / "trials" / f"{own}{ending}")
                written += [copied] if copied else []
            say(f"  trials/{own}.txt: those of {part}")
        if FAR in corpus.evals:
            others = ", ".join(other for other in corpora if other != part)
            say(f"  {names[part, FAR]}: its rooms and noises were kept out of {part} alone, {others} may train on them")
    return names, (trials, written)


def _named(part: str, name: str, clashes: bool) -> str:
    return f"{part}-{name}" if clashes else name


def _copy(source: Path, target: Path) -> Path | None:
    """Copy a list, or remove what stands in its place where there is none."""
    if not source.exists():
        target.unlink(missing_ok=True)
        return None
    write_text(target, source.read_text(encoding="utf-8"))
    return target


def _remember(directory: Path, indices: Any) -> Path:
    """Keep which features a combined set is of, for `open_features` to notice when they change."""
    work = Work(directory, "combined", {})
    work.finish([], parts={str(index.directory.resolve()): index.fingerprint for index in indices})
    return work.done_file


def _refuse_shared_recordings(folders: dict[str, Path]) -> None:
    """Make sure that no part evaluates recordings that another one trains on.

    Raises:
        SdpnError: one does; some recordings are named.
    """
    trained = {name: set(_recordings(folder, lambda corpus: [corpus.train])) for name, folder in folders.items()}
    for name, folder in folders.items():
        evaluated = set(_recordings(folder, lambda corpus: corpus.evals))
        for other, own in trained.items():
            shared = sorted(evaluated & own) if other != name else []
            if shared:
                raise SdpnError(
                    f"{len(shared)} recordings that {name} evaluates are trained on in {other}: {some(shared)}: take "
                    "them out of one"
                )


def _recordings(folder: Path, sets: Callable[[Corpus], list[str]]) -> Iterator[str]:
    """Yield the audio files of some sets of a data folder."""
    corpus = Corpus.read(folder)
    for part in corpus.parts:
        yield from _recordings(Path(part), sets)
    for name in [] if corpus.parts else sets(corpus):
        with gzip.open(folder / name / "recordings.jsonl.gz", "rb") as lines:
            for line in lines:
                yield json.loads(line)["sources"][0]["source"]
