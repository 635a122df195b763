"""Who decodes a recording: libsndfile, in one piece or in parts, or ffmpeg. What is in a file decides, never its name.

libsndfile is the faster one and needs nothing else. It is not asked where it would give half of the sound, or too much
of it, without a word: for Ogg files in which several streams follow each other, and for MP3, it gets parts that are
right each by itself. What it refuses goes to ffmpeg.
"""

import mmap
import os
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sdpn.audio import faults
from sdpn.audio.decoders import adts, chunks, mp4, mpeg, ogg
from sdpn.audio.decoders.parts import Part
from sdpn.errors import UnusableError
from sdpn.files import Stamp, file_stamp

START = 64
_MPEG_IN_WAV = (0x50, 0x55)  # format tags, of which libsndfile guesses the length


class Route(NamedTuple):
    """Who decodes a recording.

    Attributes:
        by_ffmpeg: whether ffmpeg does.
        parts: what libsndfile reads one after another; nothing where that is the whole file.
    """

    by_ffmpeg: bool = False
    parts: tuple[Part, ...] = ()


PLAIN, FFMPEG = Route(), Route(by_ffmpeg=True)
"""The file as it is, by libsndfile and by every program that is built on it; by ffmpeg."""


def route_of(path: str | Path) -> Route:
    """Who decodes the file that is there now.

    Raises:
        UnusableError: there is none, it is empty, cut off, or joined of what does not fit together.
    """
    try:
        return _route_of(str(path), file_stamp(path))
    except OSError as error:
        raise UnusableError(faults.UNREADABLE, f"{path}: {error.strerror.lower()}") from None


@lru_cache(maxsize=64)  # the parts of a recording are read one after another
def _route_of(path: str, stamp: Stamp | None) -> Route:
    with open(path, "rb") as opened:
        return find_route(opened, opened.read(START))


def find_route(opened: BinaryIO, start: bytes) -> Route:
    """The same of an opened file, or of bytes as one; `start` are its first `START` bytes."""
    if not start:
        raise UnusableError("the file is empty")
    if start[4:8] in mp4.FIRST_BOXES or adts.begins(start):
        return FFMPEG
    if start[:4] == b"RIFF" and start[12:16] == b"fmt " and int.from_bytes(start[20:22], "little") in _MPEG_IN_WAV:
        return FFMPEG
    if start[:4] in (b"RIFF", b"RF64"):
        untold = chunks.header_for_untold(opened, start)
        return Route(parts=(Part(untold[1], opened.seek(0, os.SEEK_END), untold[0]),)) if untold else PLAIN
    if start[:4] == b"fLaC":  # what comes from a pipe has no length, and libsndfile cannot seek in it
        untold = len(start) > 26 and start[4] & 127 == 0 and not (start[21] & 15 or any(start[22:26]))
        return FFMPEG if untold else PLAIN
    if start[:4] == b"OggS":
        parts = ogg.parts_of(opened)
    elif start[:3] == b"ID3" or mpeg.parse_frame(start[:4]):
        parts = _parts_of_mpeg(opened, start)
    else:
        return PLAIN
    return FFMPEG if parts is None else Route(parts=parts)


def _parts_of_mpeg(opened: BinaryIO, start: bytes) -> tuple[Part, ...] | None:
    """See `mpeg.parts_of`; a file is mapped, not read: it may be hours long."""
    try:
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            parts = mpeg.parts_of(content)
    except (OSError, ValueError):  # bytes in memory, or a file system that cannot map
        opened.seek(0, os.SEEK_SET)
        parts = mpeg.parts_of(opened.read())
    return () if parts is None and start[:3] == b"ID3" else parts  # FLAC and others behind a tag
