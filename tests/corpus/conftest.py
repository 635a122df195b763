import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.recipe.voices import voice

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "local"))  # as Python does for the programs that stand there


def write_audio(path: Path, seconds: float = 1.2, rate: int = 16000, channels: int = 1) -> Path:
    """A file of noise, another one for every name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    samples = 0.1 * rng.standard_normal((int(seconds * rate), channels))
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix.lower() == ".opus" else {}
    soundfile.write(path, samples, rate, **kind)
    return path


def write_speakers(folder: Path, speakers: list[str], sessions: int = 2, utterances: int = 2) -> Path:
    """speaker/session/utterance.wav files, or speaker/utterance.wav with no session."""
    for speaker in speakers:
        for session in [f"s{number}" for number in range(sessions)] or ["."]:
            for number in range(utterances):
                write_audio(folder / speaker / session / f"u{number}.wav")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> list[str]:
    """Options that give a noise, a piece of music and a room, so that none need be synthesized."""
    folder = tmp_path_factory.mktemp("clips")
    for kind in ("noise", "music", "rir"):
        write_audio(folder / kind / "one.wav", seconds=0.2)
    return [word for kind in ("noise", "music", "rir") for word in (f"--{kind}-dir", str(folder / kind))]


@pytest.fixture(scope="session", autouse=True)
def few_synthetic_clips():
    """Five synthetic clips instead of a hundred."""
    from sdpn.corpus import synthetic

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_COUNTS", {"noise": 4, "music": 1, "rir": 2})
        yield


@pytest.fixture(scope="session")
def prepare_folder() -> Callable:
    """local/prepare_folder.py as a function of its words; a user's mistake is an SdpnError."""
    import prepare_folder

    return lambda *words: prepare_folder.main.main([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="session")
def prepare_toy() -> Callable:
    """local/prepare_toy.py, likewise."""
    import prepare_toy

    return lambda *words: prepare_toy.main.main([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="session")
def make_cuts() -> Callable:
    """steps/make_cuts.py, likewise, with its configuration file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_cuts", ROOT / "steps" / "make_cuts.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    fixed = ["--config", str(ROOT / "conf" / "cuts.yaml")]
    return lambda *words: step.main.main([*fixed, *(str(word) for word in words)], standalone_mode=False)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` but locks, by its name there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def times(folder: Path) -> dict[str, int]:
    """When every file below `folder` was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def write_voice(path: Path, speaker: int, utterance: int, seconds: float = 1.0) -> Path:
    """Synthesized speech: a voice of its own for every speaker; an .m4a goes through ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = voice(speaker, utterance, seconds)
    if path.suffix != ".m4a":
        soundfile.write(path, samples, 16000)
        return path
    wav = path.with_suffix(".wav")
    soundfile.write(wav, samples, 16000)
    encode(wav, path)
    wav.unlink()
    return path


def encode(wav: Path, path: Path, *options: str) -> Path:
    """What ffmpeg makes of a WAV file, in the form that the name of `path` says."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", wav, *options, path]
    subprocess.run([str(word) for word in command], check=True)
    return path


needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not installed")


def program(name: str) -> Callable:
    """The program local/<name>.py as a function of its words; a user's mistake is an SdpnError."""
    import importlib

    module = importlib.import_module(name)
    return lambda *words: module.main.main([str(word) for word in words], standalone_mode=False)


def rows(path: Path) -> list[dict]:
    """The rows of a manifest."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
