"""The samples of a recording, block by block, wherever they come from: libsndfile, ffmpeg or a command."""

import io
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from sdpn.audio import faults, pipes
from sdpn.audio.decoders import chunks, ffmpeg, flac
from sdpn.audio.decoders.parts import Decoding
from sdpn.audio.route import PLAIN, START, Route, find_route, route_of
from sdpn.errors import UnusableError
from sdpn.files import file_stamp

_BLOCK_SECONDS = 30
_SOUGHT = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW", "OPUS", "ALAC")
"""Where libsndfile seeks well: in Vorbis and MP3 it reads other samples than those of the whole, or it refuses."""
UNTOLD = 2**48
"""A number of samples that libsndfile gives where the header does not tell it, or a greater one."""


class Header(NamedTuple):
    """What there is in a recording: Hz, samples per channel, channels."""

    sampling_rate: int
    num_samples: int
    num_channels: int


def read_blocks(
    source: str | Path,
    is_command: bool = False,
    rate: int | None = None,
    first: int = 0,
    last: int | None = None,
    length: int | None = None,
) -> Iterator[np.ndarray]:
    """Read (n_samples, n_channels) float32 samples of a recording, in blocks of half a minute at most.

    Args:
        source: a file, or a command that writes one.
        is_command: whether it is a command.
        rate: Hz, what the recording must have; None where that does not matter.
        first, last: which samples; up to the end where `last` is None.
        length: samples in the whole recording, where that is known. What must be decoded from its start on is read to
            its end with the last part of it, which is when it is known whether the file was whole; with any other part
            it stays open, since the parts of a recording come one after another.

    Raises:
        UnusableError: it cannot be read, or has another rate.
        OutsideError: the command fails.
    """
    stop = UNTOLD if last is None else last
    if is_command:
        pipes.refuse_unless_allowed(str(source))
        found = _read_content(_audio_of(str(source)), first, stop)
    else:
        found = _read_file(str(source), first, stop, length)
    try:
        for own_rate, block in found:
            if rate not in (None, own_rate):
                detail = (
                    f"{_name(source, is_command)} has {own_rate} Hz where the manifest says {rate}: run stage 0 again"
                )
                raise UnusableError("of another sampling rate", detail)
            yield block
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        if is_command:
            raise UnusableError("a command does not give audio", f"{_name(source, is_command)}: {reason}") from None
        raise UnusableError(faults.UNREADABLE, f"{source}: {reason}") from None


def resample(blocks: Iterator[np.ndarray], rate: int, wanted_rate: int) -> Iterator[np.ndarray]:
    """Blocks of (n_samples,) at another rate (Hz); how they are cut changes nothing of it."""
    import soxr

    resampler = soxr.ResampleStream(rate, wanted_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def measure(source: str | Path, is_command: bool = False) -> Header:
    """Read a recording to its end, for what no header tells.

    Raises:
        UnusableError: see `read_blocks`; or there are no samples in it.
    """
    if is_command:
        pipes.refuse_unless_allowed(str(source))
        found = _read_content(_audio_of(str(source)), 0, UNTOLD)
    else:
        found = _read_file(str(source), 0, UNTOLD, None)
    rate = samples = channels = 0
    try:
        for rate, block in found:  # noqa: B007  (rate is used behind the loop)
            samples, channels = samples + len(block), block.shape[1]
    except soundfile.LibsndfileError as error:
        raise UnusableError(faults.NOT_AUDIO, error.error_string.rstrip(".")) from None
    if not samples:
        raise UnusableError(faults.NO_SAMPLES)
    return Header(rate, samples, channels)


@lru_cache(maxsize=1)  # the segments of a recording come one after another
def _audio_of(command: str) -> bytes:
    return _for_libsndfile(pipes.command_output(command), command)


def _for_libsndfile(content: bytes, command: str) -> bytes:
    """The same audio, as a WAV file where ffmpeg alone reads it."""
    opened = io.BytesIO(content)
    start = opened.read(START)
    chunks.refuse_faulty(opened, start)
    if not find_route(opened, start).by_ffmpeg:
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as sound:
                if sound.frames:
                    if sound.format == "FLAC":
                        flac.refuse_joined(io.BytesIO(content))
                    return content
        except soundfile.LibsndfileError:
            if not ffmpeg.available():
                return content
    with tempfile.NamedTemporaryFile(prefix="sdpn-command-") as file:
        file.write(content)
        file.flush()
        try:
            rates, blocks = zip(*_read_file(file.name, 0, UNTOLD, None), strict=True)
            wav = io.BytesIO()
            soundfile.write(wav, np.concatenate(blocks), rates[0], format="WAV", subtype="FLOAT")
            return wav.getvalue()
        except UnusableError as error:
            detail = error.reason.detail.replace(file.name, "its output")
            raise UnusableError("a command does not give audio", f"`{command[:100]}`: {detail or error}") from None


def _name(source: str | Path, is_command: bool) -> str:
    return f"`{str(source)[:100]}`" if is_command else str(source)


def _read_file(path: str, first: int, last: int, length: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """The sampling rate, again and again, and blocks of samples [first, last) of a file."""
    route = route_of(path)
    is_part = first > 0 or last < (UNTOLD if length is None else length)
    if route == PLAIN and (sound := open_plain(path)) is not None:
        with sound:
            if not is_part or sound.subtype.startswith(_SOUGHT):
                yield from _read_sound(sound, first, last)
                if sound.format == "FLAC" and last >= sound.frames:
                    with open(path, "rb") as opened:
                        flac.refuse_joined(opened)
                return
    elif route.parts and not is_part:
        yield from _from_start(path, route)
        return
    yield from _decode(path, first, last, length)


def _from_start(path: str, route: Route) -> Iterator[tuple[int, np.ndarray]]:
    """All samples of a file, whoever decodes it."""
    if route.parts:
        with open(path, "rb") as opened:
            yield from _read_parts(opened, route)
        return
    sound = None if route.by_ffmpeg else open_plain(path)
    if sound is None:
        yield from ffmpeg.decode(path)
        return
    with sound:
        yield from _read_sound(sound, 0, UNTOLD)


def open_plain(path: str | Path) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None where it refuses the file, or sees no sound in it, and ffmpeg may see some.

    Raises:
        soundfile.LibsndfileError: it refuses the file, and there is no ffmpeg.
        UnusableError: the name says that there are samples in it without a header.
    """
    try:
        sound = soundfile.SoundFile(path)
    except TypeError:  # soundfile goes by the name: .raw
        raise UnusableError(faults.NOT_AUDIO, "samples without a header") from None
    except soundfile.LibsndfileError:
        if ffmpeg.available():
            return None
        raise
    if sound.frames:
        return sound
    sound.close()
    return None


def _read_content(content: bytes, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """The same of what stands in memory."""
    route = find_route(io.BytesIO(content), content[:START])
    if not route.parts:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            if sound.subtype.startswith(_SOUGHT):
                yield from _read_sound(sound, first, last)
                return
            whole = _read_sound(sound, 0, UNTOLD)
            yield from Decoding(("content",), whole).read(first, last)
            return
    yield from Decoding(("content",), _read_parts(io.BytesIO(content), route)).read(first, last)


def sum_of_parts(path: str | Path, route: Route) -> Header:
    """What the headers of the parts of a file say together.

    Raises:
        UnusableError: they differ in rate or channels.
    """
    found = []
    with open(path, "rb") as opened:
        for part in route.parts:
            with soundfile.SoundFile(part.open(opened)) as sound:
                found.append(Header(sound.samplerate, sound.frames, sound.channels))
    if len({(one.sampling_rate, one.num_channels) for one in found}) > 1:
        raise UnusableError(faults.JOINED, "of several rates or numbers of channels")
    return found[0]._replace(num_samples=sum(one.num_samples for one in found))


def _read_parts(opened: Any, route: Route) -> Iterator[tuple[int, np.ndarray]]:
    for part in route.parts:
        with soundfile.SoundFile(part.open(opened)) as sound:
            yield from _read_sound(sound, 0, UNTOLD)


def _read_sound(sound: soundfile.SoundFile, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    if first:
        sound.seek(first)
    while first < last:
        at_once = min(last - first, _BLOCK_SECONDS * sound.samplerate)
        block = sound.read(at_once, dtype="float32", always_2d=True)
        if not len(block):
            return
        first += len(block)
        yield sound.samplerate, block


def _decode(path: str, first: int, last: int, length: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """The same of what is decoded from the start on: nobody knows how much before a sample a decoder must have seen."""
    key = (path, file_stamp(path))
    decoding = getattr(_decoded, "last", None)
    _decoded.last = None  # until this part is through: somebody else may ask for the file meanwhile
    if decoding is None or decoding.key != key or decoding.at > first:
        decoding = Decoding(key, _from_start(path, route_of(path)))
    yield from decoding.read(first, last)
    if length is not None and last < length:
        _decoded.last = decoding
    else:
        decoding.finish()  # which is when it is known whether the file was whole


_decoded = threading.local()
