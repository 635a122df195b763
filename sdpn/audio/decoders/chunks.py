"""How many bytes of sound a container tells of, and how many are there: libsndfile takes what is there for all.

Formats: WAV, RIFX, RF64 (EBU 3306), W64, AIFF, 8SVX, AU, CAF, VOC, SPHERE, AVR, HTK, Matroska, ASF, WavPack, TTA,
AC-3, and those of `container.py`. None of it is decoded; a few hundred bytes are read.

IRCAM, PAF, PVF, SD2 and XI as libsndfile writes it tell no length and have no end: half of such a file is a shorter
recording, and nobody can know. FLAC tells its length in samples: half of it is refused when it is read.
"""

import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sdpn.audio import faults
from sdpn.audio.decoders import container
from sdpn.audio.decoders.container import Sound
from sdpn.errors import UnusableError

# Sizes that mean "until the end of the file": what sox, ffmpeg and others write into a pipe
_OPEN_END = 0x7FFFF000
_W64 = b"riff\x2e\x91\xcf\x11"
_ASF = bytes.fromhex("3026b2758e66cf11")
_AC3_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def refuse_faulty(opened: BinaryIO, start: bytes, path: str | Path = "") -> None:
    """Make sure that an opened file is as long as its container says, and is one file.

    Args:
        start: its first 32 bytes at least, or what there is of them.
        path: its name, by whose ending files of HTK are known.

    Raises:
        UnusableError: it is not.
    """
    parser = _parser(start, path)
    try:
        sound = parser and parser(opened, start[:32], opened.seek(0, os.SEEK_END))
    except (struct.error, ValueError, LookupError, ZeroDivisionError, OSError):
        sound = None  # whoever decodes it says what is wrong
    if sound is not None and sound.fault is not None:
        raise UnusableError(*sound.fault)
    if sound is not None and not sound.told and not sound.there:
        raise UnusableError(faults.NO_SAMPLES)
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        (length,) = struct.unpack("<I", start[4:8])
        opened.seek(8 + length + length % 2)
        head = opened.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":  # as `cat` joins them
            raise UnusableError(faults.JOINED, f"a second WAV file begins at byte {8 + length}: split them")


def _parser(start: bytes, path: str | Path) -> Callable[[BinaryIO, bytes, int], Sound | None] | None:
    if start[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and start[8:12] == b"WAVE":
        return _wav
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _aiff
    if start[:2] == b"\x0b\x77":
        return _ac3
    if start[:4] in _PARSERS:
        return _PARSERS[start[:4]]
    return _htk if os.path.splitext(path)[1].lower() == ".htk" else container.parser_of(start)


def _chunks(opened: BinaryIO, first: int, form: str, align: int = 2) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset of the content and size of every chunk whose header is there."""
    head, at = struct.calcsize(form), first
    while len(found := (opened.seek(at), opened.read(head))[1]) == head:
        name, size = struct.unpack(form, found)
        yield name, at + head, size
        if size < 0:
            return
        at += head + size + -size % align


def _wav(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    order = ">" if start[:4] == b"RIFX" else "<"
    per_second, unit, long_length = 0, 2, None
    end = 12
    for name, offset, length in _chunks(opened, 12, f"{order}4sI"):
        end = offset + length
        if name == b"ds64":
            opened.seek(offset + 8)
            (long_length,) = struct.unpack("<q", opened.read(8))
        elif name == b"fmt ":
            opened.seek(offset)
            per_second, unit = struct.unpack(f"{order}8xIH", opened.read(14))
        elif name == b"data":
            if length == 0xFFFFFFFF and long_length is not None and long_length > 0:
                length = long_length
            elif length == 0:  # a recorder that crashed, or indeed nothing
                if _is_chain(opened, offset, size):
                    return Sound(0, 0)
                length = _OPEN_END
            told = None if _OPEN_END <= length <= 0xFFFFFFFF else length
            return Sound(told, size - offset, per_second, unit)
    return Sound(end + 8, size, 0, 0) if end >= size else None


def header_for_untold(opened: BinaryIO, start: bytes) -> tuple[bytes, int] | None:
    """A header for a WAV or RF64 file that libsndfile takes for empty, since its own tells no size, and where its sound
    begins; None for any other. `start` are the first 44 bytes of the file at least.
    """
    form, long_length = b"", None
    if start[36:40] == b"data" and any(start[40:44]) and start[:4] == b"RIFF":  # nearly every WAV file
        return None
    if start[:4] not in (b"RIFF", b"RF64") or start[8:12] != b"WAVE":
        return None
    size = opened.seek(0, os.SEEK_END)
    for name, offset, length in _chunks(opened, 12, "<4sI"):
        if name in (b"ds64", b"fmt "):
            opened.seek(offset)
            content = opened.read(min(length, 1 << 16))
            form, long_length = (content, long_length) if name == b"fmt " else (form, content[8:16])
        elif name == b"data":
            untold = length == 0 or (length == 0xFFFFFFFF and long_length is not None and not any(long_length))
            there = size - offset
            if not untold or not form or not 0 < there < 0xFFFF0000 or (not length and _is_chain(opened, offset, size)):
                return None
            chunks = struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", there)
            return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks) + there, b"WAVE") + chunks, offset
    return None


def _is_chain(opened: BinaryIO, at: int, size: int) -> bool:
    """Whether nothing but chunks of text stands from there to the end."""
    for name, offset, length in _chunks(opened, at, "<4sI"):
        if not name.isalnum():
            return False
        at = offset + length + length % 2
    return size - 1 <= at <= size + 1


def _w64(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    at = 40
    while len(head := (opened.seek(at), opened.read(24))[1]) == 24:
        name, length = struct.unpack("<4s12xq", head)  # which counts the head, too
        if name == b"data":
            return Sound(length - 24 if 24 < length < 1 << 60 else None, size - at - 24)
        if length < 24:
            return None
        at += length + -length % 8
    return Sound(at, size, 0, 0) if at > size else None


def _aiff(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    end = 12
    for name, offset, length in _chunks(opened, 12, ">4sI"):
        end = offset + length
        if name in (b"SSND", b"BODY"):
            return Sound(length if 0 < length < _OPEN_END else None, size - offset)
    return Sound(end, size, 0, 0) if end > size else None


def _au(opened: BinaryIO, start: bytes, size: int) -> Sound:
    offset, length = struct.unpack((">" if start[:1] == b"." else "<") + "4xII", start[:12])
    return Sound(length if 0 < length < _OPEN_END else None, size - offset)


def _caf(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    end = 8
    for name, offset, length in _chunks(opened, 8, ">4sq", 1):
        end = offset + length
        if name == b"data":
            if length < 0:
                return Sound(None, size - offset)
            if end > size:
                return Sound(length, size - offset)
    return Sound(end, size, 0, 0) if end > size else None


def _avr(opened: BinaryIO, start: bytes, size: int) -> Sound:
    stereo, bits, count = struct.unpack(">12xHH10xI", start[:30])
    return Sound(count * bits // 8 * (2 if stereo else 1), size - 128)


def _sphere(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    begin = int(start[8:16])
    opened.seek(0)
    fields = dict(re.findall(rb"^(\w+) -\S+ ([^\n;]+)", opened.read(min(begin, 1 << 16)), re.MULTILINE))
    if b"embedded" in fields.get(b"sample_coding", b""):  # compressed
        return None
    told = int(fields[b"sample_count"]) * int(fields.get(b"channel_count", 1)) * int(fields.get(b"sample_n_bytes", 2))
    return Sound(told or None, size - begin)


def _voc(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    (at,) = struct.unpack_from("<H", start, 20)
    while len(head := (opened.seek(at), opened.read(4))[1]) >= 1 and 0 < head[0] <= 9:
        if len(head) < 4:
            return Sound(at + 4, size, 0, 0)
        at += 4 + int.from_bytes(head[1:], "little")
        if at > size:
            return Sound(at, size, 0, 0)
    return None


def _wavpack(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    at = 0
    while (head := (opened.seek(at), opened.read(8))[1])[:4] == b"wvpk" and len(head) == 8:
        at += 8 + int.from_bytes(head[4:], "little")
    return Sound(at, size, 0, 0) if at > size else None


def _tta(opened: BinaryIO, start: bytes, size: int) -> Sound:
    rate, samples = struct.unpack("<10xII", start[:18])
    count = -(-samples // (256 * rate // 245))
    opened.seek(22)
    told = 26 + 4 * count + sum(struct.unpack(f"<{count}I", opened.read(4 * count)))
    return Sound(told, size, 0, 1)


def _ac3(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    at = 0
    while (head := (opened.seek(at), opened.read(6))[1])[:2] == b"\x0b\x77" and len(head) == 6:
        if head[5] >> 3 > 10:  # E-AC-3
            at += 2 * (((head[2] & 7) << 8 | head[3]) + 1)
            continue
        kilobits, odd = _AC3_KILOBITS[(head[4] & 63) >> 1], head[4] & 1
        words = {0: 2 * kilobits, 1: kilobits * 96000 // 44100 + odd, 2: 3 * kilobits}[head[4] >> 6]
        at += 2 * words
    return Sound(at, size, 0, 1) if at > size else None


def _htk(opened: BinaryIO, start: bytes, size: int) -> Sound:
    count, width = struct.unpack(">I4xH", start[:10])
    return Sound(count * width, size - 12)


def _matroska(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    """The segment holds all clusters; what is streamed has no size."""
    length, width = _vint(start[4:12])
    opened.seek(4 + width + (length or 0))
    head = opened.read(12)
    if head[:4] != b"\x18\x53\x80\x67":
        return None
    told, own = _vint(head[4:])
    return Sound(told, size - 4 - width - (length or 0) - 4 - own, 0, 1)


def _vint(content: bytes) -> tuple[int | None, int]:
    """A number of EBML's variable width, None for the one that means "unknown", and its width in bytes."""
    width = 9 - content[0].bit_length()
    bits = 7 * width
    number = int.from_bytes(content[:width], "big") & ((1 << bits) - 1)
    return (None if number == (1 << bits) - 1 else number), width


def _asf(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    opened.seek(0)
    head = opened.read(1 << 16)
    at = head.index(_ASF_PROPERTIES)
    (told,), (flags,) = struct.unpack_from("<Q", head, at + 40), struct.unpack_from("<I", head, at + 88)
    return None if flags & 1 or not told else Sound(told, size, 0, 1)  # 1: broadcast, of no known size


_PARSERS = {
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
    b"2BIT": _avr,
    b"NIST": _sphere,
    b"Crea": _voc,
    b"wvpk": _wavpack,
    b"TTA1": _tta,
    _W64[:4]: _w64,
    b"\x1a\x45\xdf\xa3": _matroska,
    _ASF[:4]: _asf,
}
