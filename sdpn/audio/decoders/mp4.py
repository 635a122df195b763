"""How long an MP4 file (.m4a, .mp4, .mov) is, from its boxes alone: ISO/IEC 14496-12.

A subprocess for each of a million files would take hours; the boxes that say the length are a few kilobytes.
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from sdpn.audio import faults
from sdpn.errors import UnusableError

# Larger than the sample tables of hours of speech; what a broken size field says is not read into memory.
_LARGEST_MOOV = 64 << 20
# Apple's note on samples before, behind, and of the sound, in files without an edit list
_ITUNES = re.compile(rb"iTunSMPB.{16,24} 00000000 ([0-9A-F]{8}) [0-9A-F]{8} ([0-9A-F]{16})", re.DOTALL)
FIRST_BOXES = (b"ftyp", b"moov", b"wide")
"""What stands in bytes 4 to 8 of an MP4 file, whatever its name says."""

_FULL = 4  # bytes of version and flags at the start of a "full" box


class Track(NamedTuple):
    """The first audio track of an MP4 file.

    Attributes:
        sampling_rate: Hz.
        num_samples: per channel, those that are to be played: without the encoder's delay and padding. 0 where the file
            is in fragments, whose lengths stand all over it.
        num_channels: 1 for mono.
    """

    sampling_rate: int
    num_samples: int
    num_channels: int


def read_track(opened: BinaryIO, size: int) -> Track:
    """The audio track of an MP4 file of `size` bytes.

    The length is the one that the edit list gives: an encoder puts samples of its own before the sound (1024 or more
    for AAC), fills the last frame, and says there which part is sound. Without a list Apple's note `iTunSMPB` gives it,
    and without either the sample table.

    Raises:
        UnusableError: there is no audio track, or the file is cut off or damaged.
    """
    moov = b""
    whole = True
    for kind, start, end in _top_boxes(opened, size):
        whole = whole and end <= size
        if kind == b"moov" and end <= size and end - start <= _LARGEST_MOOV:
            opened.seek(start)
            moov = opened.read(end - start)
    if not moov:
        if whole:
            raise UnusableError(faults.DAMAGED, "it holds no table of samples")
        raise UnusableError(faults.CUT_OFF, "the table of its samples is missing")
    if not whole:
        raise UnusableError(faults.CUT_OFF, "its samples end before its header says so")
    try:
        timescale = _timescale(_only(moov, b"mvhd"))
        for track in _boxes(moov, b"trak"):
            media = _only(track, b"mdia")
            if _only(media, b"hdlr")[8:12] == b"soun":
                return _audio(track, media, timescale, _ITUNES.search(moov))
    except (struct.error, IndexError, ZeroDivisionError):
        raise UnusableError(faults.DAMAGED, "its table of samples") from None
    raise UnusableError(faults.NOT_AUDIO, "there is no audio in it")


def _audio(track: bytes, media: bytes, movie_timescale: int, itunes: re.Match | None) -> Track:
    media_timescale = _timescale(_only(media, b"mdhd"))
    table = _only(_only(media, b"minf"), b"stbl")
    description = _only(table, b"stsd")
    rate = struct.unpack_from(">I", description, 8 + 32)[0] >> 16 or media_timescale
    times = _only(table, b"stts")
    count = struct.unpack_from(">I", times, _FULL)[0]
    pairs = list(struct.iter_unpack(">II", times[8 : 8 + 8 * count]))
    length = sum(frames * ticks for frames, ticks in pairs)
    sizes = next(_boxes(table, b"stsz"), None)
    if sizes is not None and struct.unpack_from(">I", sizes, 8)[0] != sum(frames for frames, _ in pairs):
        raise IndexError("there are more times than samples, or fewer")
    edits = next(_boxes(track, b"edts"), None)
    if edits is not None:
        length = _edited(_only(edits, b"elst"), length, media_timescale, movie_timescale)
    elif itunes:  # which ffmpeg heeds, too
        delay, sound = int(itunes[1], 16), int(itunes[2], 16)
        length = min(sound or length, length - delay)
    return Track(rate, _rescale(length, rate, media_timescale), _channels(description))


def _channels(description: bytes) -> int:
    """Channels of the first entry of a sample description.

    ISO/IEC 14496-14 has writers put 2 into the entry whatever the sound is; what holds for AAC stands in the decoder's
    own configuration (ISO/IEC 14496-3, 1.6.2.1): 5 bits of object type, 4 of rate, 4 of channel configuration.
    """
    length = struct.unpack_from(">I", description, 8)[0]
    version, declared = struct.unpack_from(">H", description, 24)[0], struct.unpack_from(">H", description, 32)[0]
    inside = description[8 + 36 + {1: 16, 2: 36}.get(version, 0) : 8 + length]
    for wave in _boxes(inside, b"wave"):  # QuickTime's wrapping
        inside = wave
    for stream in _boxes(inside, b"esds"):
        bits = int.from_bytes(_decoder_configuration(stream)[:8].ljust(8, b"\0"), "big")
        kind, place = bits >> 59, 59
        if kind == 31:
            place -= 6
        rate = bits >> (place - 4) & 15
        place -= 4 + (24 if rate == 15 else 0)
        configured = bits >> (place - 4) & 15
        if 1 <= configured <= 7:
            return 8 if configured == 7 else configured
    return max(declared, 1)


def _decoder_configuration(stream: bytes) -> bytes:
    """The decoder's own configuration in an `esds` box: the descriptor 5 within 4 within 3."""
    place = _FULL
    while place < len(stream):
        tag, place = stream[place], place + 1
        length = 0
        while stream[place] & 0x80:
            length, place = (length << 7) + (stream[place] & 0x7F), place + 1
        length, place = (length << 7) + stream[place], place + 1
        if tag == 5:
            return stream[place : place + length]
        if tag == 3:  # its number, then flags that say what else comes before the next descriptor
            flags = stream[place + 2]
            place += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
            if flags & 0x40:
                raise IndexError("a stream by address")
        else:
            place += 13 if tag == 4 else length
    return b""


def _edited(edits: bytes, length: int, media_timescale: int, movie_timescale: int) -> int:
    """What of `length` the edit list plays, in units of the media; silence put before the sound does not count."""
    version, count = edits[0], struct.unpack_from(">I", edits, _FULL)[0]
    form = ">QqI" if version == 1 else ">IiI"
    played = 0
    for number in range(count):
        duration, begin, _ = struct.unpack_from(form, edits, 8 + number * struct.calcsize(form))
        if begin < 0:
            continue
        rest = length - begin
        wanted = _rescale(duration, media_timescale, movie_timescale) if duration else rest
        played += max(0, min(wanted, rest))
    return played


def _rescale(count: int, to: int, of: int) -> int:
    """`count` ticks of 1 / `of` s as ticks of 1 / `to` s, rounded to the nearest."""
    return (count * to + of // 2) // of


def _timescale(header: bytes) -> int:
    """Ticks a second, from a movie's or a media's header."""
    return struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]


def _top_boxes(opened: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte of the content, end) of every box of the file."""
    place = 0
    while place + 8 <= size:
        opened.seek(place)
        header = opened.read(16)
        length, kind = struct.unpack_from(">I4s", header)
        content = 8
        if length == 1 and len(header) == 16:
            length, content = struct.unpack_from(">Q", header, 8)[0], 16
        elif length == 0:  # up to the end of the file
            length = size - place
        if length < content:
            return
        yield kind, place + content, place + length
        place += length


def _boxes(content: bytes, wanted: bytes) -> Iterator[bytes]:
    """The contents of the boxes of type `wanted` directly within `content`."""
    place = 0
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        start = place + 8
        if length == 1:
            length, start = struct.unpack_from(">Q", content, place + 8)[0], place + 16
        if length < start - place:
            return
        if kind == wanted:
            yield content[start : place + length]
        place += length


def _only(content: bytes, wanted: bytes) -> bytes:
    found = next(_boxes(content, wanted), None)
    if found is None:
        raise IndexError(wanted)
    return found
