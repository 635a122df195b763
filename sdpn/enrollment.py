"""Enrolled speakers: a small JSON file of names and the x-vectors of their recordings."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import digest, write_text

FORMAT = "sdpn enrollment 1"


class Enrollment:
    """The speakers that a model knows by name.

    Attributes:
        path: the file.
        model: a digest of the model that made the x-vectors; those of another one cannot be compared with them.
        speakers: name -> recording (see `recording_name`) -> its x-vector (dimension,) float32, in the order of
            enrollment. In an older file a path may be relative.
    """

    def __init__(self, path: Path, model: str, speakers: dict[str, dict[str, np.ndarray]] | None = None):
        self.path, self.model = path, model
        self.speakers = speakers or {}

    @staticmethod
    def read(path: Path, model: str, dimension: int, may_be_new: bool = False) -> "Enrollment":
        """Read a file.

        Args:
            model: digest of the model in use.
            dimension: of its x-vectors, the statistics of the fbank beside them included.
            may_be_new: whether a file that is not there is an empty one.

        Raises:
            SdpnError: there is none, it is another kind of file or damaged, or its x-vectors are of another model.
        """
        if not path.exists():
            if may_be_new:
                return Enrollment(path, model)
            raise SdpnError(f"{path}: there is no such file: `sdpn enroll` makes it")
        try:
            tree = json.loads(path.read_text(encoding="utf-8-sig"))
            if tree["format"] != FORMAT:
                raise ValueError
            made_by = tree["model"]
            speakers = {}
            for name, recordings in tree["speakers"].items():
                check_name(name)
                speakers[name] = {recording: _read_vector(vector) for recording, vector in recordings.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SdpnError, IsADirectoryError):
            raise SdpnError(f"{path}: damaged, or not a file that `sdpn enroll` made") from None
        if made_by != model:
            raise SdpnError(f"{path}: its speakers were enrolled with another model: enroll them again in a new file")
        sizes = {vector.shape for own in speakers.values() for vector in own.values()}
        if len(sizes) == 1 and sizes != {(dimension,)}:
            have, asked = ("with", "without") if dimension < max(sizes)[0] else ("without", "with")
            raise SdpnError(
                f"{path}: its speakers were enrolled {have} the statistics of the fbank (--with-statistics), and "
                f"{asked} them is asked for now: enroll them again in a new file"
            )
        for name, own in speakers.items():
            if not own or any(vector.shape != (dimension,) for vector in own.values()):
                raise SdpnError(f"{path}: the entry of '{name}' is damaged: enroll again in a new file")
        return Enrollment(path, model, speakers)

    def write(self) -> None:
        """Write the file, whole or not at all; a vector is a line, with all its digits."""
        speakers = ",\n".join(
            f" {_text(name)}: {{\n"
            + ",\n".join(f"  {_text(recording)}: {_vector(vector)}" for recording, vector in recordings.items())
            + "\n }"
            for name, recordings in self.speakers.items()
        )
        head = f'"format": {_text(FORMAT)},\n"model": {_text(self.model)},\n'
        write_text(self.path, f'{{{head}"speakers": {{\n{speakers}\n}}}}\n')


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have this process alone change `path` meanwhile; another one waits.

    Raises:
        SdpnError: its folder is not there.
    """
    try:
        folder = open(path.parent / f".{path.name}.lock", "w")  # noqa: SIM115  (held over the yield below)
    except FileNotFoundError:
        raise SdpnError(f"{path.parent}: there is no such folder") from None
    with folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield


def recording_name(path: Path, vector: np.ndarray) -> str:
    """Return what a recording is called in the file: its absolute path.

    A pipe has none at which it can be read again, and another one may have the same tomorrow. It is called `a pipe`,
    with a digest of its x-vector: enrolled twice, it is there once.
    """
    if path.exists() and not path.is_file():
        return f"a pipe ({digest(vector.tobytes())[:12]})"
    return os.path.realpath(path)


def check_name(name: str) -> None:
    """Make sure that a name is text in one line, and is not "-", which stands for nobody.

    Raises:
        SdpnError: it is empty, "-", or has line breaks or other unprintable characters.
    """
    if not name.strip() or name == "-" or not name.isprintable():
        raise SdpnError(f"{name!r} is no name: expected text in one line, other than '-'")


def _read_vector(numbers: list[float]) -> np.ndarray:
    """An x-vector; ValueError where it is none."""
    with np.errstate(over="ignore"):
        vector = np.array(numbers, dtype=np.float32)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError
    return vector


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _vector(vector: np.ndarray) -> str:
    return "[" + ", ".join(np.format_float_positional(value, unique=True) for value in vector) + "]"
