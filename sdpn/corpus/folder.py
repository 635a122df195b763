"""A folder of recordings as a corpus: what is a set in it, who speaks, and what the paths say of each file."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.audio.files import Listing
from sdpn.audio.headers import probe
from sdpn.console import counted, say
from sdpn.errors import Reason, SdpnError
from sdpn.skipped import Skipped
from sdpn.tables import composed, lines_of
from sdpn.trials.names import some
from sdpn.utterance import Utterance

# 2024, 2024-05, 2024-05-17, 20240517 and the like
_DATE = re.compile(r"(19|20)\d\d([-_.]?(0[1-9]|1[0-2])([-_.]?([0-2]\d|3[01]))?)?", re.ASCII)


@dataclass(frozen=True)
class Scan:
    """What of a folder can be used.

    Attributes:
        folder: the folder.
        utterances: the usable utterances (or clips), sorted by path.
        skipped: what cannot be used, and why.
    """

    folder: Path
    utterances: list[Utterance]
    skipped: list[Skipped]

    @property
    def ids(self) -> dict[str, str]:
        """Utterance id by every name it may have in a trial list: id, path below the folder, that without extension.

        A path without its extension counts where it is one file's alone.
        """
        folder = os.path.join(self.folder, "")
        names = {composed(utterance.source.removeprefix(folder)): utterance.id for utterance in self.utterances}
        stems = [os.path.splitext(name)[0] for name in names]
        unique = {stem for stem, count in Counter(stems).items() if count == 1}
        by_stem = {stem: id for stem, id in zip(stems, names.values(), strict=True) if stem in unique}
        return {**by_stem, **names, **{id: id for id in names.values()}}


def set_folders(corpus_dir: Path) -> dict[str, Path]:
    """The folders that are sets: `train` and every `eval*` of `corpus_dir`; else all of it is `train`.

    Without a folder `train`, one whose name goes on with a letter, such as `evalyn`, is a speaker's. Where `train` is
    there, what else lies in `corpus_dir` is no set, and is said.

    Raises:
        SdpnError: there is no such folder, or it holds evaluation sets without `train`.
    """
    if not corpus_dir.is_dir():
        raise SdpnError(f"{corpus_dir}: there is no such folder")
    evals = sorted(path for path in corpus_dir.glob("eval*") if path.is_dir())
    train = corpus_dir / "train"
    if not train.is_dir():
        evals = [path for path in evals if not path.name[4:5].isalpha()]
        if evals:
            raise SdpnError(
                f"{corpus_dir} holds a folder {evals[0].name} but none named train: put what is to be trained on into "
                f"{train}"
            )
        return {"train": corpus_dir}
    sets = {path.name: path for path in [train, *evals]}
    others = sorted(path.name for path in corpus_dir.iterdir() if path.is_dir() and path.name[0] != ".")
    others = [name for name in others if name not in sets]
    if others:
        say(f"  {corpus_dir}: {', '.join(sets)} are used, the other folders are not: {some(others)}")
    return sets


def understand(listing: Listing, labelled: bool | None = None) -> tuple[bool, str]:
    """Decide whether the folders directly below a tree are speakers, and give the sentence that says why.

    They are where every recording lies at speaker/utterance or speaker/session/utterance, of two speakers at least,
    unless all of these folders are called as dates are. Any other tree has no speakers.

    Args:
        labelled: what the user says, None for nothing.

    Raises:
        SdpnError: the user says that folders are speakers where there are none.
    """
    names = [file.name for file in listing.files]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    direct = [name for name in names if "/" not in name]
    deep = [name for name in names if name.count("/") > 2]
    where, count = listing.folder, f"{len(folders)} folder{'s' if len(folders) != 1 else ''} directly below"
    if labelled and not folders:
        raise SdpnError(f"{where}: --labelled says that folders are speakers, but all recordings lie directly in it")
    if labelled:
        return True, f"{where}: {count} taken for speakers, as --labelled says"
    if labelled is False:
        return False, f"{where}: {counted(len(names), 'recording')} without speaker labels, as --unlabelled says"
    if direct:
        why = f"{len(direct)} of {len(names)} recordings lie directly in it"
    elif deep:
        why = f"{len(deep)} of {len(names)} recordings lie more than two folders deep, as {deep[0]} does"
    elif len(folders) < 2:
        why = f"all recordings lie in one folder, {min(folders, default='')}"
    elif all(_DATE.fullmatch(name) for name in folders):
        why = f"{count} are called as dates are, as {min(folders)}"
    else:
        return True, f"{where}: {count} taken for speakers; --unlabelled says they are none"
    hint = ""
    if folders:
        hint = f"; --labelled says that the {count} {'are speakers' if len(folders) > 1 else 'is a speaker'}"
    return False, f"{where}: taken for {counted(len(names), 'recording')} without speaker labels, since {why}{hint}"


def scan(
    listing: Listing,
    run: Callable,
    cache: Path | None = None,
    labelled: bool = False,
    genders: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Scan:
    """Name the listed files by their paths, and read their headers; see `headers.probe` for `run` and `cache`.

    An id is the path with `-` for `/` and `_` for white space; where two files would get one id, or two folders one
    speaker, the later ones get `~2`, `~3` and so on.

    Args:
        labelled: the first level names the speaker, the second one the session; deeper levels belong to the
            utterance's name. Otherwise utterances, or clips, have no labels.
        genders: of speakers, where they are known.
        prefix: begins the ids where there are no labels.
    """
    skipped = list(listing.skipped)
    files = {file.name: file for file in listing.files}
    speakers: dict[str, str] = {}
    if labelled:
        nobody = Reason("it lies in no speaker's folder")
        skipped += [Skipped(file.path, nobody) for name, file in files.items() if "/" not in name]
        files = {name: file for name, file in files.items() if "/" in name}
        speakers = _distinct({folder: _as_id(folder) for folder in {name.partition("/")[0] for name in files}})
    wanted = {}
    for name in files:
        folder, _, rest = name.partition("/") if labelled else ("", "", name)
        wanted[name] = (f"{speakers[folder]}-" if labelled else prefix) + _as_id(os.path.splitext(rest)[0])
    ids = _distinct(wanted)
    utterances = []
    headers = probe(list(files.values()), run, f"headers below {listing.folder}", cache)
    for (name, file), header in zip(files.items(), headers, strict=True):
        if isinstance(header, Reason):
            skipped.append(Skipped(file.path, header))
            continue
        utterance = Utterance(ids[name], file.path, *header)
        if labelled:
            folder, *levels = name.split("/")
            utterance.speaker, utterance.gender = speakers[folder], (genders or {}).get(folder)
            utterance.session = f"{speakers[folder]}-{_as_id(levels[0])}" if len(levels) > 1 else None
        utterances.append(utterance)
    return Scan(listing.folder, utterances, skipped)


def _as_id(name: str) -> str:
    return re.sub(r"\s+", "_", name).replace("/", "-")


def _distinct(wanted: Mapping[str, str]) -> dict[str, str]:
    """A name of its own for everything that wants one; of those who want the same, all but the first get `~2`, ..."""
    names: dict[str, str] = {}
    taken = set()
    for original in sorted(wanted, key=str.encode):
        name, number = wanted[original], 2
        while name in taken:
            name, number = f"{wanted[original]}~{number}", number + 1
        taken.add(name)
        names[original] = name
    return names


def read_genders(path: Path) -> dict[str, str]:
    """Read `speaker m|f` lines (Kaldi's spk2gender); an absent file knows no gender.

    Raises:
        SdpnError: a line has another form.
    """
    if not path.exists():
        return {}
    genders = {}
    for number, line in lines_of(path, "list of genders"):
        words = line.rsplit(maxsplit=1)
        if len(words) != 2 or words[1].lower() not in ("m", "f", "male", "female"):
            raise SdpnError(f"{path}, line {number}: expected `speaker m` or `speaker f`, got '{line[:80]}'")
        genders[composed(words[0])] = words[1].lower()[:1]
    return genders


def choose_speakers(utterances: list[Utterance], count: int, seed: int, where: str) -> set[str]:
    """`count` speakers of `utterances` to be held out: such as can have target trials.

    They have two sessions each where there are enough of those, else two utterances.

    Raises:
        SdpnError: fewer than two speakers would stay, or too few have two utterances; it names `where`.
    """
    sessions: dict[str, set[str | None]] = defaultdict(set)
    for utterance in utterances:
        sessions[utterance.speaker].add(utterance.session)
    if len(sessions) < count + 2:
        speakers = "one speaker" if len(sessions) == 1 else f"{len(sessions)} speakers"
        raise SdpnError(f"{where}: {speakers}; at least {count + 2} are needed: {count} to hold out and 2 to train on")
    counts = Counter(utterance.speaker for utterance in utterances)
    across = sorted(speaker for speaker, own in sessions.items() if len(own) > 1)
    within = sorted(speaker for speaker, own in counts.items() if own > 1)
    candidates = across if len(across) >= count else within
    if len(candidates) < count:
        raise SdpnError(f"{where}: {len(candidates)} speakers have two utterances; {count} such are needed for trials")
    order = np.random.default_rng([seed, 8]).permutation(len(candidates))
    return {candidates[i] for i in order[:count]}


def hold_out(utterances: list[Utterance], speakers: set[str]) -> tuple[list[Utterance], list[Utterance]]:
    """The utterances of all others, and those of `speakers`."""
    stay = [utterance for utterance in utterances if utterance.speaker not in speakers]
    return stay, [utterance for utterance in utterances if utterance.speaker in speakers]
