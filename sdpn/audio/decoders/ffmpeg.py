"""Audio that libsndfile does not read (m4a, aac, webm, ...), through ffmpeg: lengths and samples.

What a header says and what is decoded agree to the sample: versions of ffmpeg differ in whether they leave in what an
AAC encoder put behind the end, so `decode` cuts off there (or fills a last frame up) and refuses what differs by more.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.audio import faults
from sdpn.audio.decoders import mp3, mp4
from sdpn.errors import MissingToolError, UnusableError

_MP4 = frozenset({".m4a", ".m4b", ".mp4", ".mov", ".3gp"})
EXTENSIONS = _MP4 | {".aac", ".webm", ".mka", ".wma", ".amr", ".ac3"}

# Samples: one frame of AAC with SBR more or less than the header says comes from the encoder; more is damage.
TOLERANCE = 2048
_BLOCK = 1 << 16
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def available() -> bool:
    """Whether there is ffmpeg: as a library (PyAV, which brings its own), or as the program on the PATH."""
    return bool(library()) or _on_path(os.environ.get("PATH"))


@lru_cache
def version() -> str:
    """Of what decodes; a number for every build, since distributions mend the same release."""
    if library():
        return " ".join([library().__version__, *(f"{k} {v}" for k, v in sorted(library().library_versions.items()))])
    if not available():
        return "none"
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout.partition("\n")[0]


@lru_cache
def library() -> Any:
    """PyAV, or None where it is not installed: then every file takes a process of its own, an eighth of the speed."""
    try:
        import av
    except ImportError:
        return None
    return av


@lru_cache
def _on_path(path: str | None) -> bool:
    return bool(shutil.which("ffmpeg", path=path) and shutil.which("ffprobe", path=path))


def refuse_without(what: str | Path) -> None:
    """Make sure that ffmpeg is there where `what` needs it.

    Raises:
        MissingToolError: it is not.
    """
    if not available():
        raise MissingToolError(
            faults.NO_FFMPEG, f"it is needed for {what}: install it (pip install av, or apt-get install ffmpeg)"
        )


def needed(path: str | Path, start: bytes) -> bool:
    """Whether a file that begins with `start` (at least 8 bytes of it) is ffmpeg's to read.

    The content decides where it can, so that an m4a named .wav is read, and a WAV named .m4a goes to libsndfile.
    """
    if mp4.is_mp4(start) or _is_adts(start):
        return True
    if mp3.may_be(start) and mp3.untold_length(path):
        return True
    return os.path.splitext(path)[1].lower() in EXTENSIONS and start[:4] not in (b"RIFF", b"fLaC", b"OggS")


def read_header(path: str | Path) -> tuple[int, int, int]:
    """Sampling rate, samples per channel and channels of a file, without decoding it.

    MP4, ADTS and MP3 are parsed; for anything else ffmpeg is asked.

    Raises:
        UnusableError: it is no audio file, or it is damaged, or ffmpeg is needed for it and not installed.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as opened:
        start = opened.read(12)
        if mp4.is_mp4(start):
            track = mp4.read_track(opened, size)
            return track if track.num_samples else _ask_ffmpeg(path)
        if _is_adts(start):
            return _walk_adts(opened, size)
    return (mp3.untold_length(path) if mp3.may_be(start) else None) or _ask_ffmpeg(path)


def decode(path: str | Path, sampling_rate: int | None = None) -> Iterator[np.ndarray]:
    """Blocks of (n_samples, n_channels) float32 samples of the first audio track, at `sampling_rate` or at its own.

    All blocks together hold as many samples as the header says, rounded to the nearest where the rate is another one.

    Raises:
        MissingToolError: ffmpeg is not installed.
        UnusableError: the file is damaged, or it holds another length than its header says.
    """
    refuse_without(path)
    rate, length, channels = read_header(path)
    sampling_rate = sampling_rate or rate
    expected = (length * sampling_rate * 2 + rate) // (2 * rate)
    found = 0
    for block in (_by_library if library() else _by_program)(path, sampling_rate, channels):
        kept = block[: max(0, expected - found)]
        found += len(block)
        if len(kept):
            yield kept
    if abs(found - expected) > max(1, TOLERANCE * sampling_rate // rate):
        raise UnusableError(
            "of another length than its header says", f"{path}: {found} samples where there should be {expected}"
        )
    if found < expected:
        yield np.zeros((expected - found, channels), dtype=np.float32)


def _by_library(path: str | Path, sampling_rate: int, channels: int) -> Iterator[np.ndarray]:
    av = library()
    layout = {1: "mono", 2: "stereo"}.get(channels)  # for more, the one that the file has
    try:
        with av.open(f"file:{path}") as opened:
            track = _first_track(opened)
            track.thread_type = "NONE"
            resampler = av.AudioResampler(format="flt", layout=layout, rate=sampling_rate)
            for frame in chain(opened.decode(track), [None]):  # the last call gives what the resampler still holds
                for part in resampler.resample(frame):
                    yield part.to_ndarray().reshape(-1, channels)
    except (av.FFmpegError, ValueError) as error:
        raise UnusableError("ffmpeg cannot decode it", f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _by_program(path: str | Path, sampling_rate: int, channels: int) -> Iterator[np.ndarray]:
    form = ["-f", "f32le", "-c:a", "pcm_f32le", "-ar", str(sampling_rate), "-ac", str(channels)]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", f"file:{path}", "-map", "0:a:0", *form, "-"]
    # Its messages go to a file: a full pipe would stop it
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, stdin=subprocess.DEVNULL)
        try:
            while data := process.stdout.read(_BLOCK * 4 * channels):
                yield np.frombuffer(data, dtype="<f4").reshape(-1, channels)
            if process.wait():
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip().splitlines()
                raise UnusableError("ffmpeg cannot decode it", f"{path}: {said[-1] if said else process.returncode}")
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def _is_adts(start: bytes) -> bool:
    return len(start) >= 7 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0


def _walk_adts(opened, size: int) -> tuple[int, int, int]:
    """Count the frames of a raw AAC stream by their headers (ISO/IEC 13818-7, 6.2); each holds 1024 samples a block."""
    place = blocks = 0
    rate = channels = 0
    while place + 7 <= size:
        opened.seek(place)
        head = opened.read(7)
        if not _is_adts(head):
            break  # a tag behind the last frame
        number = head[2] >> 2 & 15
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if number >= len(_ADTS_RATES) or length < 7:
            raise UnusableError(faults.DAMAGED, "its frames")
        if place + length > size:
            raise UnusableError(faults.CUT_OFF, "within a frame")
        rate = rate or _ADTS_RATES[number]
        channels = channels or ((head[2] & 1) << 2 | head[3] >> 6)
        blocks += (head[6] & 3) + 1
        place += length
    return rate, 1024 * blocks, {0: 2, 7: 8}.get(channels, channels)


def _ask_ffmpeg(path: str | Path) -> tuple[int, int, int]:
    refuse_without(path)
    return _ask_library(path) if library() else _ask_ffprobe(path)


def _ask_library(path: str | Path) -> tuple[int, int, int]:
    av = library()
    try:
        with av.open(f"file:{path}") as opened:
            track = _first_track(opened)
            seconds = track.duration * track.time_base if track.duration else opened.duration / av.time_base
            return track.rate, round(seconds * track.rate), track.channels
    except (av.FFmpegError, TypeError) as error:  # TypeError: there is no duration
        reason = getattr(error, "strerror", None) or "its length is unknown"
        raise UnusableError(faults.NOT_AUDIO, reason) from None


def _first_track(opened: Any) -> Any:
    """The first audio track of what PyAV has opened.

    Raises:
        UnusableError: there is none, or no decoder knows it.
    """
    if not opened.streams.audio:
        raise UnusableError(faults.NOT_AUDIO, "there is no audio in it")
    if opened.streams.audio[0].codec_context is None:
        raise UnusableError(faults.NOT_AUDIO, "no decoder knows it")
    return opened.streams.audio[0]


def _ask_ffprobe(path: str | Path) -> tuple[int, int, int]:
    wanted = "stream=sample_rate,channels,duration:format=duration"
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", wanted, "-of", "default=nk=0:nw=1"]
    done = subprocess.run([*command, f"file:{path}"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    facts: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        if value != "N/A":
            facts.setdefault(key, value)  # the stream's duration comes first, the container's serves where it has none
    try:
        rate = int(facts["sample_rate"])
        return rate, round(float(facts["duration"]) * rate), int(facts["channels"])
    except (KeyError, ValueError):
        said = done.stderr.strip().splitlines()
        reason = said[-1].removeprefix(f"file:{path}: ") if said else "there is no audio in it"
        raise UnusableError(faults.NOT_AUDIO, reason) from None
