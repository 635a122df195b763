"""Waveforms that stage 3 makes features of: reverberated utterances and babble."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import scipy.fft
from scipy.signal import fftconvolve

from sdpn.augment.config import BankConfig
from sdpn.errors import SdpnError, UnusableError
from sdpn.features.audio import load_samples
from sdpn.features.config import FbankConfig
from sdpn.features.index_files import utterance_key
from sdpn.utterance import Utterance

NOISE_PEAK = 0.9
_SILENCE = 1e-4  # a peak of which 16 bits hold little but their own rounding
_SPEED_RATE = 48000  # Hz; only the ratio of rates matters to a resampler


def reverberate(samples: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """Convolve with a room impulse response; the direct path stays in place and the energy stays what it was.

    Args:
        samples: (n_samples,) float32.
        rir: (n_taps,) float32; its largest tap is taken for the direct path.

    Returns:
        (n_samples,) float32, aligned with `samples` to the sample.
    """
    direct = int(np.argmax(np.abs(rir)))
    wet = fftconvolve(samples, rir)[direct : direct + len(samples)]
    energy, wanted = float(np.square(wet).sum()), float(np.square(samples, dtype=np.float64).sum())
    if energy > 0:
        wet *= np.sqrt(wanted / energy)
    return wet.astype(np.float32)


def add_at_snr(samples: np.ndarray, noise: np.ndarray, snr: float) -> None:
    """Add noise (n,) to samples (n,), float32, in place, so that their energies stand at `snr` dB."""
    signal, disturbance = (float(np.square(one, dtype=np.float64).sum()) for one in (samples, noise))
    if disturbance > 0:
        samples += np.float32(np.sqrt(signal / disturbance * 10 ** (-snr / 10))) * noise


@dataclass(frozen=True)
class SpedCut:
    """An utterance at another speed, and so of another pitch and length.

    Attributes:
        cut: the utterance as it was spoken.
        factor: how much faster.
    """

    cut: Utterance
    factor: float

    @property
    def id(self) -> str:
        return self.cut.id

    @property
    def num_samples(self) -> int:
        return round(self.cut.num_samples / self.factor)

    @property
    def is_resampled(self) -> bool:
        return True

    def identity(self) -> list:
        """See `Utterance.identity`."""
        return [self.cut.identity(), self.factor]

    def sources(self) -> Iterator[str]:
        """The files that it is made from."""
        return self.cut.sources()


def load_utterance(cut: Any) -> np.ndarray:
    """The (num_samples,) float32 samples of a cut or of a SpedCut."""
    if not isinstance(cut, SpedCut):
        return load_samples(cut)
    import soxr

    sped = soxr.resample(load_samples(cut.cut), cut.factor * _SPEED_RATE, _SPEED_RATE)
    return np.pad(sped, (0, max(0, cut.num_samples - len(sped))))[: cut.num_samples]


@dataclass(frozen=True)
class Reverberated:
    """Loads an utterance as one of the rooms would render it; which room depends on (seed, copy, utterance id) alone.

    Attributes:
        rirs: cuts of room impulse responses.
        max_taps: responses are cut off there.
        seed: of the run.
        copy: number of the copy, from 1.
    """

    rirs: Sequence[Any]
    max_taps: int
    seed: int
    copy: int

    def __call__(self, cut: Any) -> np.ndarray:
        chooser = np.random.default_rng([self.seed, self.copy, utterance_key(cut.id)])
        room = self.rirs[int(chooser.integers(len(self.rirs)))]
        try:
            rir = load_samples(room)[: self.max_taps]
        except SdpnError as error:
            raise UnusableError("its room cannot be used", f"{room.id}: {error}") from None
        if not np.isfinite(rir).all() or not rir.any():
            raise UnusableError("its room is silent, NaN or infinite", room.id)
        return reverberate(load_utterance(cut), rir)


@dataclass(frozen=True)
class Noise:
    """Loads a noise clip, limited to the band that the fbank hears, its peak at `NOISE_PEAK`.

    The SNR decides how loud a noise is in a view. What lies outside the band (rumble below 20 Hz may hold most of the
    energy of a recording) would count in the SNR without being heard; and a faint clip that is turned up would bring
    the floor under its bands' energies with it, where there is no sound.

    Attributes:
        fbank: what hears it.
    """

    fbank: FbankConfig

    def __call__(self, cut: Any) -> np.ndarray:
        """The (num_samples,) float32 samples of a cut."""
        samples = load_samples(cut)
        if not np.isfinite(samples).all():
            raise UnusableError("samples are NaN or infinite")
        padded = scipy.fft.next_fast_len(len(samples), real=True)
        spectrum = scipy.fft.rfft(samples, padded)
        freqs = np.arange(len(spectrum)) * self.fbank.sampling_rate / padded
        spectrum[(freqs < self.fbank.low_freq) | (freqs > self.fbank.highest_freq)] = 0
        heard = scipy.fft.irfft(spectrum, padded)[: len(samples)]
        peak = float(np.abs(heard).max())
        if peak < _SILENCE:
            raise UnusableError("nothing is heard in it")
        return heard * np.float32(NOISE_PEAK / peak)


@dataclass(frozen=True)
class BabbleClip:
    """A clip of several talkers at once.

    Attributes:
        id: of the clip.
        num_samples: its length.
        talkers: the utterances in it.
        starts: for each talker the share of the utterance at which the clip begins; it goes round at the end.
    """

    id: str
    num_samples: int
    talkers: tuple[Utterance, ...]
    starts: tuple[float, ...]

    @property
    def is_resampled(self) -> bool:
        return any(talker.is_resampled for talker in self.talkers)

    def identity(self) -> list:
        """See `Utterance.identity`."""
        talkers = [talker.identity() for talker in self.talkers]
        return [self.id, self.num_samples, talkers, list(self.starts)]

    def sources(self) -> Iterator[str]:
        """The files that it is made from."""
        return chain.from_iterable(talker.sources() for talker in self.talkers)


def plan_babble(cuts: Sequence[Any], config: BankConfig, sampling_rate: int, seed: int) -> Iterator[BabbleClip]:
    """Choose the talkers of every babble clip among the training utterances."""
    fewest, most = config.babble_talkers
    for number in range(1, config.babble_clips + 1):
        chooser = np.random.default_rng([seed, number])
        count = min(int(chooser.integers(fewest, most + 1)), len(cuts))
        chosen = chooser.choice(len(cuts), size=count, replace=False)
        yield BabbleClip(
            f"babble-{number:05d}",
            round(config.babble_seconds * sampling_rate),
            tuple(cuts[row] for row in chosen),
            tuple(float(start) for start in chooser.random(count)),
        )


def load_babble(clip: BabbleClip) -> np.ndarray:
    """The (num_samples,) float32 samples of a babble clip: its talkers at equal power, its peak `NOISE_PEAK`."""
    total = np.zeros(clip.num_samples, dtype=np.float64)
    for cut, start in zip(clip.talkers, clip.starts, strict=True):
        whole = load_samples(cut)
        first = int(start * len(whole))
        part = np.take(whole, np.arange(first, first + clip.num_samples), mode="wrap")
        power = float(np.square(part, dtype=np.float64).mean())
        if power > 0:
            total += part / np.sqrt(power)
    if not total.any():
        raise UnusableError("all its talkers are silent")
    return (total * (NOISE_PEAK / np.abs(total).max())).astype(np.float32)
