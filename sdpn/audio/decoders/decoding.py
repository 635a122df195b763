"""Parts of a recording that must be decoded from its start on, one after another."""

from collections.abc import Iterator

import numpy as np

_NOTHING = np.zeros((0, 1), dtype=np.float32)


class Decoding:
    """A file that is being decoded.

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
