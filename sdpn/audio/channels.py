"""One channel of a recording that may have several: the verbs that hear a voice take one, and say which."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdpn.audio.headers import read_header
from sdpn.audio.read import read_blocks, resample
from sdpn.errors import Reason, UnusableError

MEAN = "mean"
_DIFFERENT = 1e-4  # share of the energy (-40 dB): compression alone makes channels differ by less


class OneChannel:
    """Reads one channel of a recording.

    Args:
        path: an audio file; or a pipe, such as `<(...)` of a shell, which is read once, into a file of its own.
        sampling_rate: Hz, at which it is read, whatever it has.
        channel: which one, counted from 1; `MEAN` for the mean of all; None for the first, with a note where the
            others differ from it. A recording of one channel has no other.

    Attributes:
        num_channels: of the recording.

    Raises:
        UnusableError: the file cannot be used, or has fewer channels.
    """

    def __init__(self, path: str | Path, sampling_rate: int, channel: int | str | None = None):
        self._copy = _copy_of_pipe(path)
        path = path if self._copy is None else self._copy.name
        header = read_header(path)
        if isinstance(header, Reason):
            raise UnusableError(*header)
        self.num_channels = header.num_channels
        if self.num_channels == 1:
            channel = None
        if isinstance(channel, int) and not 1 <= channel <= self.num_channels:
            detail = f"--channel {channel} is asked for, and it has {self.num_channels} channels"
            raise UnusableError("there is no such channel", detail)
        self._path, self._header, self._wanted_rate, self._channel = path, header, sampling_rate, channel
        self._energy, self._difference = 0.0, 0.0

    def blocks(self) -> Iterator[np.ndarray]:
        """(n_samples,) float32 blocks.

        Raises:
            UnusableError: it cannot be read, or is shorter than its header says.
        """
        rate, samples, _ = self._header
        seen = 0

        def own() -> Iterator[np.ndarray]:
            nonlocal seen
            for block in read_blocks(self._path, rate=rate, last=samples):
                seen += len(block)
                yield self._pick(block)
            if seen != samples:
                raise UnusableError("cut off", f"{seen} samples where its header says {samples}")

        return own() if rate == self._wanted_rate else resample(own(), rate, self._wanted_rate)

    def _pick(self, block: np.ndarray) -> np.ndarray:
        if self._channel == MEAN:
            return block.mean(axis=1, dtype=np.float32)
        first = np.ascontiguousarray(block[:, (self._channel or 1) - 1])
        if self._channel is None and self.num_channels > 1:
            with np.errstate(over="ignore", invalid="ignore"):
                self._energy += float(np.square(block, dtype=np.float64).sum())
                self._difference += float(np.square(block - first[:, None], dtype=np.float64).sum())
        return first

    @property
    def note(self) -> str:
        """What is to be said of the blocks that were read: which channel was taken, where that matters."""
        if self._difference <= _DIFFERENT * self._energy:
            return ""
        return f"its {self.num_channels} channels differ, and channel 1 is taken: --channel N or --channel mean decides"


def _copy_of_pipe(path: str | Path) -> "tempfile._TemporaryFileWrapper | None":
    """What is written into a pipe, as a file that goes with the object; None where there is no pipe."""
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return None
        with open(path, "rb") as pipe:
            copy = tempfile.NamedTemporaryFile(prefix="sdpn-pipe-")  # noqa: SIM115  (held by who asks)
            shutil.copyfileobj(pipe, copy)
    except OSError:  # which reading it says
        return None
    copy.flush()
    return copy
