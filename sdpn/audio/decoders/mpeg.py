"""MPEG audio (MP3, MP2): how long a file is, frame by frame (ISO/IEC 11172-3, 13818-3), and what is joined in it.

The first frame of most MP3 files is no sound but a table of Xing's, LAME's or Fraunhofer's that counts the frames and
says what the encoder put before and behind the sound. libsndfile believes a Xing or an Info table; it plays a VBRI one;
without one it guesses the length by the first frame's bit rate and the size of the file, pictures included. So where a
file has no such table, one is put before its frames as libsndfile reads them.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from sdpn.audio import faults
from sdpn.audio.decoders.parts import Part
from sdpn.errors import UnusableError

_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KILOBITS = {  # by MPEG-1 or not, and layer
    (True, 1): tuple(range(0, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _V2,
    (False, 3): _V2,
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG-1, MPEG-2, MPEG-2.5
_SEARCHED = 1 << 20  # bytes of no known kind in which the next frame is looked for


class Frame(NamedTuple):
    """What the four bytes at the beginning of a frame say.

    Attributes:
        length: bytes.
        sampling_rate: Hz.
        samples, channels: of the sound in it.
        layer: 3 for MP3.
        side: bytes between those four and a table of Xing's.
    """

    length: int
    sampling_rate: int
    samples: int
    channels: int
    layer: int
    side: int


class Stream(NamedTuple):
    """Frames that follow each other.

    Attributes:
        start, stop: bytes of the file, the frame with the table not among them.
        first: the first of the frames.
        count: of the frames.
        table: the kind of table before them: b"Xing", b"Info", b"VBRI" or nothing.
        told: the number of frames that the table gives, None where it does not.
        encoder: who made the table; LAME, and ffmpeg after it, say there what they put before and behind the sound.
        table_start: where the frame with the table begins.
    """

    start: int
    stop: int
    first: Frame
    count: int
    table: bytes
    told: int | None
    encoder: bytes
    table_start: int


@lru_cache(maxsize=4096)  # a file has a handful of different ones
def parse_frame(head: bytes) -> Frame | None:
    """What the first four bytes of a frame say; None where they begin none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bits in (0, 15):
        return None
    channels, hertz = 1 if head[3] >> 6 == 3 else 2, _RATES[version][rate]
    bitrate = 1000 * _KILOBITS[version == 3, layer][bits]
    samples = 384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576
    length = (12 * bitrate // hertz + padding) * 4 if layer == 1 else samples // 8 * bitrate // hertz + padding
    side = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[version == 3, channels]
    return Frame(length, hertz, samples, channels, layer, side)


def parts_of(content: bytes) -> tuple[Part, ...] | None:
    """The parts that libsndfile reads one after another, none where that is the whole file; None where it is ffmpeg's.

    Args:
        content: the file: bytes, or mapped into memory.

    Raises:
        UnusableError: the file is cut off, or parts of several rates or numbers of channels are joined in it.
    """
    streams = list(_streams(content))
    if not streams:
        return None
    kinds = {(stream.first.sampling_rate, stream.first.channels) for stream in streams}
    if len(kinds) > 1:
        raise UnusableError(faults.JOINED, f"of {len(kinds)} rates or numbers of channels")
    for stream in streams:
        if stream.told is not None and stream.count < stream.told - 1:  # some count the table as a frame
            raise UnusableError(faults.CUT_OFF, f"its header tells of {stream.told} frames, {stream.count} are there")
    if len(streams) == 1 and streams[0].first.layer == 3 and _is_believed(streams[0]):
        return ()
    if any(stream.first.layer != 3 for stream in streams):
        return None
    return tuple(
        Part(stream.table_start, stream.stop)
        if _is_believed(stream)
        else Part(stream.start, stream.stop, _table_before(content[stream.start : stream.start + 4], stream))
        for stream in streams
    )


def _is_believed(stream: Stream) -> bool:
    """Whether libsndfile knows the sound by the table."""
    return stream.told == stream.count and stream.encoder in (b"LAME", b"Lavf", b"Lavc")


def _table_before(head: bytes, stream: Stream) -> bytes:
    """A frame with a table as LAME writes it, and an empty frame, for frames that begin with `head`.

    A decoder that goes by the table leaves out the encoder's delay and 529 samples of its own: together these are the
    empty frame, so that all of the sound is left, as there is without a table.
    """
    delay = stream.first.samples - 529
    table = struct.pack(">4sII9s12xBBB12x", b"Xing", 1, stream.count + 1, b"LAME3.100", delay >> 4, delay << 4 & 255, 0)
    room = 4 + stream.first.side + len(table)
    frames = [bytes([head[0], head[1] | 1, bits << 4 | head[2] & 0x0C, head[3]]) for bits in range(1, 15)]
    frame = next(frame for frame in frames if parse_frame(frame).length >= room)
    with_table = (frame + bytes(stream.first.side) + table).ljust(parse_frame(frame).length, b"\0")
    return with_table + frames[0].ljust(parse_frame(frames[0]).length, b"\0")


def _streams(content: bytes) -> Iterator[Stream]:
    """The runs of frames of a file: a table, a tag between them, another rate or damage begins a new one."""
    size = len(content)
    at = 0
    while (at := _next_frame(content, at)) < size:
        frame = parse_frame(content[at : at + 4])
        table, told, encoder = _table(content, at, frame)
        table_start, kind = at, frame[1:5]
        if table:
            at += frame.length
        start, first, count = at, None, 0
        while frame := parse_frame(content[at : at + 4]):
            if frame[1:5] != kind or (count == told if table else _table(content, at, frame)[0]):
                break
            if first is not None and _table(content, at, frame)[0]:
                break
            if at + frame.length > size:
                raise UnusableError(faults.CUT_OFF, "within a frame")
            first = first or frame
            count += 1
            at += frame.length
        if first is not None:
            yield Stream(start, at, first, count, table, told, encoder, table_start)
        elif told:
            raise UnusableError(faults.CUT_OFF, f"its header tells of {told} frames, none is there")
        at = max(at, table_start + 1)


def _table(content: bytes, at: int, frame: Frame) -> tuple[bytes, int | None, bytes]:
    """The kind of table that a frame is, nothing where it is sound; the number of frames that it gives; its encoder."""
    if frame.layer != 3:
        return b"", None, b""
    name = content[at + 4 + frame.side : at + 8 + frame.side]
    if name in (b"Xing", b"Info"):
        begin = at + 8 + frame.side
        flags, count = struct.unpack(">II", content[begin : begin + 8].ljust(8, b"\0"))
        begin += 4 + 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
        return name, count if flags & 1 else None, bytes(content[begin : begin + 4])
    if content[at + 36 : at + 40] == b"VBRI":
        return b"VBRI", int.from_bytes(content[at + 50 : at + 54], "big"), b""
    return b"", None, b""


def _next_frame(content: bytes, at: int) -> int:
    """Where the next frame begins, tags, zeros and damage aside; the end where there is none.

    A frame counts where another one follows it, or where nothing but the end or a tag does.
    """
    size = len(content)
    searched = at
    while at < size:
        tag = _tag_length(content, at)
        if tag:
            at = searched = at + tag
            continue
        frame = parse_frame(content[at : at + 4])
        if frame:
            following = at + frame.length
            after = parse_frame(content[following : following + 4])
            if after and after[1:5] == frame[1:5]:
                return at
            if searched == at and (following >= size or _tag_length(content, following)):
                return at
        at = content.find(b"\xff", at + 1)
        if at < 0 or at - searched > _SEARCHED:
            return size
    return size


def _tag_length(content: bytes, at: int) -> int:
    """Bytes of the tag that begins there: ID3v2, ID3v1, APE's or Lyrics3; 0 where none does."""
    head = content[at : at + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return 10 + length + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        length, flags = struct.unpack("<I4xI", head[12:24])
        return 32 + length if flags & 1 << 29 else 32  # a header, whose length counts its items and footer; or a footer
    if head[:11] == b"LYRICSBEGIN":
        ends = [content.find(end, at) for end in (b"LYRICS200", b"LYRICSEND")]
        return min((end + 9 - at for end in ends if end >= 0), default=0)
    return 0
