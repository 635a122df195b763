"""Parts of a file that are decoded as if each were a file of its own."""

import io
import os
from typing import BinaryIO, NamedTuple


class Part(NamedTuple):
    """Bytes `start` to `stop` of a file, with a `head` before them that the file lacks."""

    start: int
    stop: int
    head: bytes = b""

    def open(self, opened: BinaryIO) -> "PartFile":
        """That part of an opened file."""
        return PartFile(opened, self)


class PartFile(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, opened: BinaryIO, part: Part):
        self._opened, self._part, self._at = opened, part, 0
        self._size = len(part.head) + part.stop - part.start

    def readable(self) -> bool:
        """Return whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Return whether one can seek in it: always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset, counted from the beginning, from here or from the end; return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def readinto(self, buffer) -> int:
        """Fill a buffer; return how many bytes there were."""
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        head = self._part.head[self._at : self._at + count]
        self._opened.seek(self._part.start + max(0, self._at - len(self._part.head)))
        data = head + self._opened.read(count - len(head))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
