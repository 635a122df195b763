"""What a container tells of the sound in it, and what is there; here of the rarer ones: MAT4, MAT5, WVE, MPC2K, SDS."""

import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from sdpn.audio import faults
from sdpn.errors import Reason

_HEAD_OF_MAT5 = 128  # bytes of text, then the version and the byte order
_WIDTHS_OF_MAT4 = (8, 4, 4, 2, 2, 1)  # bytes of a number, by the tens of the type
_DATA_OF_WVE, _DATA_OF_MPC2K, _DATA_OF_SDS = 32, 42, 21
_PACKET_OF_SDS, _PAYLOAD_OF_SDS = 127, 120


class Sound(NamedTuple):
    """The sound in a container.

    Attributes:
        told: bytes, by the header; None where it does not tell.
        there: bytes up to the end of the file.
        per_second: bytes; 0 where that is not known.
        unit: bytes that cannot be told from none: an unfinished sample.
    """

    told: int | None
    there: int
    per_second: int = 0
    unit: int = 2

    @property
    def fault(self) -> Reason | None:
        """Why the file cannot be used; None where nothing speaks against it."""
        if self.told is None or self.told - self.there < max(1, self.unit):
            return None
        if self.per_second:
            told, there = self.told / self.per_second, self.there / self.per_second
            return Reason(faults.CUT_OFF, f"its header says {told:.2f} s, {there:.2f} s are there")
        return Reason(faults.CUT_OFF, f"its header tells of {self.told} bytes, {self.there} are there")


def parser_of(start: bytes) -> Callable[[BinaryIO, bytes, int], Sound | None] | None:
    """Who finds the sound of a file that begins so; None for another format.

    Args:
        start: 32 bytes, or what there is of them.
    """
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        return _mat5
    if start[20:31] == b"samplerate\0":  # the name of the first matrix, as libsndfile expects it
        return _mat4
    if start.startswith(b"ALawSoundFile**"):
        return _wve
    return {b"\1\4": _mpc2k, b"\xf0\x7e": _sds}.get(start[:2])


def _mat5(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    """The elements one after another (MATLAB's MAT-File Format, level 5)."""
    opened.seek(_HEAD_OF_MAT5 - 2)
    order, at = "<" if opened.read(2) == b"IM" else ">", _HEAD_OF_MAT5
    while len(head := (opened.seek(at), opened.read(8))[1]) == 8:
        (length,) = struct.unpack(f"{order}4xI", head)
        if not length:
            return None
        at += 8 + length
    return Sound(at, size, 0, 16) if at > size else None  # libsndfile does not write the last padding that it tells of


def _mat4(opened: BinaryIO, start: bytes, size: int) -> Sound | None:
    """The matrices one after another: type, rows, columns, whether it is complex, length of the name, name, values."""
    order, at = ">" if start[:4] == b"\0\0\x03\xe8" else "<", 0
    while len(head := (opened.seek(at), opened.read(20))[1]) == 20:
        form, rows, columns, is_complex, name = struct.unpack(f"{order}5I", head)
        if not rows * columns:
            return None
        at += 20 + name + rows * columns * _WIDTHS_OF_MAT4[form % 100 // 10] * (2 if is_complex else 1)
    return Sound(at, size, 0, 1) if at > size else None


def _wve(opened: BinaryIO, start: bytes, size: int) -> Sound:
    (samples,) = struct.unpack_from(">I", start, 18)  # of a byte each
    return Sound(samples or None, size - _DATA_OF_WVE, 8000, 1)


def _mpc2k(opened: BinaryIO, start: bytes, size: int) -> Sound:
    stereo, (frames,) = start[21], struct.unpack_from("<I", start, 26)
    return Sound(frames * (4 if stereo else 2), size - _DATA_OF_MPC2K)


def _sds(opened: BinaryIO, start: bytes, size: int) -> Sound:
    """MIDI Sample Dump: packets of samples, each sample in as many groups of seven bits as its width takes."""
    per_packet = _PAYLOAD_OF_SDS // -(-start[6] // 7)
    samples = sum(group << 7 * index for index, group in enumerate(start[10:13]))
    return Sound(-(-samples // per_packet) * _PACKET_OF_SDS, size - _DATA_OF_SDS, 0, 1)
