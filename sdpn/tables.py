"""Lists that people bring, as text: whatever the line ends, with or without a byte order mark."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from sdpn.errors import SdpnError


def lines_of(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """The number and the text of every line that is not empty, white space at its ends removed.

    Lines end at a line feed alone: names may hold other characters that Unicode calls line ends.

    Args:
        what: the kind of list, for the sentence where there is none.

    Raises:
        SdpnError: there is no such file, or it is not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise SdpnError(f"{path}: there is no such {what}") from None
    except UnicodeDecodeError:
        raise SdpnError(f"{path}: not a text file in UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip():
            yield number, line


def composed(text: str) -> str:
    """In Unicode's composed form (NFC): two ways to write one name are one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
