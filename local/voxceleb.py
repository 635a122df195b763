"""VoxCeleb 1 and 2 as their archives unpack: which files there are, who speaks, and the official trial lists.

Lhotse has a recipe. Ids, speakers and genders here are those that it gives (there is a test), yet it is not called: it
trains on VoxCeleb1 dev, whose speakers the lists E and H evaluate, and on VoxCeleb2 test; it fetches an older trial
list, of O alone, into the current folder; it takes m4a alone for VoxCeleb2; one broken file ends it; and it needs hours
where it picks the files of a part out of a list by comparing each id with all others.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sdpn.audio.files import AudioFile, Listing
from sdpn.audio.headers import probe
from sdpn.console import say
from sdpn.errors import Reason, SdpnError
from sdpn.skipped import Skipped
from sdpn.tables import lines_of
from sdpn.trials.lists import Trials, read_trials, refuse_one_kind
from sdpn.utterance import Utterance

_FILE = re.compile(r"(?:^|/)(id\d{5})/([^/\s]+)/([^/\s]+)\.[^/.]+$")
_ID = re.compile(r"id\d{5}-[^/\s]+-[^/\s]+")
_TEST_PART = re.compile(r"(?:^|[/_-])test(?:[/_-]|$)")
DEV_SPEAKERS = 5994  # of VoxCeleb2

META = {"vox1": "vox1_meta.csv", "vox2": "vox2_meta.csv"}


@dataclass(frozen=True)
class OfficialList:
    """A trial list of VoxCeleb1: its file, and how many trials it and the other version (cleaned, original) have."""

    file: str
    trials: int
    other: int


# Papers mix the versions, which have like names: `veri_test2.txt` is the cleaned one.
LISTS = {
    "vox1_O_cleaned": OfficialList("veri_test2.txt", 37611, 37720),
    "vox1_E_cleaned": OfficialList("list_test_all2.txt", 579818, 581480),
    "vox1_H_cleaned": OfficialList("list_test_hard2.txt", 550894, 552536),
    "vox1_O_original": OfficialList("veri_test.txt", 37720, 37611),
    "vox1_E_original": OfficialList("list_test_all.txt", 581480, 579818),
    "vox1_H_original": OfficialList("list_test_hard.txt", 552536, 550894),
}
WHERE = "https://mm.kaist.ac.kr/datasets/voxceleb/"


def utterance_id(name: str) -> str | None:
    """`id10270-x6uYqmx31kE-00001` for any path that ends in `id10270/x6uYqmx31kE/00001.wav`, None for any other."""
    found = _FILE.search(name)
    return "-".join(found.groups()) if found else None


def find_file(name: str, folders: Iterable[Path]) -> Path | None:
    """The first of `folders` that has a file of that name, or has it in `meta` or `trials`."""
    for folder in folders:
        for place in (folder, folder / "meta", folder / "trials"):
            if (place / name).is_file():
                return place / name
    return None


@dataclass(frozen=True)
class Meta:
    """What vox1_meta.csv or vox2_meta.csv says of the speakers: genders, and those of the test part."""

    genders: dict[str, str]
    test: set[str]

    @staticmethod
    def read(path: Path | None) -> "Meta":
        """Read the file (VoxCeleb1: tabs, VoxCeleb2: commas); nothing is known without one.

        Raises:
            SdpnError: a line has another form.
        """
        genders, test = {}, set()
        for number, line in lines_of(path, "list of speakers") if path else ():
            words = [word.strip() for word in re.split(r"[\t,]", line)]
            if number == 1:
                continue
            speaker, gender, part = words[0], words[2] if len(words) > 2 else "", words[-1]
            if not re.fullmatch(r"id\d{5}", speaker) or gender not in ("m", "f") or part not in ("dev", "test"):
                raise SdpnError(
                    f"{path}, line {number}: expected `id, name, m or f, ..., dev or test`, got '{line[:80]}'"
                )
            genders[speaker] = gender
            if part == "test":
                test.add(speaker)
        return Meta(genders, test)


def of_voxceleb2_dev(listing: Listing, meta: Meta) -> Listing:
    """The files of VoxCeleb2's dev part: by vox2_meta.csv, or else by a folder `test` in their paths.

    Raises:
        SdpnError: there is no way to tell the parts apart, though there are more speakers than the dev part has.
    """
    wanted = listing.where(
        lambda file: (
            _speaker(file.name) not in meta.test
            if meta.test
            else not _TEST_PART.search(file.name[: file.name.find("/id") + 1])
        )
    )
    left_out = len(listing.files) - len(wanted.files)
    if left_out:
        say(f"  {left_out} files of VoxCeleb2's test part are left out: the papers train on its dev part")
    speakers = len({_speaker(file.name) for file in wanted.files} - {None})
    if speakers > DEV_SPEAKERS:
        raise SdpnError(
            f"{listing.folder} has {speakers} speakers where VoxCeleb2's dev part has {DEV_SPEAKERS}: its test part is "
            f"among them; put {META['vox2']} there to tell them apart (--download fetches it)"
        )
    if speakers < DEV_SPEAKERS:
        say(f"  {speakers} of the {DEV_SPEAKERS} speakers of VoxCeleb2's dev part are there")
    return wanted


def _speaker(name: str) -> str | None:
    found = _FILE.search(name)
    return found[1] if found else None


def scan(
    listing: Listing, genders: dict[str, str], run: Callable, cache: Path, wanted: set[str] | None = None
) -> tuple[list[Utterance], list[Skipped]]:
    """The utterances of a part; see `headers.probe` for `run` and `cache`.

    Args:
        wanted: the ids that are wanted; None for all.

    Returns:
        the usable ones and what is left out.
    """
    skipped = list(listing.skipped)
    files: list[AudioFile] = []
    ids: list[str] = []
    for file in listing.files:
        id = utterance_id(file.name)
        if id is None:
            if wanted is None:
                reason = Reason("its path does not end in idNNNNN/video/utterance, or has white space in it")
                skipped.append(Skipped(file.path, reason))
        elif wanted is None or id in wanted:
            files.append(file)
            ids.append(id)
    utterances = []
    shared: dict[str, str] = {}  # one string for a label, however many utterances have it
    for id, file, header in zip(ids, files, probe(files, run, f"headers below {listing.folder}", cache), strict=True):
        if isinstance(header, Reason):
            skipped.append(Skipped(file.path, header))
            continue
        speaker, session = id.split("-", 1)[0], id[: id.rindex("-")]
        speaker, session = shared.setdefault(speaker, speaker), shared.setdefault(session, session)
        utterances.append(Utterance(id, file.path, *header, speaker, session, genders.get(speaker)))
    return utterances, skipped


def read_official(name: str, path: Path) -> Trials:
    """Read one of `LISTS`.

    Raises:
        SdpnError: it has not the form it should have, or it has the length of the other version.
    """
    trials, official = read_trials(path), LISTS[name]
    refuse_one_kind(trials, path)
    if len(trials) == official.other:
        raise SdpnError(
            f"{path} has {len(trials)} trials, which is the other version of the list than {name} "
            f"({official.trials} trials): put the right file there (--download fetches it)"
        )
    if len(trials) != official.trials:
        say(f"  {name}: {len(trials)} trials where the official list has {official.trials}")
    return trials


def ids_of(trials: Trials, models: Mapping[str, list[str]]) -> dict[str, str]:
    """The utterance id of every name in trials and models that has the form of one.

    That is a path (VoxSRC puts folders before it), with its extension or without, or an id, as in lists for Kaldi.
    """
    names = (trials.enrolled | trials.tested).union(*models.values())
    ids = {name: utterance_id(name) or utterance_id(f"{name}.wav") for name in names}
    return {name: id or name for name, id in ids.items() if id or _ID.fullmatch(name)}
