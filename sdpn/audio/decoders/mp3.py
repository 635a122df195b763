"""MP3 files whose header does not tell their length: which they are, and how long they are (ISO/IEC 11172-3, 13818-3).

The first frame of most files is no sound but a table of Xing's, LAME's or Fraunhofer's that counts the frames. Without
one libsndfile guesses by the first frames' bit rate, and stops there: right where it is constant, and wrong elsewhere.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG-1, MPEG-2, MPEG-2.5
_TABLES = (b"Xing", b"Info", b"VBRI")


class _Frame(NamedTuple):
    """Place and length in bytes, bit rate (kbit/s), sampling rate (Hz), samples per channel, and channels."""

    place: int
    length: int
    kilobits: int
    sampling_rate: int
    samples: int
    channels: int


def may_be(start: bytes) -> bool:
    """Whether a file that begins so may be MP3: by a tag, or by the first frame."""
    return start[:3] == b"ID3" or (len(start) > 2 and start[0] == 0xFF and start[1] & 0xE6 == 0xE2)


def untold_length(path: str | Path) -> tuple[int, int, int] | None:
    """Sampling rate, samples per channel and channels of an MP3 file of varying bit rate whose header lacks its length.

    None for any other file, also where all frames have one bit rate.
    """
    status = os.stat(path)
    return _untold_length(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)  # of a file that is read, it is asked several times
def _untold_length(path: str, size: int, time: int) -> tuple[int, int, int] | None:
    with open(path, "rb") as opened:
        frames = _frames(opened, size)
        first = next(frames, None)
        if first is None:
            return None
        opened.seek(first.place)
        if any(table in opened.read(min(first.length, 64)) for table in _TABLES):
            return None
        count, varies = 1, False
        for frame in frames:
            count += 1
            varies |= frame.kilobits != first.kilobits
    return (first.sampling_rate, count * first.samples, first.channels) if varies else None


def _frames(opened: BinaryIO, size: int) -> Iterator[_Frame]:
    """The frames of layer III, up to what is none: a tag behind the last one, or the end."""
    head = opened.read(10)
    place = 0
    if head[:3] == b"ID3" and len(head) == 10:
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        place = 10 + length + (10 if head[5] & 0x10 else 0)
    while place + 4 <= size:
        opened.seek(place)
        head = opened.read(4)
        version, rate, bits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
        if not may_be(head) or version == 1 or rate == 3 or bits in (0, 15):
            return
        kilobits, hertz = _KILOBITS[version == 3][bits], _RATES[version][rate]
        samples = 1152 if version == 3 else 576
        length = samples // 8 * 1000 * kilobits // hertz + (head[2] >> 1 & 1)
        if place + length > size:  # cut off within it
            return
        yield _Frame(place, length, kilobits, hertz, samples, 1 if head[3] >> 6 == 3 else 2)
        place += length
