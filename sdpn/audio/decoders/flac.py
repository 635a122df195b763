"""FLAC files (RFC 9639): whether a second one is joined to the first."""

from typing import BinaryIO

import numpy as np

from sdpn.audio import faults
from sdpn.errors import UnusableError

_BEGINNINGS = tuple(b"fLaC" + last + b"\0\0\x22" for last in (b"\0", b"\x80"))
"""The marker, and the head of STREAMINFO: it must stand first, has 34 bytes, and may be the last such block."""
_F, _L = b"fL"
_LONGEST = 8
_AT_ONCE = 1 << 20


def refuse_joined(opened: BinaryIO) -> None:
    """Make sure that no second stream begins in a file: libsndfile reads the first one alone.

    The header cannot tell it, since FLAC says how many samples there are, not how many bytes they take. So all of the
    file is searched: do it where it was just read.

    Raises:
        UnusableError: there is one.
    """
    opened.seek(0)
    begin, kept, found = 0, b"", False
    while block := opened.read(_AT_ONCE):
        content = kept + block if kept else block
        # Byte by byte in numpy, which takes a quarter of what a regular expression or `find` does
        candidates = np.flatnonzero(np.frombuffer(content, np.uint8)[:-1] == _F)
        for at in candidates[np.frombuffer(content, np.uint8)[candidates + 1] == _L]:
            if content[at : at + _LONGEST] not in _BEGINNINGS:
                continue
            if found:
                raise UnusableError(faults.JOINED, f"a second FLAC stream begins at byte {begin + at}: split them")
            found = True
        kept = content[1 - _LONGEST :]  # a beginning may lie across two blocks
        begin += len(content) - len(kept)
