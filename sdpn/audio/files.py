"""Audio files below a folder: which there are, by their names, or where these tell nothing by how they begin."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sdpn.audio.decoders import ffmpeg
from sdpn.console import counted, say
from sdpn.errors import Reason, SdpnError
from sdpn.files import Stamp
from sdpn.skipped import Skipped
from sdpn.tables import composed

# What libsndfile reads
_NAMES = ("wav", "wave", "flac", "opus", "ogg", "oga", "mp3", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64")
EXTENSIONS = frozenset(f".{name}" for name in (*_NAMES, "sph", "nist", "voc", "avr", "htk", "mp2", "mpga", "bwf"))
EXTENSIONS |= ffmpeg.EXTENSIONS
# How audio begins that may be called anything (.wv1, .ulaw, .spx1, ...); video is none, nor what two bytes would tell
_BEGINNINGS = (b"RIFX", b"fLaC", b"OggS", b".snd", b"caff", b"NIST_1A", b"Creative Voice", b"#!AMR", b"wvpk", b"TTA1")
# Lists and labels that lie among the audio of any corpus: they are not opened
_LISTS = ("txt", "json", "jsonl", "csv", "tsv", "xml", "lab", "trn", "ctm", "textgrid", "wrd", "phn", "stm", "rttm")
_OTHERS = ("md", "html", "pdf", "jpg", "png", "gz", "zip", "py", "sh", "log", "yaml")
_TEXTS = frozenset(f".{name}" for name in (*_LISTS, *_OTHERS))

_LOSSLESS = (".flac", ".wav", ".wave", ".sph", ".aiff", ".aif", ".w64", ".rf64", ".caf", ".au")
_FOLDERS_PER_JOB = 32


@dataclass(frozen=True, slots=True)
class AudioFile:
    """An audio file as the file system shows it.

    Attributes:
        folder: the folder that was listed.
        raw: its path below that folder, as the file system has it.
        stamp: size and time of change.
    """

    folder: str
    raw: str
    stamp: Stamp

    @property
    def path(self) -> str:
        """Where it lies."""
        return os.path.join(self.folder, self.raw)

    @property
    def name(self) -> str:
        """Its path below the folder in Unicode's composed form (NFC)."""
        return composed(self.raw)


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        folder: the folder.
        files: files with an extension of `EXTENSIONS`, and others that begin as audio does, sorted by name.
        skipped: folders and files that cannot be used.
        others: how many files have each other extension.
        passed_over: how many audio files `where` took away.
    """

    folder: Path
    files: list[AudioFile]
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)
    passed_over: int = 0

    @property
    def what_else(self) -> str:
        """What is there beside audio files, in a few words."""
        if self.passed_over:
            return f"{self.passed_over} audio files are of another part"
        if self.skipped:
            return str(self.skipped[0])
        if self.others:
            most = ", ".join(f"{count} {extension}" for extension, count in self.others.most_common(5))
            return f"other files only ({most})"
        return "it is empty"

    def where(self, wanted: Callable[[AudioFile], bool]) -> "Listing":
        """The same with those files alone that are wanted."""
        files = [file for file in self.files if wanted(file)]
        return replace(self, files=files, passed_over=len(self.files) - len(files))


def serially(function: Callable, jobs: Iterable[tuple]) -> Iterator:
    """Yield `function(*job)` for every job, in this process."""
    return (function(*job) for job in jobs)


def _preference(file: AudioFile) -> tuple[int, int, str]:
    """Smaller for the file that is to be taken of several forms of one recording."""
    extension = os.path.splitext(file.raw)[1].lower()
    rank = _LOSSLESS.index(extension) if extension in _LOSSLESS else len(_LOSSLESS)
    return int(extension in ffmpeg.EXTENSIONS), rank, extension


def list_recordings(folder: str | Path, run: Callable[..., Iterable] = serially) -> Listing:
    """List the recordings of a corpus: as `list_audio` does, with one file of those that differ in the extension alone.

    Conversion scripts leave x.wav beside x.m4a: both are one recording. The lossless one is taken, or the one that
    libsndfile reads. What is not taken is said.

    Raises:
        SdpnError: see `list_audio`.
    """
    listing = list_audio(folder, run)
    kept: dict[str, AudioFile] = {}
    for file in listing.files:
        stem = os.path.splitext(file.raw)[0]
        other = kept.setdefault(stem, file)
        if other is not file and _preference(file) < _preference(other):
            kept[stem] = file
    if len(kept) < len(listing.files):
        chosen = {file.raw for file in kept.values()}
        copies = [file for file in listing.files if file.raw not in chosen]
        listing = replace(listing, files=[file for file in listing.files if file.raw in chosen])
        forms = sorted({os.path.splitext(file.raw)[1] for file in copies})
        say(
            f"  {folder}: {counted(len(copies), 'file is', 'files are')} another form of a file beside them, "
            f"e.g. {copies[0].name}: they are "
            f"left out ({', '.join(forms)})"
        )
    if listing.files and listing.others:
        most = ", ".join(f"{count} {extension}" for extension, count in listing.others.most_common(5))
        say(f"  {folder}: {sum(listing.others.values())} other files are no audio by name or content ({most})")
    return listing


class _Folder(NamedTuple):
    """One folder: its name below the listed one, who it is, its audio files with their stamps, and the rest."""

    name: str
    identity: tuple
    files: list[tuple[str, Stamp]]
    skipped: list[Skipped]
    others: Counter


_Pending = tuple[str, tuple[tuple[int, int], ...]]
"""A folder still to be looked into: its name below the listed one, and who it and those above it are."""


def list_audio(folder: str | Path, run: Callable[..., Iterable] = serially) -> Listing:
    """List the audio files below `folder`; links are followed, names with a leading dot are passed over.

    A folder that can be reached in two ways is listed once, a link that leads back up not at all.

    Args:
        run: yields `function(*job)` for every job, in any order.

    Raises:
        SdpnError: there is no such folder.
    """
    root = str(folder)
    if not os.path.isdir(root):
        raise SdpnError(f"{folder}: there is no such folder")
    found: list[_Folder] = []
    pending: list[_Pending] = [("", ())]
    while pending and len(pending) < _FOLDERS_PER_JOB:  # the upper levels here, until there is enough to share out
        below = [_look_into(root, *one) for one in pending]
        found += [here for here, _ in below if here is not None]
        pending = [one for _, more in below for one in more]
    jobs = [(root, pending[i : i + _FOLDERS_PER_JOB]) for i in range(0, len(pending), _FOLDERS_PER_JOB)]
    for folders in run(_walk, jobs):
        found += folders
    files: list[AudioFile] = []
    skipped: list[Skipped] = []
    others: Counter = Counter()
    entered = set()
    for here in sorted(found, key=lambda here: (here.name.count("/"), os.fsencode(here.name))):
        if here.identity in entered:
            continue
        entered.add(here.identity)
        below = os.path.join(here.name, "")  # once: a million calls of join take a second
        files += [AudioFile(root, below + name, stamp) for name, stamp in here.files]
        skipped += here.skipped
        others.update(here.others)
    files.sort(key=lambda file: (file.name.encode(), file.raw.encode()))
    return Listing(Path(folder), files, sorted(skipped), others)


def _walk(root: str, pending: Sequence[_Pending]) -> list[_Folder]:
    """Everything below the folders `pending`."""
    found, pending = [], list(pending)
    while pending:
        here, below = _look_into(root, *pending.pop())
        pending += below
        if here is not None:
            found.append(here)
    return found


def _look_into(root: str, name: str, above: tuple[tuple[int, int], ...]) -> tuple[_Folder | None, list[_Pending]]:
    """What lies in one folder, and the folders below it; nothing where it is one of those above it."""
    path = os.path.join(root, name) if name else root
    found = _Folder(name, ("closed", path), [], [], Counter())
    below: list[str] = []
    try:
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a link that leads back up
            return None, []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                extension = entry.name[i:].lower() if (i := entry.name.rfind(".")) > 0 else ""
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link to itself
                    is_folder = False
                if is_folder:
                    below.append(os.path.join(name, entry.name))
                    continue
                if extension not in EXTENSIONS and (extension in _TEXTS or not _begins_as_audio(entry.path)):
                    found.others[extension or "none"] += 1
                    continue
                try:
                    entry.path.encode()
                    status = entry.stat()
                except UnicodeEncodeError:
                    found.skipped.append(Skipped(_readable(entry.path), Reason("its name is not UTF-8")))
                    continue
                except OSError as error:
                    found.skipped.append(Skipped(entry.path, Reason(error.strerror.lower())))
                    continue
                if stat.S_ISREG(status.st_mode):
                    found.files.append((entry.name, Stamp(status.st_size, status.st_mtime_ns)))
                else:
                    found.skipped.append(Skipped(entry.path, Reason("not a regular file")))
    except OSError as error:
        closed = Skipped(_readable(path), Reason(error.strerror.lower()))
        return _Folder(name, ("closed", path), [], [closed], Counter()), []
    return found._replace(identity=identity), [(one, (*above, identity)) for one in below]


def _begins_as_audio(path: str) -> bool:
    """Whether a file whose name tells nothing is audio."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as opened:
            start = opened.read(20)
    except OSError:
        return False
    chunk = start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE"
    return chunk or (start[:4] == b"FORM" and start[8:11] == b"AIF") or start.startswith(_BEGINNINGS)


def _readable(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


def fingerprint(files: Iterable[AudioFile]) -> str:
    """A digest of names, sizes and times: it changes when a file is added, removed or replaced."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0{file.stamp.size}\0{file.stamp.mtime_ns}\n".encode())
    return total.hexdigest()[:32]


def refuse_without_ffmpeg(listing: Listing) -> None:
    """Make sure that ffmpeg is there where files need it: that is said now, not after hours of work.

    Raises:
        MissingToolError: it is not installed.
    """
    lacking = [file for file in listing.files if os.path.splitext(file.raw)[1].lower() in ffmpeg.EXTENSIONS]
    if lacking:
        ffmpeg.refuse_without(f"{counted(len(lacking), 'file')} below {listing.folder} (e.g. {lacking[0].name})")
