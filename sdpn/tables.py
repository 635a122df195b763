"""Tables in text, other people's and ours: one reader, with one opinion on all that such files differ in.

* A file is opened once and read once, in order: pipes and process substitution, `<(grep ...)`, are files like others.
* Text is UTF-8. A byte order mark at its beginning is skipped.
* A line ends at a line feed. White space at both ends goes, so that Windows' line ends do not matter, and so do blank
  lines.
* Fields are separated by ASCII white space, as in Kaldi: blanks or tabs, however many. Lists of ours whose cells may
  hold blanks have tabs alone between them: `read_columns`.
* Names are compared in Unicode's composed form (NFC). Paths and commands stay as they are. A name holds no control
  character, no byte order mark and no white space of Unicode's.
* A name that stands at the beginning of two lines is refused: nobody can tell which of the two was meant.
* Rows keep the order of the file.
* A file that is missing, or without a row, is refused, unless the caller says that it may be missing.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import write_text

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_IS_SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]")


@dataclass(frozen=True)
class Block:
    """Lines of a long table, split into fields.

    Fields are bytes, since those of a list of millions of lines are mostly the same few names: decode each once, with
    `decode_name`.

    Attributes:
        fields: of all lines, one after the other.
        widths: (n_lines,) how many fields each line has; 0 for a blank one.
        first: the number of the first line.
    """

    fields: list[bytes]
    widths: np.ndarray
    first: int

    @property
    def numbers(self) -> np.ndarray:
        """The number of every line that is not blank."""
        return self.first + np.flatnonzero(self.widths)

    @property
    def rows(self) -> list[list[bytes]]:
        """The fields of every line that is not blank."""
        ends = np.cumsum(self.widths[self.widths > 0]).tolist()
        return [self.fields[start:end] for start, end in pairwise([0, *ends])]

    @property
    def columns(self) -> list[list[bytes]] | None:
        """The columns of the lines that are not blank; None where they differ in the number of their fields."""
        widths = self.widths[self.widths > 0]
        width = int(widths[0]) if len(widths) else 0
        return [self.fields[column::width] for column in range(width)] if (widths == width).all() else None


def blocks_of(path: str | Path, what: str, size: int = 1 << 16) -> Iterator[Block]:
    """Read a long table, `size` rows at a time; it is never held in memory.

    Args:
        what: the kind of table, for the sentence where there is none, e.g. "trial list".
        size: rows of each block but the last: two tables can be read side by side.

    Raises:
        SdpnError: there is no such file, or it cannot be read.
    """
    lines, first = _raw_lines(path, what), 1
    while True:
        texts, widths, missing = [], [], size
        while missing and (some := list(islice(lines, missing))):
            texts.append(b"".join(some))
            widths.append(_widths(texts[-1]))
            missing -= int(np.count_nonzero(widths[-1]))
        if missing == size:
            return
        block = Block(b"".join(texts).split(), np.concatenate(widths), first)
        yield block
        first += len(block.widths)


def _widths(text: bytes) -> np.ndarray:
    """How many fields each line has: (n_lines,). Splitting the lines one by one takes four times as long."""
    is_space = _IS_SPACE[np.frombuffer(text, dtype=np.uint8)]
    begins = np.flatnonzero(np.diff(is_space, prepend=True) & ~is_space)
    ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
    ends = ends if text.endswith(b"\n") else np.append(ends, len(text))
    return np.diff(np.searchsorted(begins, ends), prepend=0)


def lines_of(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not blank, white space at its ends removed.

    Raises:
        SdpnError: see `blocks_of`; or a line is not UTF-8.
    """
    for number, line in enumerate(map(bytes.strip, _raw_lines(path, what)), start=1):
        if line:
            yield number, decode_line(line, path, number)


def read_table(path: str | Path, what: str = "table", optional: bool = False) -> dict[str, str]:
    """Read `name rest of the line` rows, e.g. wav.scp or feats.scp.

    Args:
        what: the kind of table, for sentences.
        optional: a file that is missing is an empty table.

    Raises:
        SdpnError: the file is missing or empty, is not UTF-8, a line has one field alone, or a name stands there twice.
    """
    table = _Rows(path, what, "an id and a value")
    for number, line in _lines(path, what, optional):
        fields = line.split(maxsplit=1)
        if len(fields) < 2:
            table.refuse(number, line)
        table.add(fields[0], decode_line(fields[1], path, number), number)
    return table.filled(optional)


def read_map(
    path: str | Path, what: str = "table", expected: str = "utterance speaker", optional: bool = False
) -> dict[str, str]:
    """Read `name name` rows, e.g. utt2spk.

    Args:
        what, optional: see `read_table`.
        expected: what a row is made of, for sentences.

    Raises:
        SdpnError: see `read_table`; or a line has not two fields.
    """
    table = _Rows(path, what, f"`{expected}`")
    shared: dict[bytes, str] = {}  # a million utterances have a few thousand speakers: each is one string
    for number, line in _lines(path, what, optional):
        fields = line.split()
        if len(fields) != 2:
            table.refuse(number, line)
        if fields[1] not in shared:
            shared[fields[1]] = decode_name(fields[1], path, number)
        table.add(fields[0], shared[fields[1]], number)
    return table.filled(optional)


def read_groups(
    path: str | Path, what: str = "table", expected: str = "speaker utt1 utt2 ...", optional: bool = False
) -> dict[str, list[str]]:
    """Read `name name name ...` rows, e.g. spk2utt or an enrollment map.

    Args:
        what, expected, optional: see `read_map`.

    Raises:
        SdpnError: see `read_table`; or a line has one name twice.
    """
    table = _Rows(path, what, f"`{expected}`")
    for number, line in _lines(path, what, optional):
        name, *others = line.split()
        if not others:
            table.refuse(number, line)
        members = [decode_name(other, path, number) for other in others]
        if len(set(members)) < len(members):
            twice = next(member for member in members if members.count(member) > 1)
            raise SdpnError(f"{path}, line {number}: {decode_name(name, path, number)} has {twice} twice")
        table.add(name, members, number)
    return table.filled(optional)


def read_names(path: str | Path, what: str = "list") -> list[str]:
    """Read one name a line, e.g. the speakers to train on.

    Raises:
        SdpnError: see `read_table`; or a line has more than one name.
    """
    table = _Rows(path, what, "one name")
    for number, line in _lines(path, what, False):
        if len(line.split()) > 1:
            table.refuse(number, line)
        table.add(line, None, number)
    return list(table.filled(False))


def read_columns(path: str | Path, what: str = "list", optional: bool = False) -> list[list[str]]:
    """Read rows of cells with a tab between them, as `write_columns` writes them; there may be none.

    Raises:
        SdpnError: the file is missing or is not UTF-8.
    """
    return [decode_line(line, path, number).split("\t") for number, line in _lines(path, what, optional)]


def write_columns(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of cells with a tab between them; tabs and line ends within a cell become blanks."""
    write_text(path, "".join("\t".join(re.sub(r"[\t\r\n]", " ", cell) for cell in row) + "\n" for row in rows))


def composed(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC): two ways to write one name are one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def decode_name(field: bytes, path: str | Path, number: int | None = None) -> str:
    """Return the name that a field holds, in Unicode's composed form.

    Args:
        path, number: the file and the line, if known, for sentences.

    Raises:
        SdpnError: it is not UTF-8, or holds a character that no name has.
    """
    name = composed(decode_line(field, path, number))
    if not name.isprintable() and _UNFIT.search(name):
        where = "" if number is None else f", line {number}"
        raise SdpnError(f"{path}{where}: the name {name[:80]!r} holds a control character or a blank of another kind")
    return name


def decode_line(text: bytes, path: str | Path, number: int | None = None) -> str:
    """Return the text of a line, or of a part of it.

    Raises:
        SdpnError: it is not UTF-8.
    """
    try:
        return text.decode()
    except UnicodeDecodeError:
        where = "" if number is None else f" in line {number}"
        raise SdpnError(f"{path}: not a text file in UTF-8: {text[:40]!r}{where}") from None


class _Rows(dict):
    """Rows of a table by name, each with the number of its line until all are there."""

    def __init__(self, path: str | Path, what: str, expected: str):
        super().__init__()
        self._path, self._what, self._expected = path, what, expected

    def add(self, field: bytes, value: object, number: int) -> None:
        name = decode_name(field, self._path, number)
        if name in self:
            raise SdpnError(f"{self._path}, line {number}: {name} stands there twice")
        self[name] = value

    def refuse(self, number: int, line: bytes) -> None:
        text = decode_line(line, self._path, number)
        raise SdpnError(f"{self._path}, line {number}: expected {self._expected}, got '{text[:80]}'")

    def filled(self, optional: bool) -> dict:
        if not self and not (optional and not Path(self._path).exists()):
            raise SdpnError(f"{self._path}: this {self._what} is empty")
        return dict(self)


def _lines(path: str | Path, what: str, optional: bool) -> Iterator[tuple[int, bytes]]:
    """The number and the bytes of every line that is not blank, white space at its ends removed."""
    if optional and not Path(path).exists():
        return iter(())
    return filter(itemgetter(1), enumerate(map(bytes.strip, _raw_lines(path, what)), start=1))


def _raw_lines(path: str | Path, what: str) -> Iterator[bytes]:
    """The lines of a file behind its byte order mark."""
    try:
        with open(path, "rb") as opened:
            if stat.S_ISCHR(os.fstat(opened.fileno()).st_mode) and not opened.isatty():  # /dev/zero has no end
                raise SdpnError(f"{path}: there is no such {what}: it is a device")
            first = opened.readline()
            if first.startswith(_UTF_16):
                raise SdpnError(f"{path}: not a text file in UTF-8, but in UTF-16: save it as UTF-8")
            yield first.removeprefix(_BOM)
            yield from opened
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise SdpnError(f"{path}: there is no such {what}") from None
    except OSError as error:
        raise SdpnError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
