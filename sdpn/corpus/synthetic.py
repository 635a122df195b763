"""Noises, music and rooms made from nothing, for corpora that bring none."""

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from sdpn.audio.write import write_flac
from sdpn.console import Progress
from sdpn.errors import SdpnError
from sdpn.files import digest, file_digest
from sdpn.utterance import Utterance, in_order

RATE = 16000
KINDS = ("noise", "music", "rir")
_COUNTS = {"noise": 48, "music": 24, "rir": 40}
_SECONDS = {"noise": 6, "music": 8}


def coloured_noise(count: int, rng: np.random.Generator, exponent: float | None = None) -> np.ndarray:
    """`count` samples of Gaussian noise whose power falls as 1 / f**exponent: 0 white, 1 pink, 2 brown.

    Args:
        exponent: any between white and brown where it is None.

    Returns:
        (count,) float64 with a root mean square of 1.
    """
    exponent = rng.uniform(0, 2) if exponent is None else exponent
    from scipy.fft import next_fast_len  # SciPy takes seconds to import: only those pay who make noise

    length = next_fast_len(count, real=True)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.fft.rfftfreq(length)
    # Below 20 Hz the slope is flat: otherwise brown noise is all rumble.
    noise = np.fft.irfft(spectrum * np.maximum(frequencies, 20 / RATE) ** (-exponent / 2), length)[:count]
    noise -= noise.mean()
    return noise / np.sqrt(np.mean(noise**2))


def hum(count: int, rng: np.random.Generator) -> np.ndarray:
    """Mains or machine hum: a low fundamental, falling harmonics, a little pink noise; (count,) float64."""
    fundamental = rng.choice([50.0, 60.0, rng.uniform(40, 160)])
    times = np.arange(count) / RATE
    total = 0.1 * coloured_noise(count, rng, 1.0)
    for harmonic in range(1, 25):
        strength = rng.uniform(0.2, 1.0) / harmonic ** rng.uniform(0.5, 1.2)
        total += strength * np.sin(2 * np.pi * (harmonic * fundamental * times + rng.random()))
    return total


def clatter(count: int, rng: np.random.Generator) -> np.ndarray:
    """Knocks at random moments: short bursts that ring at a random resonance; (count,) float64."""
    from scipy.signal import lfilter

    hits = (rng.random(count) < rng.uniform(2, 12) / RATE) * rng.exponential(1.0, count)
    angle, radius = 2 * np.pi * rng.uniform(300, 5000) / RATE, rng.uniform(0.98, 0.998)
    ringing = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], hits)
    return ringing / (np.abs(ringing).max() + 1e-9) + 0.02 * coloured_noise(count, rng, 1.0)


def wind(count: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise that swells and fades, as wind, waves and passing cars do; (count,) float64."""
    points = rng.uniform(0.05, 1.0, max(3, count // (RATE // 2)))
    swell = np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)
    return swell * coloured_noise(count, rng, rng.uniform(0.5, 2.0))


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """A tune with chords on a plucked or blown instrument; (count,) float64."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    key, beat = rng.integers(45, 60), int(RATE * rng.uniform(0.18, 0.5))
    decay, partials = rng.uniform(0.15, 1.5), 1 / np.arange(1, 9) ** rng.uniform(0.8, 2.0)
    partials *= rng.uniform(0.2, 1.0, 8)
    total = np.zeros(count)
    degree = 7
    for number, start in enumerate(range(0, count, beat)):
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, 20))
        notes = [degree] if number % 4 else [degree, degree - 2, degree - 4]
        length = min(beat * (4 if len(notes) > 1 else 1), count - start)
        times = np.arange(length) / RATE
        envelope = np.minimum(times / 0.01, 1) * np.exp(-times / decay)
        for note in notes:
            pitch = 440 * 2 ** ((key + 12 * (note // 7) + scale[note % 7] - 69) / 12)
            for k, strength in enumerate(partials, start=1):
                if k * pitch < RATE / 2:
                    total[start : start + length] += strength * envelope * np.sin(2 * np.pi * k * pitch * times)
    return total


def room_response(rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a box-shaped room by the image method; the direct path is its first large sample.

    Returns:
        (n_samples,) float64, at most 0.6 s.

    Raises:
        SdpnError: pyroomacoustics is not installed.
    """
    try:
        import pyroomacoustics
    except ImportError:
        raise SdpnError(
            "synthetic rooms need the package pyroomacoustics: install sdpn with its extra `toy`, or give --rir-dir"
        ) from None
    pyroomacoustics.constants.set("num_threads", 1)  # the order of the sums, and so the last bits, depend on it
    size = np.array([rng.uniform(2.5, 8), rng.uniform(2.5, 7), rng.uniform(2.3, 3.5)])
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    shortest = 0.17 * size.prod() / surface  # s; by Sabine's formula walls cannot absorb more than everything
    absorption, order = pyroomacoustics.inverse_sabine(max(rng.uniform(0.15, 0.6), shortest), size)
    walls = pyroomacoustics.Material(absorption)
    room = pyroomacoustics.ShoeBox(size, fs=RATE, materials=walls, max_order=min(order, 17))
    microphone = rng.uniform(0.15, 0.85, 3) * size
    source = rng.uniform(0.15, 0.85, 3) * size
    room.add_source(source)
    room.add_microphone(microphone)
    room.compute_rir()
    response = np.asarray(room.rir[0][0], dtype=np.float64)
    direct = int(np.argmax(np.abs(response)))
    return response[max(0, direct - 40) :][: int(0.6 * RATE)]


def fingerprint() -> str:
    """What the clips depend on beside the seed: this code and the libraries it calls."""
    return digest(file_digest(__file__), installed("numpy", "scipy", "soundfile", "pyroomacoustics"))


def installed(*packages: str) -> dict[str, str]:
    """The version of each package, "none" where it is not installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions


def make_clips(folder: Path, kinds: Iterable[str], seed: int, run: Callable) -> dict[str, list[Utterance]]:
    """Write the clips of `kinds` (of `KINDS`) as `folder/<kind>/*.flac`; return the clips of each kind.

    The same seed gives the same bytes, however `run` spreads the jobs (e.g. `partial(run_jobs, nj=4)`).
    """
    jobs = [(folder / kind, kind, number, seed) for kind in kinds for number in range(_COUNTS[kind])]
    clips: dict[str, list[Utterance]] = {kind: [] for kind in kinds}
    with Progress("synthetic noises, music and rooms", len(jobs), "clips") as progress:
        for kind, clip in run(write_clip, jobs):
            clips[kind].append(clip)
            progress.advance()
    return {kind: in_order(own) for kind, own in clips.items()}


def write_clip(folder: Path, kind: str, number: int, seed: int) -> tuple[str, Utterance]:
    """Write one synthetic clip; its samples depend on (kind, number, seed) alone. Return the kind and the clip."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    if kind == "rir":
        samples = room_response(rng)
    elif kind == "music":
        samples = music(_SECONDS[kind] * RATE, rng)
    else:
        noise = (coloured_noise, wind, hum, clatter)[number % 4]
        samples = noise(_SECONDS[kind] * RATE, rng)
    name = f"{kind}-{number + 1:03d}"
    path = folder / f"{name}.flac"
    write_flac(path, 0.9 * samples / np.abs(samples).max(), RATE)
    return kind, Utterance(id=name, source=str(path), sampling_rate=RATE, length=len(samples))
