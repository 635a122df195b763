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

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.files import write_text

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]")


def rows_of(path: str | Path, what: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the number and the fields of every line that is not blank; the file is never held in memory.

    Fields are bytes, since those of a list of millions of lines are mostly the same few names: decode each once, with
    `decode_name`.

    Args:
        what: the kind of table, for the sentence where there is none, e.g. "trial list".

    Raises:
        SdpnError: there is no such file, or it cannot be read.
    """
    return filter(itemgetter(1), enumerate(map(bytes.split, _raw_lines(path, what)), start=1))


def lines_of(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not blank, white space at its ends removed.

    Raises:
        SdpnError: see `rows_of`; or a line is not UTF-8.
    """
    for number, line in enumerate(map(bytes.strip, _raw_lines(path, what)), start=1):
        if line:
            yield number, _decode(line, path, number)


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
        table.add(fields[0], _decode(fields[1], path, number), number)
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
    return [_decode(line, path, number).split("\t") for number, line in _lines(path, what, optional)]


def write_columns(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of cells with a tab between them; tabs and line ends within a cell become blanks."""
    write_text(path, "".join("\t".join(re.sub(r"[\t\r\n]", " ", cell) for cell in row) + "\n" for row in rows))


def composed(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC): two ways to write one name are one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def decode_name(field: bytes, path: str | Path, number: int) -> str:
    """Return the name that a field holds, in Unicode's composed form.

    Args:
        path, number: the file and the line, for sentences.

    Raises:
        SdpnError: it is not UTF-8, or holds a character that no name has.
    """
    name = composed(_decode(field, path, number))
    if not name.isprintable() and _UNFIT.search(name):
        raise SdpnError(
            f"{path}, line {number}: the name {name[:80]!r} holds a control character or a blank of another kind"
        )
    return name


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
        text = _decode(line, self._path, number)
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
            first = opened.readline()
            if first.startswith(_UTF_16):
                raise SdpnError(f"{path}: not a text file in UTF-8, but in UTF-16: save it as UTF-8")
            yield first.removeprefix(_BOM)
            yield from opened
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise SdpnError(f"{path}: there is no such {what}") from None
    except OSError as error:
        raise SdpnError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _decode(text: bytes, path: str | Path, number: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise SdpnError(f"{path}: not a text file in UTF-8 (see its line {number})") from None
