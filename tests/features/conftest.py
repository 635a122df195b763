from dataclasses import dataclass

import numpy as np
import pytest

from sdpn.errors import UnusableError
from sdpn.features.cache import fill


@dataclass(frozen=True)
class Tone:
    """An item of the cache that needs no file: a tone whose pitch depends on its id; an id with 'bad' is broken."""

    id: str
    num_samples: int

    is_resampled = False

    def identity(self):
        return [self.id, self.num_samples]

    def sources(self):
        return []


def load_tone(tone):
    if "bad" in tone.id:
        raise UnusableError("the audio is empty")
    pitch = 100 + 37 * (sum(tone.id.encode()) % 50)
    noise = np.random.default_rng(sum(tone.id.encode())).standard_normal(tone.num_samples)
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(tone.num_samples) / 16000) + 0.01 * noise).astype(np.float32)


def run_here(function, jobs):
    return (function(*job) for job in jobs)


@pytest.fixture
def tones():
    return [Tone(f"utt{i:02d}", 8000 + 1600 * (i % 4)) for i in range(10)]


@pytest.fixture
def make_cache(tmp_path, tones):
    """Fills a folder with the features of the tones: make_cache(config, name="cache", items=tones)."""

    def make(config, name="cache", items=None, run=run_here):
        fill(tmp_path / name, tones if items is None else items, load_tone, config, {}, run)
        return tmp_path / name

    return make


def flip_a_byte(path, at):
    """Change one byte of a file, `at` from its beginning or (negative) from its end."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)
