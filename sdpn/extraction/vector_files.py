"""x-vectors in anybody's files: Kaldi ark or scp, HDF5, npz, or a folder that stage 5 wrote."""

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO

import h5py
import numpy as np
from kaldiio.matio import read_kaldi, read_token

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_checked, refuse_unusable, write_ark, write_frames, write_hdf5
from sdpn.feats_scp import MatrixPart
from sdpn.files import atomic_path
from sdpn.tables import read_table

FORMS = "a folder of stage 5, .scp, .ark, .h5, .hdf5 or .npz, or what scp: or ark: stands before, as in Kaldi"
_GZIP = b"\x1f\x8b"
FRAMES_SUFFIX = ".num_frames"
"""Of the file beside an ark that says how many frames each x-vector was made from."""


def read_vectors(path: str | Path) -> XVectors:
    """Read the x-vectors in `path`, whatever form it has.

    Kaldi files hold a vector, or a matrix of one row, for each utterance; gzip may have packed the arks. HDF5 and npz
    files hold either an array for each utterance under its name (in HDF5 names may contain slashes), or one matrix and,
    beside it, the names of its rows as an array of text. A pipe, e.g. `<(grep near xvector.scp)`, is a list as an scp
    is, or what the prefix says: `ark:<(copy-vector scp:xvector.scp ark:-)`. Numbers of frames are known of a stage 5
    folder alone; elsewhere they are 0.

    Raises:
        SdpnError: there is no such file, it has another form, is damaged, holds no vectors, vectors of several
            dimensions, one name twice, or numbers that cannot be computed with.
    """
    path, form = _form_of(Path(path))
    if path.is_dir():
        return read_checked(path)
    readers = {".scp": _scp, ".ark": _ark, ".h5": _hdf5, ".hdf5": _hdf5, ".npz": _npz}
    if not path.exists():
        raise SdpnError(f"{path}: there is no such file")
    if form not in readers:
        raise SdpnError(f"{path}: x-vectors are read from {FORMS}")
    try:
        named = list(readers[form](path))
    except (OSError, EOFError, ArithmeticError, ValueError, AssertionError, KeyError, MemoryError, zlib.error) as error:
        reason = " ".join(str(error).split())[:120] or "it is damaged, or points past the end of another file"
        if "pickle" in reason:  # NumPy's sentence goes on with how to run what is in the file
            reason = "there is more in it than arrays of numbers and text"
        raise SdpnError(f"{path}: cannot be read as {form[1:]}: {reason}") from None
    found = _collected(named, path)
    refuse_unusable(found, str(path))
    return found


def _form_of(path: Path) -> tuple[Path, str]:
    """The file, and its form: the suffix, or what Kaldi's prefix says; a pipe without either is a list."""
    prefix, _, rest = str(path).partition(":")
    if prefix in ("scp", "ark") and rest and not path.exists():
        return Path(rest), f".{prefix}"
    if path.name.endswith(".ark.gz"):
        return path, ".ark"
    return path, ".scp" if path.is_fifo() and not path.suffix else path.suffix


def write_vectors(
    path: str | Path, ids: Sequence[str], vectors: Sequence[np.ndarray], num_frames: Sequence[int]
) -> None:
    """Write x-vectors to a .npz, .h5, .hdf5 or .ark file (with its scp, and `<name>.num_frames` beside it).

    Names in an ark cannot have white space: it becomes `_`.

    Raises:
        SdpnError: the file cannot be written, or two names in an ark would be one.
    """
    path = Path(path)
    found = XVectors(list(ids), np.stack(vectors).astype(np.float32), np.asarray(num_frames, dtype=np.int64))
    if path.suffix == ".npz":
        with atomic_path(path) as temporary, open(temporary, "wb") as opened:
            np.savez(opened, ids=np.array(found.ids), vectors=found.vectors, num_frames=found.num_frames)
    elif path.suffix == ".ark":
        names = [re.sub(r"\s+", "_", name) for name in found.ids]
        if len(set(names)) < len(names):
            raise SdpnError(f"{path}: two names differ in white space alone, which an ark cannot tell: write a .npz")
        order = sorted(range(len(names)), key=lambda row: names[row].encode())
        ordered = XVectors([names[row] for row in order], found.vectors[order], found.num_frames[order])
        write_ark(path, ordered)
        write_frames(path.with_suffix(FRAMES_SUFFIX), ordered)
    else:
        write_hdf5(path, found)


def refuse_foreign_lists(path: str | Path) -> None:
    """Make sure that what `write_vectors` would write beside an ark replaces nobody's list; other forms have none.

    Raises:
        SdpnError: there is an scp of other files than this ark, or frames without the scp.
    """
    path = Path(path)
    if path.suffix != ".ark":
        return
    scp, frames = path.with_suffix(".scp"), path.with_suffix(FRAMES_SUFFIX)
    foreign = frames if frames.exists() else None
    if scp.exists():
        foreign = None if _lists_only(scp, path) else scp
    if foreign is not None:
        raise SdpnError(
            f"{path}: {foreign} beside it would be replaced, and is not of these x-vectors: choose another name"
        )


def _lists_only(scp: Path, ark: Path) -> bool:
    """Whether every line of an scp points into the ark, as seen from here or from another working directory."""
    here = os.path.realpath(ark)
    try:
        files = {place.rpartition(":")[0] for place in read_table(scp).values()}
    except SdpnError:
        return False
    return all(os.path.realpath(file) == here or here.endswith(f"{os.sep}{file}") for file in files)


def _collected(named: list[tuple[str, np.ndarray]], path: Path) -> XVectors:
    """One matrix of the named vectors, sorted by name in the C locale."""
    table = _table(named)
    if table is not None:
        names, matrix = table
        named = list(zip(names, matrix, strict=True)) if len(names) == len(matrix) else named
    vectors: dict[str, np.ndarray] = {}
    for name, array in named:
        array = array[0] if array.ndim == 2 and len(array) == 1 else array
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise SdpnError(f"{path}: '{name}' is not a vector of numbers (its shape is {array.shape})")
        if name in vectors:
            raise SdpnError(f"{path}: '{name}' stands there twice")
        vectors[name] = array
    if not vectors:
        raise SdpnError(f"{path}: there are no x-vectors in it")
    dimensions = sorted({len(vector) for vector in vectors.values()})
    if len(dimensions) > 1:
        raise SdpnError(f"{path}: its vectors have several dimensions: {', '.join(map(str, dimensions))}")
    ids = sorted(vectors, key=str.encode)
    matrix = np.stack([vectors[name] for name in ids]).astype(np.float32)
    return XVectors(ids, matrix, np.zeros(len(ids), dtype=np.int64))


def _table(named: list[tuple[str, np.ndarray]]) -> tuple[list[str], np.ndarray] | None:
    """The row names and the matrix, where the file holds these two arrays."""
    texts = [array for _, array in named if array.ndim == 1 and array.dtype.kind in "SUO"]
    matrices = [array for _, array in named if array.ndim == 2]
    if len(texts) != 1 or len(matrices) != 1:
        return None
    return [name.decode() if isinstance(name, bytes) else str(name) for name in texts[0]], matrices[0]


def _scp(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    listed: list[tuple[MatrixPart, str]] = []
    for name, place in read_table(path).items():
        part = MatrixPart.parse(place)
        if part is None or "|" in place or place.partition(":")[0] == "-":
            raise SdpnError(f"{path}: '{name}' is the output of a command: write it into a file first")
        if part.columns:
            raise SdpnError(f"{path}: '{name}' is a part of an x-vector ({place}): write it into a file first")
        listed.append((part, name))
    listed.sort(key=lambda one: one[0][:2])
    for file, parts in groupby(listed, key=lambda one: one[0].path):
        with _open_ark(file) as opened:
            for part, name in parts:
                opened.seek(part.offset)
                array = _read_array(opened)
                yield name, array[part.rows[0] : part.rows[1] + 1] if part.rows else array


def _ark(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with _open_ark(path) as opened:
        while (name := read_token(opened)) is not None:
            yield name, _read_array(opened)


def _open_ark(path: str | Path) -> IO[bytes] | gzip.GzipFile:
    """An ark, unpacked where gzip has packed it; one out of a pipe is read in whole, since it is sought in."""
    if Path(path).is_fifo():
        content = Path(path).read_bytes()
        return io.BytesIO(gzip.decompress(content) if content.startswith(_GZIP) else content)
    if Path(path).exists() and not Path(path).is_file():  # /dev/zero has no end
        raise ValueError(f"{path} is no regular file")
    with open(path, "rb") as opened:
        packed = opened.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if packed else open(path, "rb")


def _read_array(opened: IO[bytes] | gzip.GzipFile) -> np.ndarray:
    """The array that stands next; ValueError where that is an object of Python's, which kaldiio would make and run."""
    start = opened.read(3)
    if start == b"PKL":
        raise ValueError("there is more in it than arrays of numbers")
    opened.seek(-len(start), os.SEEK_CUR)
    try:
        found = read_kaldi(opened)
    except (OSError, EOFError, MemoryError, zlib.error):
        raise
    except Exception:  # kaldiio fails in many ways at what is no ark of Kaldi's
        found = None
    if not isinstance(found, np.ndarray):  # or it takes it for sound
        raise ValueError("there is no vector of Kaldi's where one should be")
    return found


def _hdf5(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    with h5py.File(path, "r", locking=False) as opened:
        opened.visititems(lambda name, item: found.append((name, item[()])) if isinstance(item, h5py.Dataset) else None)
    yield from found


def _npz(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as opened:
        for name, array in opened.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"'{name}' in it is no array")
            yield name, array
