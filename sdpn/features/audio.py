"""Samples of cuts, block by block, so that an utterance of hours needs no more memory than one of seconds."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.corpus import ffmpeg, pipes
from sdpn.corpus.headers import read_header
from sdpn.corpus.reading import is_ffmpegs
from sdpn.errors import SdpnError

_BLOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class AudioCut:
    """A single-channel Lhotse cut in the form of its manifest line, which takes little memory and no Lhotse to read.

    Attributes:
        id: of the cut.
        line: JSON, as in cuts.jsonl.gz.
    """

    id: str
    line: bytes = field(repr=False)

    @classmethod
    def of(cls, cut: Any) -> "AudioCut":
        """That of a Lhotse cut, or of anything else with an `id` and a `to_dict()`."""
        return cut if isinstance(cut, cls) else cls(cut.id, json.dumps(cut.to_dict()).encode())

    @classmethod
    def of_file(cls, path: str | Path, sampling_rate: int) -> "AudioCut":
        """The first channel of a recording, from beginning to end, read at `sampling_rate` (Hz) whatever it has.

        Raises:
            SdpnError: the file cannot be used; the sentence says why.
        """
        header = read_header(path)
        if isinstance(header, str):
            raise SdpnError(f"{path}: {header}")
        rate, samples, channels = header
        resample = {"name": "Resample", "kwargs": {"source_sampling_rate": rate, "target_sampling_rate": sampling_rate}}
        recording = {
            "id": str(path),
            "sources": [{"type": "file", "channels": list(range(channels)), "source": str(path)}],
            "sampling_rate": sampling_rate,
            "num_samples": round_half_up(samples * sampling_rate / rate),
            "duration": samples / rate,
            "channel_ids": list(range(channels)),
            "transforms": [resample] if rate != sampling_rate else [],
        }
        cut = {"id": str(path), "start": 0.0, "duration": samples / rate, "channel": 0, "type": "MonoCut"}
        return cls(str(path), json.dumps(cut | {"recording": recording}).encode())

    def to_dict(self) -> dict:
        """The manifest entry."""
        return json.loads(self.line)

    @property
    def sampling_rate(self) -> int:
        """Hz, after resampling where the recording asks for it."""
        return self.to_dict()["recording"]["sampling_rate"]

    @property
    def num_samples(self) -> int:
        """Samples in it at that rate."""
        entry = self.to_dict()
        return round_half_up(entry["duration"] * entry["recording"]["sampling_rate"])


def round_half_up(number: float) -> int:
    """The nearest whole number, as Lhotse turns seconds into samples."""
    return math.floor(number + 0.5)


def load_samples(cut: Any) -> np.ndarray:
    """The (n_samples,) float32 samples of a single-channel cut, resampled as its recording says.

    Args:
        cut: an AudioCut, or a Lhotse cut.

    Raises:
        SdpnError: the file is missing, unreadable, of another rate or shorter than the manifest says, or empty.
    """
    blocks = list(stream_samples(cut))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_samples(cut: Any) -> Iterator[np.ndarray]:
    """The same in consecutive blocks of half a minute at most; see `load_samples` for what it raises.

    A recording of one file that libsndfile or ffmpeg reads, resampled or not, is read here: several times as fast as
    through Lhotse, and in bounded memory. What else a cut may be (a URL, an augmented recording, several sources)
    Lhotse loads in one piece.
    """
    cut = AudioCut.of(cut)
    entry = cut.to_dict()
    if entry["duration"] <= 0:
        raise SdpnError("the audio is empty")
    found = _plain_file(entry)
    if found is None:
        blocks = _through_lhotse(entry)
    else:
        read = _decode_file if _is_ffmpegs(found[0]) else _read_file
        blocks = _resampled(read(entry, *found), found[1], entry["recording"]["sampling_rate"])
    wanted = cut.num_samples
    count = 0
    for block in blocks:
        block = block[: wanted - count]  # a resampler may be one sample ahead
        count += len(block)
        if len(block):
            yield block
    if 0 < wanted - count <= 2 and found is not None and found[1] != entry["recording"]["sampling_rate"]:
        yield np.zeros(wanted - count, dtype=np.float32)  # ... or one behind
    elif count != wanted:
        raise SdpnError(f"{count} samples where the manifest says {wanted}: the file was cut off, or has changed")


def _plain_file(entry: dict) -> tuple[str, int] | None:
    """Path and sampling rate of the one file that a cut is read from; None where it takes more than reading it."""
    recording = entry["recording"]
    sources = recording["sources"]
    if entry.get("type") != "MonoCut" or len(sources) != 1 or sources[0]["type"] != "file":
        return None
    rate = recording["sampling_rate"]
    for transform in recording.get("transforms") or []:
        if not isinstance(transform, dict) or transform.get("name") != "Resample":
            return None
        rate = transform["kwargs"]["source_sampling_rate"]
        if recording["transforms"][1:]:
            return None
    return sources[0]["source"], rate


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


def _extent(entry: dict, rate: int) -> tuple[int, int, int]:
    """First and last sample of the cut in its file, and the column of its channel."""
    first = round_half_up(entry["start"] * rate)
    last = first + round_half_up(entry["duration"] * rate)
    return first, last, entry["recording"]["sources"][0]["channels"].index(entry["channel"])


def _read_file(entry: dict, path: str, rate: int) -> Iterator[np.ndarray]:
    """Blocks of the cut's channel, read by libsndfile."""
    import soundfile

    first, last, column = _extent(entry, rate)
    try:
        with soundfile.SoundFile(path) as opened:
            if opened.samplerate != rate:
                raise SdpnError(f"{path} has {opened.samplerate} Hz where the manifest says {rate}: run stage 0 again")
            if first:
                opened.seek(first)
            while first < last:
                block = opened.read(min(last - first, _BLOCK_SECONDS * rate), dtype="float32", always_2d=True)
                if not len(block):
                    return
                first += len(block)
                yield np.ascontiguousarray(block[:, column])
    except soundfile.LibsndfileError as error:
        raise SdpnError(f"the audio cannot be read: {path}: {_reason(path, error)}") from None


def _decode_file(entry: dict, path: str, rate: int) -> Iterator[np.ndarray]:
    """The same, decoded by ffmpeg, always from the file's start on."""
    first, last, column = _extent(entry, rate)
    at = 0
    for block in ffmpeg.decode(path, rate):
        part = block[max(0, first - at) : max(0, last - at), column]
        at += len(block)
        if len(part):
            yield np.ascontiguousarray(part)


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


def commands_of(entry: Any) -> Iterator[str]:
    """The commands in a manifest entry, wherever in it they stand, whose output Lhotse would take for audio."""
    if isinstance(entry, dict):
        if entry.get("type") == "command" and "source" in entry:
            yield entry["source"]
        entry = list(entry.values())
    if isinstance(entry, list):
        for value in entry:
            yield from commands_of(value)


def _through_lhotse(entry: dict) -> Iterator[np.ndarray]:
    """The whole cut, as Lhotse loads it."""
    from lhotse.serialization import deserialize_item

    for command in commands_of(entry):
        pipes.refuse_unless_allowed(command)
    try:
        samples = deserialize_item(entry).load_audio()
    except Exception as error:  # Lhotse wraps whatever its audio back-ends raise
        reason = " ".join(str(error).split())
        raise SdpnError(f"the audio cannot be read: {reason[:200]}") from None
    if samples is None or samples.size == 0:
        raise SdpnError("the audio is empty")
    yield np.ascontiguousarray(samples[0], dtype=np.float32)
