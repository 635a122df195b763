"""Audio files below a folder: which there are, and what their headers say."""

import io
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sdpn.console import Progress
from sdpn.errors import SdpnError
from sdpn.files import atomic_path, digest

# What libsndfile reads and finds out by itself.
_NAMES = ("wav", "wave", "flac", "opus", "ogg", "oga", "mp3", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64")
EXTENSIONS = frozenset(f".{name}" for name in (*_NAMES, "sph", "nist", "voc", "avr", "htk"))
_FILES_PER_JOB = 500


@dataclass(frozen=True)
class AudioFile:
    """An audio file as the file system shows it.

    Attributes:
        path: where it lies.
        name: its path below the folder, with `/`, in Unicode's composed form (NFC).
        size: bytes.
        mtime_ns: when it was changed.
    """

    path: str
    name: str
    size: int
    mtime_ns: int


class Header(NamedTuple):
    """What an audio file's header says."""

    sampling_rate: int
    num_samples: int
    num_channels: int


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        folder: the folder.
        files: files with an extension of `EXTENSIONS`, sorted by name.
        skipped: folders and files that cannot be used.
        others: how many files have each other extension.
    """

    folder: Path
    files: list[AudioFile]
    skipped: list[Skipped]
    others: Counter

    @property
    def what_else(self) -> str:
        """What is there beside audio files, in a few words."""
        if self.skipped:
            return f"{self.skipped[0].path}: {self.skipped[0].reason}"
        if self.others:
            most = ", ".join(f"{count} {extension}" for extension, count in self.others.most_common(5))
            return f"other files only ({most})"
        return "it is empty"


def list_audio(folder: str | Path) -> Listing:
    """List the audio files below `folder`; links are followed, names with a leading dot are passed over.

    Raises:
        SdpnError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise SdpnError(f"{folder}: there is no such folder")
    files: list[AudioFile] = []
    skipped: list[Skipped] = []
    others: Counter = Counter()
    entered = set()

    def refuse(error: OSError) -> None:
        skipped.append(Skipped(str(error.filename), error.strerror))

    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        identity = (os.stat(here).st_dev, os.stat(here).st_ino)
        if identity in entered:  # a link that leads back up
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if extension in EXTENSIONS and not name.startswith("."):
                file = _look_at(os.path.join(here, name), folder)
                (skipped if isinstance(file, Skipped) else files).append(file)
            elif not name.startswith("."):
                others[extension or "none"] += 1
    files.sort(key=lambda file: (file.name.encode(), file.path.encode()))
    return Listing(Path(folder), files, sorted(skipped), others)


def _look_at(path: str, folder: str | Path) -> AudioFile | Skipped:
    try:
        path.encode()
        found = os.stat(path)
    except UnicodeEncodeError:
        return Skipped(os.fsencode(path).decode(errors="replace"), "its name is not UTF-8")
    except OSError as error:
        return Skipped(path, error.strerror.lower())
    if not stat.S_ISREG(found.st_mode):
        return Skipped(path, "not a regular file")
    name = unicodedata.normalize("NFC", Path(path).relative_to(folder).as_posix())
    return AudioFile(path, name, found.st_size, found.st_mtime_ns)


def fingerprint(files: list[AudioFile]) -> str:
    """A digest of names, sizes and times: it changes when a file is added, removed or replaced."""
    return digest([[file.name, file.size, file.mtime_ns] for file in files])


def probe(files: list[AudioFile], run: Callable[..., Iterable], title: str) -> list[Header | str]:
    """The header of each file, or the reason why it cannot be used, in the order of `files`.

    Args:
        run: yields `function(*job)` for every job, e.g. `partial(sdpn.cluster.pool.run_jobs, nj=4)`.
    """
    jobs = [(i, [file.path for file in files[i : i + _FILES_PER_JOB]]) for i in range(0, len(files), _FILES_PER_JOB)]
    results: list[Header | str] = [""] * len(files)
    with Progress(title, len(files), "files") as progress:
        for start, found in run(_probe_some, jobs):
            results[start : start + len(found)] = found
            progress.advance(len(found))
    return results


def _probe_some(start: int, paths: list[str]) -> tuple[int, list[Header | str]]:
    return start, [read_header(path) for path in paths]


def read_header(path: str | Path) -> Header | str:
    """What the header of an audio file says, or a few words on why the file cannot be used."""
    try:
        with open(path, "rb") as opened:  # libsndfile's word for a file that may not be opened is "System error"
            if not opened.read(1):
                return "the file is empty"
        info = soundfile.info(path)
    except OSError as error:
        return error.strerror.lower()
    except soundfile.LibsndfileError as error:
        return f"not readable as audio ({error.error_string.rstrip('.')})"
    if info.frames <= 0 or info.samplerate <= 0:
        return "there are no samples in it"
    if info.frames >= 2**48:  # libsndfile's mark for a length that the header does not tell
        return "the header does not tell its length"
    return Header(info.samplerate, info.frames, info.channels)


def write_flac(path: str | Path, samples: np.ndarray, sampling_rate: int) -> None:
    """Write (n_samples,) samples within [-1, 1] as 16-bit FLAC, atomically.

    They are encoded in memory first: libsndfile does not say why a file could not be written.

    Raises:
        SdpnError: the disk is full, or the folder may not be written.
    """
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getvalue())
