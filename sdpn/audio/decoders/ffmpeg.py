"""Audio that libsndfile does not read (m4a, aac, webm, ...), through ffmpeg: lengths and samples.

What a header says and what is decoded agree to the sample. Of MP4 and raw AAC the length is parsed; versions of ffmpeg
differ in whether they leave in what an AAC encoder put behind the end, so `decode` cuts off there (or fills a last
frame up) and refuses what differs by more. Anything else is as long as what is decoded.
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
from sdpn.audio.decoders import adts, mp4
from sdpn.errors import MissingToolError, UnusableError

_NAMES = (
    "m4a",
    "m4b",
    "m4r",
    "mp4",
    "mov",
    "3gp",
    "3ga",
    "aac",
    "adts",
    "webm",
    "weba",
    "mka",
    "wma",
    "amr",
    "awb",
    "ac3",
)
EXTENSIONS = frozenset(f".{name}" for name in (*_NAMES, "eac3", "dts", "spx", "wv", "tta", "ape", "ra"))
"""Names of files that are ffmpeg's to read, whatever is in them."""

# Samples: one frame of AAC with SBR more or less than the header says comes from the encoder; more is damage.
TOLERANCE = 2048
_BLOCK = 1 << 16
_LOCAL = {"protocol_whitelist": "file,pipe"}  # a playlist in the place of audio may name any address


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


def read_header(path: str | Path) -> tuple[int, int, int]:
    """Sampling rate, samples per channel and channels of a file; it is decoded where its header does not say them.

    Raises:
        UnusableError: it is no audio file, or it is damaged.
        MissingToolError: ffmpeg is not installed.
    """
    refuse_without(path)
    told = _told(path)
    if told:
        return told
    rate = length = channels = 0
    for rate, block in decode(path):  # noqa: B007  (rate is used behind the loop)
        length, channels = length + len(block), block.shape[1]
    if not length:
        raise UnusableError(faults.NO_SAMPLES)
    return rate, length, channels


def decode(path: str | Path) -> Iterator[tuple[int, np.ndarray]]:
    """The sampling rate, again and again, and blocks of (n_samples, n_channels) float32 samples of the first track.

    All blocks together hold as many samples as `read_header` says.

    Raises:
        MissingToolError: ffmpeg is not installed.
        UnusableError: the file is damaged, or it holds another length than its header says.
    """
    refuse_without(path)
    told = _told(path)
    if told is None:
        yield from _blocks(path)
        return
    rate, expected, channels = told
    found = 0
    for _, block in _blocks(path, rate, channels):
        kept = block[: max(0, expected - found)]
        found += len(block)
        if len(kept):
            yield rate, kept
    if abs(found - expected) > TOLERANCE:
        kind = faults.CUT_OFF if found < expected else "of another length than its header says"
        raise UnusableError(kind, f"{path}: {found} samples where there should be {expected}")
    if found < expected:
        yield rate, np.zeros((expected - found, channels), dtype=np.float32)


def _told(path: str | Path) -> tuple[int, int, int] | None:
    """Sampling rate, samples and channels by the header of an MP4 or ADTS file; None where it does not say them."""
    with open(path, "rb") as opened:
        start = opened.read(12)
        if start[4:8] in mp4.FIRST_BOXES:
            track = mp4.read_track(opened, os.path.getsize(path))
            return track if track.num_samples else None
        return adts.read_header(opened, os.path.getsize(path)) if adts.begins(start) else None


def _blocks(
    path: str | Path, sampling_rate: int | None = None, channels: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """The sampling rate, again and again, and blocks of (n_samples, n_channels) samples; as they are where None."""
    return (_by_library if library() else _by_program)(path, sampling_rate, channels)


def _by_library(path: str | Path, sampling_rate: int | None, channels: int | None) -> Iterator[tuple[int, np.ndarray]]:
    av = library()
    track = resampler = None
    try:
        with av.open(f"file:{path}", options=_LOCAL) as opened:
            track = _first_track(opened)
            track.thread_type = "NONE"
            for frame in chain(opened.decode(track), [None]):  # the last call gives what the resampler still holds
                if resampler is None:
                    if frame is None:
                        return
                    channels = channels or frame.layout.nb_channels
                    sampling_rate = sampling_rate or frame.sample_rate
                    layout = {1: "mono", 2: "stereo"}.get(channels)  # for more, the one that the file has
                    resampler = av.AudioResampler(format="flt", layout=layout, rate=sampling_rate)
                for part in resampler.resample(frame):
                    yield sampling_rate, part.to_ndarray().reshape(-1, channels)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnusableError(faults.UNDECODABLE if track else faults.NOT_AUDIO, f"{path}: {reason}") from None


def _by_program(path: str | Path, sampling_rate: int | None, channels: int | None) -> Iterator[tuple[int, np.ndarray]]:
    if sampling_rate is None or channels is None:
        rate, count = _ask_ffprobe(path)
        sampling_rate, channels = sampling_rate or rate, channels or count
    form = ["-f", "f32le", "-c:a", "pcm_f32le", "-ar", str(sampling_rate), "-ac", str(channels)]
    read = ["-protocol_whitelist", _LOCAL["protocol_whitelist"], "-i", f"file:{path}"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *read, "-map", "0:a:0", *form, "-"]
    # Its messages go to a file: a full pipe would stop it
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, stdin=subprocess.DEVNULL)
        try:
            while data := process.stdout.read(_BLOCK * 4 * channels):
                yield sampling_rate, np.frombuffer(data, dtype="<f4").reshape(-1, channels)
            if process.wait():
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip().splitlines()
                raise UnusableError(faults.UNDECODABLE, f"{path}: {said[-1] if said else process.returncode}")
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


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


def _ask_ffprobe(path: str | Path) -> tuple[int, int]:
    """Sampling rate and channels."""
    command = ["ffprobe", "-v", "error", "-protocol_whitelist", _LOCAL["protocol_whitelist"], "-select_streams", "a:0"]
    command += ["-show_entries", "stream=sample_rate,channels", "-of", "default=nk=0:nw=1", f"file:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    facts = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    try:
        return int(facts["sample_rate"]), int(facts["channels"])
    except (KeyError, ValueError):
        said = done.stderr.strip().splitlines()
        reason = said[-1].removeprefix(f"file:{path}: ") if said else "there is no audio in it"
        raise UnusableError(faults.NOT_AUDIO, reason) from None
