"""The samples of a recording, block by block, wherever they come from: libsndfile, ffmpeg or a command."""

import io
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sdpn.audio import faults, pipes
from sdpn.audio.decoders import ffmpeg
from sdpn.errors import OutsideError, UnusableError

_BLOCK = 1 << 16


def read_blocks(source: dict[str, Any], sampling_rate: int | None = None) -> Iterator[np.ndarray]:
    """Blocks of (n_samples, n_channels) float32 samples of an audio source of a Lhotse manifest.

    Args:
        sampling_rate: Hz, what the manifest says; None where that does not matter.

    Raises:
        SdpnError: it cannot be read, or has another rate; the sentence says why.
    """
    opened: Any = source["source"]
    what, problem = opened, faults.NOT_AUDIO
    if source["type"] == "command":
        what, problem = f"`{opened[:100]}`", "a command does not give audio"
        opened = io.BytesIO(command_output(opened))
    elif is_ffmpegs(opened):
        yield from ffmpeg.decode(opened, sampling_rate)
        return
    try:
        with soundfile.SoundFile(opened) as audio:
            if sampling_rate not in (None, audio.samplerate):
                raise UnusableError(
                    "of another sampling rate",
                    f"{what} has {audio.samplerate} Hz where the manifest says {sampling_rate}",
                )
            yield from audio.blocks(_BLOCK, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else error.strerror
        raise UnusableError(problem, f"{what}: {reason}") from None


def is_ffmpegs(path: str | Path) -> bool:
    """Whether a file is ffmpeg's to read; see `ffmpeg.needed`."""
    try:
        with open(path, "rb") as opened:
            return ffmpeg.needed(path, opened.read(12))
    except OSError as error:
        raise UnusableError(error.strerror.lower(), str(path)) from None


def as_wav(path: str | Path) -> bytes:
    """What ffmpeg decodes of a file, as a WAV file of float32 samples."""
    rate, _, _ = ffmpeg.read_header(path)
    wav = io.BytesIO()
    soundfile.write(wav, np.concatenate(list(ffmpeg.decode(path))), rate, format="WAV", subtype="FLOAT")
    return wav.getvalue()


def command_output(command: str) -> bytes:
    """What a command writes: the audio of a line `utterance command |` of Kaldi's wav.scp.

    Raises:
        OutsideError: it fails; what it said stands in the sentence.
        SdpnError: commands are not allowed; see `pipes`.
    """
    pipes.refuse_unless_allowed(command)
    return _output(command)


@lru_cache(maxsize=1)  # the segments of a recording come one after another
def _output(command: str) -> bytes:
    # Kaldi's pipes are for bash, and the failure of any part of one is a failure
    run = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1][:200] if said else f"status {done.returncode}"
        raise OutsideError("the command failed", f"{command[:200]}: {reason}")
    return done.stdout
