"""Samples of cuts, block by block, so that an utterance of hours needs no more memory than one of seconds."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.audio import pipes
from sdpn.audio.decoders import ffmpeg
from sdpn.audio.headers import read_header
from sdpn.audio.read import is_ffmpegs, read_blocks
from sdpn.errors import SdpnError, UnusableError
from sdpn.reasons import Reason
from sdpn.utterance import Utterance, round_half_up, utterance_of

_BLOCK_SECONDS = 30


def utterance_of_file(path: str | Path, sampling_rate: int) -> Utterance:
    """The first channel of a recording, from beginning to end, read at `sampling_rate` (Hz) whatever it has.

    Raises:
        SdpnError: the file cannot be used; the sentence says why.
    """
    header = read_header(path)
    if isinstance(header, Reason):
        raise UnusableError(*header)
    return Utterance(str(path), str(path), *header, channel=0).resampled(sampling_rate)


def load_samples(cut: Any) -> np.ndarray:
    """The (n_samples,) float32 samples of a single-channel cut, resampled as its recording says.

    Args:
        cut: an Utterance, or a Lhotse cut.

    Raises:
        SdpnError: the file is missing, unreadable, of another rate or shorter than the manifest says, or empty.
    """
    blocks = list(stream_samples(cut))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_samples(cut: Any) -> Iterator[np.ndarray]:
    """The same in consecutive blocks of half a minute at most; see `load_samples` for what it raises.

    A recording of one file that libsndfile or ffmpeg reads, or of one command, resampled or not, is read here: several
    times as fast as through Lhotse, and in bounded memory, but for what a command writes. What else a cut may be (a
    URL, an augmented recording, several sources) Lhotse loads in one piece.
    """
    utterance = utterance_of(cut)
    if utterance.duration <= 0:
        raise UnusableError("the audio is empty")
    rate = utterance.source_rate or utterance.sampling_rate
    if utterance.kind == "lhotse":
        blocks = _through_lhotse(utterance)
    else:
        is_command = utterance.kind == "command"
        read = _read_command if is_command else _decode_file if _is_ffmpegs(utterance.source) else _read_file
        blocks = _resampled(read(utterance, rate), rate, utterance.sampling_rate)
    wanted = utterance.num_samples
    count = 0
    for block in blocks:
        block = block[: wanted - count]  # a resampler may be one sample ahead
        count += len(block)
        if len(block):
            yield block
    if 0 < wanted - count <= 2 and utterance.kind != "lhotse" and rate != utterance.sampling_rate:
        yield np.zeros(wanted - count, dtype=np.float32)  # ... or one behind
    elif count != wanted:
        raise UnusableError("the file was cut off, or has changed", f"{count} samples where the manifest says {wanted}")


def _resampled(blocks: Iterator[np.ndarray], rate: int, wanted_rate: int) -> Iterator[np.ndarray]:
    """The blocks at another rate; how they are cut changes nothing of it."""
    if rate == wanted_rate:
        yield from blocks
        return
    import soxr

    resampler = soxr.ResampleStream(rate, wanted_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _extent(utterance: Utterance, rate: int) -> tuple[int, int]:
    """First and last sample of an utterance in its source."""
    if not 0 <= (utterance.channel or 0) < utterance.num_channels:
        raise UnusableError("its recording lacks the channel", str(utterance.channel))
    first = round_half_up(utterance.start * rate)
    return first, first + round_half_up(utterance.duration * rate)


def _column(block: np.ndarray, utterance: Utterance, path: str) -> np.ndarray:
    """The channel of an utterance in (n_samples, n_channels) samples."""
    column = utterance.channel or 0
    if column >= block.shape[1]:
        detail = f"{path} has {block.shape[1]} channels where the manifest says more: run stage 0 again"
        raise UnusableError("its recording lacks the channel", detail)
    return np.ascontiguousarray(block[:, column])


def _read_file(utterance: Utterance, rate: int) -> Iterator[np.ndarray]:
    """Blocks of the cut's channel, read by libsndfile."""
    import soundfile

    (first, last), path = _extent(utterance, rate), utterance.source
    try:
        with soundfile.SoundFile(path) as opened:
            if opened.samplerate != rate:
                detail = f"{path} has {opened.samplerate} Hz where the manifest says {rate}: run stage 0 again"
                raise UnusableError("of another sampling rate", detail)
            if first:
                opened.seek(first)
            while first < last:
                block = opened.read(min(last - first, _BLOCK_SECONDS * rate), dtype="float32", always_2d=True)
                if not len(block):
                    return
                first += len(block)
                yield _column(block, utterance, path)
    except soundfile.LibsndfileError as error:
        raise UnusableError("the audio cannot be read", f"{path}: {_reason(path, error)}") from None


def _read_command(utterance: Utterance, rate: int) -> Iterator[np.ndarray]:
    """The same of what a command writes, which knows no length, so that nothing can be sought in it."""
    first, last = _extent(utterance, rate)
    at = 0
    for block in read_blocks({"type": "command", "source": utterance.source}, rate):
        part = block[max(0, first - at) : last - at]
        at += len(block)
        if len(part):
            yield _column(part, utterance, f"`{utterance.source[:100]}`")
        if at >= last:
            return


def _decode_file(utterance: Utterance, rate: int) -> Iterator[np.ndarray]:
    """The same, decoded by ffmpeg from the file's start on: nobody knows how much before a place it wants to have seen.

    The windows and segments of a recording come one after another, so the decoding of the last one goes on.
    """
    (first, last), path = _extent(utterance, rate), utterance.source
    status = os.stat(path)
    key = (path, status.st_size, status.st_mtime_ns, rate)
    decoding = getattr(_decoded, "last", None)
    _decoded.last = None  # until this cut is through: somebody else may ask for the file meanwhile
    if decoding is None or decoding.key != key or decoding.at > first:
        decoding = _Decoding(key, ffmpeg.decode(path, rate))
    for part in decoding.read(first, last):
        yield _column(part, utterance, path)
    if utterance.start + utterance.duration < utterance.recording_seconds - 0.5 / rate:
        _decoded.last = decoding
    else:
        decoding.finish()  # which is when it is known whether the file was whole


_decoded = threading.local()
_NOTHING = np.empty((0, 1), dtype=np.float32)


class _Decoding:
    """A file that is being decoded.

    Attributes:
        key: which file, as it is, and at which rate.
        at: the first sample that can still be had.
    """

    def __init__(self, key: tuple, blocks: Iterator[np.ndarray]):
        self.key, self.at = key, 0
        self._blocks, self._block = blocks, _NOTHING

    def read(self, first: int, last: int) -> Iterator[np.ndarray]:
        """Samples [first, last), in parts; fewer where the file ends."""
        while first < last:
            part = self._block[first - self.at : last - self.at]
            first += len(part)
            if len(part):
                yield part
                continue
            self.at += len(self._block)
            self._block = next(self._blocks, _NOTHING)
            if not len(self._block):
                return

    def finish(self) -> None:
        """Decode the rest; see `ffmpeg.decode` for what it raises."""
        for _ in self._blocks:
            pass


def _is_ffmpegs(path: str) -> bool:
    try:
        return is_ffmpegs(path)
    except SdpnError:  # it cannot be opened, which reading it says
        return False


def _reason(path: str, error: Any) -> str:
    """Why libsndfile could not read a file; of one that cannot be opened it only says that there was an error."""
    try:
        open(path, "rb").close()
    except OSError as refused:
        return refused.strerror.lower()
    return error.error_string.rstrip(".")


def _through_lhotse(utterance: Utterance) -> Iterator[np.ndarray]:
    """The whole cut, as Lhotse loads it."""
    from lhotse.serialization import deserialize_item

    for command in utterance.sources("command"):
        pipes.refuse_unless_allowed(command)
    try:
        samples = deserialize_item(utterance.cut_entry()).load_audio()
    except Exception as error:  # Lhotse wraps whatever its audio back-ends raise
        reason = " ".join(str(error).split())
        raise UnusableError("the audio cannot be read", reason[:200]) from None
    if samples is None or samples.size == 0:
        raise UnusableError("the audio is empty")
    yield np.ascontiguousarray(samples[0], dtype=np.float32)
