"""The headers of Kaldi's binary matrices: what one says, and where the matrices of an ark end."""

import os
import struct
from pathlib import Path
from typing import NamedTuple

from sdpn.errors import SdpnError
from sdpn.features.storage import BY_COLUMNS, STEPS, stored_size

HEADER_BYTES = {0: 15, 5: 15, BY_COLUMNS: 21, 1: 22, 2: 22}
"""From the "\\0B" that an scp points at to the first value, by the form of the values."""

LONGEST_HEADER = 22

_KINDS = {b"FM ": 0, b"DM ": 5, b"CM ": BY_COLUMNS, b"CM2": 1, b"CM3": 2}
_LONGEST_ID = 4096  # bytes; what has no blank in so many is no ark


class MatrixHeader(NamedTuple):
    """What stands before the values of a matrix.

    Attributes:
        kind: their form, as in storage.KINDS, or storage.BY_COLUMNS.
        rows, bins: the shape.
        minimum, step: what integers stand for.
    """

    kind: int
    rows: int
    bins: int
    minimum: float
    step: float

    @property
    def size(self) -> int:
        """Bytes of the header, from the "\\0B" on."""
        return HEADER_BYTES[self.kind]

    @property
    def stored_size(self) -> int:
        """Bytes of the values."""
        return stored_size(self.rows, self.bins, self.kind)

    def to_bytes(self) -> bytes:
        """Return the header as Kaldi writes it, from the "\0B" on."""
        name = b"\0B" + next(name for name, kind in _KINDS.items() if kind == self.kind)
        if self.kind in (0, 5):
            return name + struct.pack("<bibi", 4, self.rows, 4, self.bins)
        spread = self.step * STEPS.get(self.kind, 65535)
        return (
            name
            + (b" " if self.kind in STEPS else b"")
            + struct.pack("<ffii", self.minimum, spread, self.rows, self.bins)
        )


def parse_header(head: bytes) -> MatrixHeader | None:
    """Return what the first bytes of a matrix say, from its "\\0B" on; None where it is no binary matrix.

    A header that says nonsense, such as -1 rows, is returned as it is.

    Args:
        head: `LONGEST_HEADER` bytes, or what there is of them.
    """
    kind = _KINDS.get(head[2:5])
    if head[:2] != b"\0B" or kind is None or len(head) < HEADER_BYTES[kind]:
        return None
    if kind in (0, 5):
        _, rows, _, bins = struct.unpack("<bibi", head[5:15])
        return MatrixHeader(kind, rows, bins, 0.0, 1.0)
    minimum, spread, rows, bins = struct.unpack("<ffii", head[HEADER_BYTES[kind] - 16 : HEADER_BYTES[kind]])
    return MatrixHeader(kind, rows, bins, minimum, spread / STEPS.get(kind, 65535))


def end_of_matrices(path: Path) -> tuple[int, int]:
    """Return where the last whole matrix of an ark ends, in bytes, and how many bins there are; 0 bins of no matrix.

    What lies behind is a matrix whose writer was killed.

    Raises:
        SdpnError: the file is no ark of binary matrices.
    """
    end, bins, total = 0, 0, os.path.getsize(path)
    with open(path, "rb") as opened:
        while end < total:
            opened.seek(end)
            entry = opened.read(_LONGEST_ID + LONGEST_HEADER)
            id_size = entry.find(b" ") + 1
            head = entry[id_size : id_size + LONGEST_HEADER] if id_size else b""
            header = parse_header(head)
            cut_off = end + len(entry) == total and len(head) < LONGEST_HEADER and b"\0B".startswith(head[:2])
            if header is None and not cut_off:
                raise SdpnError(f"{path} is no ark of binary matrices, from byte {end} on: name another file")
            if header is None or end + id_size + header.size + header.stored_size > total:
                break
            bins = header.bins
            end += id_size + header.size + header.stored_size
    return end, bins
