"""Files that are either whole or not there: temporary names, renames, locks and digests."""

import errno
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdpn.errors import SdpnError, UnwritableError
from sdpn.locks import held, partial_name, remove_partial

if TYPE_CHECKING:
    import h5py
    import numpy as np

_SENTENCES = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EACCES: "permission denied: choose another folder or change its permissions",
    errno.EPERM: "permission denied: choose another folder or change its permissions",
    errno.EEXIST: "a file is where a folder should be: choose another folder or remove it",
    errno.ENOTDIR: "a file is where a folder should be: choose another folder or remove it",
    errno.EISDIR: "a folder is where a file should be: choose another name or remove it",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EFBIG: "the file size limit is reached: raise it (ulimit -f) and run the same command again",
    errno.EIO: "the disk reports an error of its own (EIO): look at it, and run the same command again",
    errno.ESTALE: "the file server has lost the file (ESTALE): run the same command again",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) and run the same command again",
}


def sentence(error: OSError) -> str | None:
    """One sentence for an operating system's refusal that a user can mend; None for any other error."""
    number = error.errno
    if number is None:  # HDF5 hides the number in its message, and NumPy's tofile knows none
        found = re.search(r"errno = (\d+)", str(error))
        short = re.fullmatch(r"\d+ requested and \d+ written", str(error))
        number = int(found[1]) if found else errno.ENOSPC if short else None
    if number not in _SENTENCES:
        return None
    return _SENTENCES[number]


class Stamp(NamedTuple):
    """Size (bytes) and time of change (ns) of a file: what tells a file from what it was, without reading it."""

    size: int
    mtime_ns: int


def file_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a file; None where there is none, or it may not be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends, remove it when it fails.

    A reader therefore sees the old file or the new one, never a half-written one, also after SIGKILL or a full
    disk. The temporary name keeps the suffixes, because some writers choose their format by them.

    Raises:
        UnwritableError: the disk is full, or the folder may not be written.
    """
    path = Path(path)
    temporary = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = sentence(error)
        if reason is None:
            raise
        raise UnwritableError(f"cannot write {path}: {reason}") from error
    finally:
        with suppress(OSError):  # where it could not even be made: the user knows nothing of this name
            temporary.unlink()


def refuse_unwritable(path: str | Path) -> None:
    """Make sure, before long work, that a file can be written to `path`; nothing is left there.

    Raises:
        SdpnError: it is a folder, or its folder may not be written or made.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        there = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SdpnError(f"cannot write {path}: {sentence(error) or error.strerror}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


RECORD_DIGEST = "digest of the rest"
"""The key of a record under which its own digest stands."""


def write_record(path: str | Path, record: dict[str, Any]) -> None:
    """Write `record` as indented JSON to `path` atomically, with a digest of itself that `read_record` verifies."""
    write_json(path, {**record, RECORD_DIGEST: digest(record)})


def read_record(path: str | Path, keys: Collection[str]) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Args:
        keys: of the record, all of them.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged. A record without a digest, as earlier versions wrote them, is taken at its word.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    own = record.pop(RECORD_DIGEST, None) if isinstance(record, dict) else None
    if not isinstance(record, dict) or record.keys() != set(keys) or own not in (None, digest(record)):
        raise ValueError("not what was written")
    return record


def write_array(path: str | Path, array: "np.ndarray") -> None:
    """Write `array` as a .npy file to `path` atomically.

    By way of memory: NumPy does not say why a file could not be written.
    """
    import numpy as np

    packed = io.BytesIO()
    np.save(packed, array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


@contextmanager
def hdf5_writer(path: str | Path, **options: Any) -> Iterator["h5py.File"]:
    """Yield an HDF5 file to be filled; it is at `path`, whole, when the block has ended.

    It is made in memory: on a full disk HDF5 fails as late as it closes the file, and may take the process with it.

    Args:
        options: of h5py.File.
    """
    import h5py

    packed = io.BytesIO()
    with h5py.File(packed, "w", **options) as opened:
        yield opened
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


@contextmanager
def jsonl_gz_writer(path: str | Path) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Yield a function that writes one JSON object as a line, gzipped; `path` is there when the block has ended.

    There is no time stamp inside, so equal records give equal bytes.
    """
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.BufferedWriter(packed, 1 << 20) as whole,  # a million records, packed one by one, take twice as long
    ):
        yield lambda record: whole.write((encode(record) + "\n").encode())


def write_jsonl_gz(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, gzipped, to `path` atomically; see `jsonl_gz_writer`."""
    with jsonl_gz_writer(path) as write:
        for record in records:
            write(record)


def read_jsonl_gz(path: str | Path, remedy: str) -> Iterator[dict[str, Any]]:
    """Read one JSON object a line, gzipped.

    Args:
        remedy: what makes the file, for the sentence where it is damaged, e.g. "run stage 0 again".

    Raises:
        SdpnError: it is damaged.
    """
    decode = json.JSONDecoder().decode
    try:
        with gzip.open(path, "rb") as lines:
            yield from map(decode, map(bytes.decode, lines))
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile):
        raise SdpnError(f"{path} is damaged: remove it and {remedy}") from None


@contextmanager
def exclusive(directory: str | Path, work: str = "") -> Iterator[None]:
    """Hold `directory` for this process alone; the lock goes with the process, also when it is killed: see `held`.

    Args:
        directory: the folder, made where it is missing; what a killed run left in it is removed.
        work: with a name, only others of that name are kept out, and nothing is removed: for work on several folders
            below, which it holds one after another.

    Raises:
        SdpnError: another process holds it, or the folder may not be written.
    """
    directory = Path(directory)
    lock = directory / f".{work}{'.' if work else ''}lock"
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(lock))
        except OSError as error:
            reason = sentence(error)
            if reason is None:
                raise
            raise UnwritableError(f"cannot write into {directory}: {reason}") from error
        if not work:
            remove_partial(directory)
        yield


def digest(*parts: Any) -> str:
    """A short hexadecimal SHA-256 of the parts: bytes as they are, anything else as canonical JSON."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, ensure_ascii=False).encode()
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:32]


def stamps_digest(paths: Iterable[str]) -> str:
    """Compute a short hexadecimal SHA-256 of the paths of files and their stamps, of files that may be gone, too."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{file_stamp(path)}\n".encode())
    return total.hexdigest()[:32]


_YOUNG = 2_000_000_000  # ns: a file changed since then may change once more and look the same (clocks are that coarse)
_digests: dict[str, tuple[tuple[int, ...], str]] = {}  # path -> how the file looked when it was read, and its digest


def file_digest(path: str | Path) -> str:
    """Compute a short hexadecimal SHA-256 of a file's content, once a run while size and times of the file stay."""
    now, status, name = time.time_ns(), os.stat(path), os.path.abspath(path)
    look = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    known_look, known = _digests.get(name, (None, ""))
    if known_look == look:
        return known
    with open(path, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()[:32]
    if now - status.st_mtime_ns > _YOUNG:
        _digests[name] = look, found
    return found
