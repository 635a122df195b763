"""Parts of a file: bytes that are decoded like a file of their own, samples that come one after another."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

_NOTHING = np.zeros((0, 1), dtype=np.float32)


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


class Decoding:
    """A file that is being decoded from its start on.

    Attributes:
        key: which file, as it is.
        at: the first sample that can still be had.
    """

    def __init__(self, key: tuple, blocks: Iterator[tuple[int, np.ndarray]]):
        self.key, self.at = key, 0
        self._blocks, self._rate, self._block = blocks, 0, _NOTHING

    def read(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """Samples [first, last), in parts; fewer where the file ends."""
        while first < last:
            part = self._block[first - self.at : last - self.at]
            first += len(part)
            if len(part):
                yield self._rate, part
                continue
            self.at += len(self._block)
            self._rate, self._block = next(self._blocks, (self._rate, _NOTHING))
            if not len(self._block):
                return

    def finish(self) -> None:
        """Decode the rest; see `ffmpeg.decode` for what it raises."""
        for _ in self._blocks:
            pass
