"""feats.scp: which matrices of which files, and which part of each, are the features of which utterance."""

import re
from pathlib import Path
from typing import NamedTuple

from sdpn.errors import SdpnError
from sdpn.tables import read_table

_RANGE = r"(?:(?P<{0}_first>\d+):(?P<{0}_last>\d+)|:)"
_FORM = re.compile(
    rf"(?P<path>.*?[^\]|])(?::(?P<offset>\d+))?(?P<part>\[{_RANGE.format('row')}(?:,{_RANGE.format('column')})?\])?",
    re.ASCII,
)


class MatrixPart(NamedTuple):
    """Where a matrix lies, and what is taken of it.

    Attributes:
        path: the file: an ark of Kaldi's, binary or in text, or what gzip made of one.
        offset: byte at which the matrix begins, behind its id; 0 for a file that holds one matrix alone.
        rows, columns: the first and the last one that are taken; None for all of them.
    """

    path: str
    offset: int
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Return the same as Kaldi writes it, e.g. `raw.1.ark:12[0:99,0:39]`."""
        rows, columns = ("{}:{}".format(*ends) if ends else ":" for ends in (self.rows, self.columns))
        part = f"[{rows}{f',{columns}' if self.columns else ''}]" if self.rows or self.columns else ""
        return f"{self.path}:{self.offset}{part}"

    @classmethod
    def parse(cls, text: str) -> "MatrixPart | None":
        """Return what a line of feats.scp says behind the id; None for a command, and what is of no known form."""
        found = _FORM.fullmatch(text)
        if not found or text == "-" or text.startswith("|"):
            return None
        rows, columns = (
            (int(found[f"{axis}_first"]), int(found[f"{axis}_last"])) if found[f"{axis}_first"] else None
            for axis in ("row", "column")
        )
        return cls(found["path"], int(found["offset"] or 0), rows, columns)


def read_feats_scp(path: Path) -> dict[str, MatrixPart]:
    """Read `utterance path:offset` lines, perhaps with a range of rows or columns, e.g. `[0:99]` or `[0:99,0:39]`.

    Both ends of a range are taken, as in Kaldi. A path without an offset is that of a file of one matrix.

    Raises:
        SdpnError: the table cannot be read (see `tables.read_table`), or a line is of another form or a command.
    """
    table = read_table(path, "list of features")
    parts: dict[str, MatrixPart] = {}
    others: list[str] = []
    for name, text in table.items():
        if part := MatrixPart.parse(text):
            parts[name] = part
        else:
            others.append(name)
    if others:
        raise SdpnError(
            f"{path}: {len(others)} lines are not `utterance path:offset`, perhaps with a range of rows or columns, "
            f"e.g. '{others[0]} {table[others[0]][:80]}': write the features out with Kaldi's copy-feats"
        )
    return parts
