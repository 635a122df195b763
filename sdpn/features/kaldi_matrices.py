"""Matrices of Kaldi's arks as they are stored: found by file and offset, checked, and cut to a part of them."""

import gzip
import math
import os
import re
import zlib
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np

from sdpn.errors import UnusableError
from sdpn.feats_scp import MatrixPart
from sdpn.features.ark import LONGEST_HEADER, MatrixHeader, parse_header
from sdpn.features.storage import BY_COLUMNS, KINDS, is_finite

_ROWS_FORGIVEN = 3  # behind the last one, as Kaldi forgives them: parts are cut by time, and rounded
_TEXT_AT_ONCE = 1 << 16
_GZIP = b"\x1f\x8b"


class Found(NamedTuple):
    """A matrix, or a part of one.

    Attributes:
        header: of the matrix; that of a text is as if it were binary.
        rows, columns: first and behind the last one of the part.
        first_byte: of the values of the whole matrix, in the file; None where they do not lie in it as they are
            stored, since it is text or compressed.
    """

    header: MatrixHeader
    rows: tuple[int, int]
    columns: tuple[int, int]
    first_byte: int | None

    @property
    def is_mapped(self) -> bool:
        """Whether the part can be used where it lies: rows one after another, or a whole matrix."""
        whole_rows = self.columns == (0, self.header.bins)
        if self.header.kind == BY_COLUMNS:
            whole_rows &= self.rows == (0, self.header.rows)
        return whole_rows and self.first_byte is not None


class MatrixFile:
    """An open file of matrices; ask for them in the order in which they lie.

    Args:
        path: of an ark, binary or in text, or of what gzip made of one.

    Raises:
        UnusableError: it cannot be opened.
    """

    def __init__(self, path: str):
        try:
            self._size = os.path.getsize(path)
            if not os.path.isfile(path) and not os.path.isdir(path):  # /dev/zero has no end
                raise UnusableError("no regular file", path)
            self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115  (closed in __exit__)
        except OSError as error:
            raise UnusableError(error.strerror.lower(), path) from None
        self._packed = self._file.read(2) == _GZIP
        if self._packed:
            self._file.close()
            self._file = gzip.open(path)  # noqa: SIM115
        self._at = -1  # where the last matrix began: parts of one matrix come one after another
        self._header: MatrixHeader
        self._first_byte: int | None = None
        self._stored: np.ndarray | None = None

    def __enter__(self) -> "MatrixFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def find(self, part: MatrixPart) -> tuple[Found, np.ndarray | None]:
        """Find a matrix, and check that it is whole, finite, and has the rows and columns that are asked for.

        Returns:
            what was found, and the stored values of the part where it is not mapped: (rows, columns) of the dtype of
            its kind, or of CM the bytes that are its part in the same form.

        Raises:
            UnusableError: there is none, it is damaged or not finite, or has no such rows or columns.
        """
        try:
            if part.offset != self._at:
                self._at, self._stored = -1, None
                self._look_at(part)
                self._at = part.offset
            found = _part(part, self._header, self._first_byte)
            if found.is_mapped and not _is_float(self._header.kind):
                return found, None
            if self._stored is None:
                self._stored = self._read(part)
        except (OSError, EOFError, zlib.error) as error:
            raise UnusableError("cannot be read", f"{part}: {str(error).lower()}") from None
        values = _cut(self._stored, found)
        if _is_float(self._header.kind) and not is_finite(values):
            raise UnusableError("NaN or infinite", str(part))
        return found, None if found.is_mapped else values

    def _look_at(self, part: MatrixPart) -> None:
        """Read the header of a matrix; of one in text all of it."""
        self._file.seek(part.offset)
        head = self._file.read(LONGEST_HEADER)
        if head[:2] != b"\0B":
            self._stored = self._read_text(part, head)
            return
        header = parse_header(head)
        if header is None:
            raise UnusableError("no matrix of Kaldi's", str(part))
        first_byte = part.offset + header.size
        too_short = not self._packed and first_byte + header.stored_size > self._size
        if header.rows <= 0 or header.bins <= 0 or too_short:
            raise UnusableError("cut off or damaged", str(part))
        if not (math.isfinite(header.minimum) and math.isfinite(header.step)):
            raise UnusableError("NaN or infinite", f"the scale of {part}")
        self._header, self._first_byte = header, None if self._packed else first_byte

    def _read(self, part: MatrixPart) -> np.ndarray:
        """The bytes of the values of the matrix whose header was read."""
        self._file.seek(part.offset + self._header.size)
        stored = self._file.read(self._header.stored_size)
        if len(stored) != self._header.stored_size:
            raise UnusableError("cut off or damaged", str(part))
        return np.frombuffer(stored, dtype=np.uint8)

    def _read_text(self, part: MatrixPart, head: bytes) -> np.ndarray:
        """The bytes of a matrix in text as float32; its header becomes that of such a matrix."""
        text = head.lstrip()
        if text[:1] != b"[":
            raise UnusableError("no matrix of Kaldi's", str(part))
        blocks = [text[1:]]
        while b"]" not in blocks[-1]:
            blocks.append(self._file.read(_TEXT_AT_ONCE))
            if not blocks[-1]:
                raise UnusableError("cut off or damaged", str(part))
        lines = re.split(rb"[\n;]", b"".join(blocks).partition(b"]")[0])
        try:
            matrix = np.array([line.split() for line in lines if line.strip()], dtype=np.float32)
        except ValueError:  # rows of unequal length, or what is no number
            matrix = np.empty(0)
        if matrix.ndim != 2 or not matrix.size:
            raise UnusableError("cut off or damaged", str(part))
        self._header, self._first_byte = MatrixHeader(0, *matrix.shape, 0.0, 1.0), None
        return matrix.reshape(-1).view(np.uint8)


def _part(part: MatrixPart, header: MatrixHeader, first_byte: int | None) -> Found:
    """Raises UnusableError where the matrix has no such rows or columns."""
    first, last = part.rows or (0, header.rows - 1)
    if not first <= last <= header.rows - 1 + _ROWS_FORGIVEN or first >= header.rows:
        raise UnusableError("no such rows", f"{part}: there are {header.rows} rows")
    rows = first, min(last + 1, header.rows)
    first, last = part.columns or (0, header.bins - 1)
    if not first <= last <= header.bins - 1:
        raise UnusableError("no such columns", f"{part}: there are {header.bins} columns")
    return Found(header, rows, (first, last + 1), first_byte)


def _is_float(kind: int) -> bool:
    return kind in KINDS and KINDS[kind].kind == "f"


def _cut(stored: np.ndarray, found: Found) -> np.ndarray:
    """The stored form of a part, of that of the whole: of CM it is a matrix of the same percentiles and fewer bytes."""
    rows, columns, header = slice(*found.rows), slice(*found.columns), found.header
    if header.kind != BY_COLUMNS:
        return np.ascontiguousarray(stored.view(KINDS[header.kind]).reshape(header.rows, header.bins)[rows, columns])
    percentiles = stored[: 8 * header.bins].reshape(header.bins, 8)[columns]
    values = stored[8 * header.bins :].reshape(header.bins, header.rows)[columns, rows]
    return np.concatenate([percentiles.reshape(-1), values.reshape(-1)])
