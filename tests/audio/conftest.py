import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

needs_sox = pytest.mark.skipif(not shutil.which("sox"), reason="the program sox is not installed")


def speech_like(samples: int, rate: int, channels: int = 1) -> np.ndarray:
    """(samples, channels): tones that come and go, with some noise; every channel another one."""
    rng, time = np.random.default_rng(channels), np.arange(samples) / rate
    loudness = np.abs(np.sin(2 * time + 0.3))
    tones = [0.3 * np.sin(2 * np.pi * (200 + 90 * channel) * time) * loudness for channel in range(channels)]
    return np.stack(tones, 1) + 0.01 * rng.standard_normal((samples, channels))


@pytest.fixture
def sound(tmp_path) -> Callable[..., Path]:
    """sound(name, samples, rate, channels, **form) -> a file that libsndfile writes."""

    def write(name: str, samples: int = 50123, rate: int = 16000, channels: int = 1, **form: str) -> Path:
        soundfile.write(tmp_path / name, speech_like(samples, rate, channels), rate, **form)
        return tmp_path / name

    return write


def program(*words: str | Path, output: Path | None = None) -> Path | None:
    """Run a program; what it writes to its standard output, a pipe, goes to a file."""
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True)
    if output is not None:
        output.write_bytes(done.stdout)
    return output


def half(path: Path) -> Path:
    """The first half of a file, as a file beside it."""
    cut = path.with_name(f"half-{path.name}")
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return cut
