"""How well mixing fbank stands for mixing waveforms, and the deviation of the phase term that makes it so.

Of a true mix of speech x and noise n, with mel energies Ex, En and E of both together, the phase term of every bin is
alpha = (E - Ex - En) / (2 sqrt(Ex En)). `compare` holds views mixed by `kernels.mix` against true mixes. What
independent phases alone make of the difference is measured with a second true mix, whose noise has all its phases
turned by a quarter (its Hilbert transform): the same spectrum, another phase term. `estimate` finds the deviation, in
each band, of the normal alpha that makes as much of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import hilbert

from sdpn.augment.kernels import mix
from sdpn.augment.random import NORMALS
from sdpn.augment.sources import Noise
from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.fbank import Fbank, energy_weights, floor_of

DECIBEL = 10 / np.log(10)
"""dB in one unit of a natural-log energy."""

NUM_GROUPS = 4
"""Groups of neighbouring bands that figures are given for."""

COMPARED_AT = (0.0, 5.0, 10.0, 15.0)
"""SNRs, dB, that figures are given for."""

_MEASURED_AT = 5.0  # dB; the phase term does not depend on it, but both parts must be heard
_QUIETEST = 1e-6  # mean square of a crop that is used; below, 16 bits hold little but silence


@dataclass(frozen=True)
class Pair:
    """A crop of speech and one of noise, equally long, with the power ratios of their clips (frontend.Utterance)."""

    speech: np.ndarray
    noise: np.ndarray
    speech_ratio: float = 1.0
    noise_ratio: float = 1.0

    def gain(self, snr: float) -> float:
        """The factor for the noise's samples that gives the SNR, dB."""
        ratio = float(np.square(self.speech, dtype=np.float64).sum() / np.square(self.noise, dtype=np.float64).sum())
        return float(np.sqrt(ratio * 10 ** (-snr / 10)))


def draw_pairs(speech: Sequence[Any], noises: Sequence[Any], fbank: Fbank, count: int, seed: int) -> Iterator[Pair]:
    """Two-second crops of randomly chosen cuts, none of them silent; what cannot be read is passed over.

    Raises:
        SdpnError: hardly any two of them can be used.
    """
    chooser = np.random.default_rng(seed)
    length = 2 * fbank.config.sampling_rate
    load_noise = Noise(fbank.config)
    found = tried = 0
    while found < count:
        tried += 1
        if tried > 20 * count:
            raise SdpnError(f"only {found} of {tried} pairs of speech and noise can be used: the others are silent")
        try:
            clips = [load_samples(speech[int(chooser.integers(len(speech)))])]
            clips.append(load_noise(noises[int(chooser.integers(len(noises)))]))
        except SdpnError:
            continue
        crops = []
        for clip in clips:
            start = int(chooser.integers(max(len(clip) - length, 0) + 1))
            crops.append(np.take(clip, np.arange(start, start + length), mode="wrap"))
        if all(np.square(crop).mean() > _QUIETEST for crop in crops):
            found += 1
            yield Pair(*crops, *(power_ratio(clip, fbank) for clip in clips))


def power_ratio(samples: np.ndarray, fbank: Fbank) -> float:
    """See frontend.Utterance."""
    told = np.concatenate([frames.power for frames in fbank.stream([samples])])
    return float(np.square(samples, dtype=np.float64).mean() / told.mean(dtype=np.float64))


def estimate(pairs: Sequence[Pair], fbank: Fbank) -> np.ndarray:
    """(bins,) the deviation that a normal phase term is to have in each band.

    It starts from that of the true phase term. That one is not normal: it is large where one harmonic fills a band and
    small elsewhere, and its tails spread the logarithm of the mix more than its deviation tells. So each band's
    deviation is divided by the part of the true spread that it gives, averaged over COMPARED_AT. (Dividing once more
    would change little in most bands, and spread the highest too far at 15 dB.)
    """
    deviations = _measured(pairs, fbank)
    spreads = []
    for snr in COMPARED_AT:
        ours, others, _ = _differences(pairs, fbank, deviations, snr)
        spreads.append(ours.std(axis=0) / others.std(axis=0))
    return (deviations / np.mean(spreads, axis=0)).clip(0, 1)


def _measured(pairs: Sequence[Pair], fbank: Fbank) -> np.ndarray:
    """(bins,) the deviation of the true phase term, over all frames of the pairs."""
    squares = []
    for pair in pairs:
        noise = (pair.gain(_MEASURED_AT) * pair.noise).astype(np.float32)
        clean, added, both = (
            np.exp(fbank(one).astype(np.float64)) for one in (pair.speech, noise, pair.speech + noise)
        )
        squares.append(np.square(np.clip((both - clean - added) / (2 * np.sqrt(clean * added)), -1, 1)))
    return np.sqrt(np.concatenate(squares).mean(axis=0))


def knots(deviations: np.ndarray, count: int) -> list[float]:
    """`count` evenly spaced values from 0 to 1 that deviations may be interpolated between, the least squares fit."""
    bands = np.arange(len(deviations))
    places = np.linspace(0, len(deviations) - 1, count)
    shapes = np.stack([np.interp(bands, places, one) for one in np.eye(count)], axis=1)
    fitted = np.linalg.lstsq(shapes, deviations, rcond=None)[0]
    return [round(float(one), 3) for one in fitted.clip(0, 1)]


@dataclass(frozen=True)
class Agreement:
    """How mixed fbanks differ from the fbank of true mixes.

    Attributes:
        bias: (NUM_GROUPS,) mean difference in dB, lowest bands first.
        spread: (NUM_GROUPS,) its standard deviation over that of a second true mix with independent phases.
        snr_error: dB, mean difference of the SNR obtained and the one asked for.
    """

    bias: np.ndarray
    spread: np.ndarray
    snr_error: float


def compare(pairs: Sequence[Pair], fbank: Fbank, deviations: np.ndarray, snr: float) -> Agreement:
    """Mix all pairs at an SNR (dB), as waveforms and as fbanks; `deviations` are the phase term's, (bins,)."""
    *each, snr_error = _differences(pairs, fbank, deviations, snr)
    difference, independent = (np.array_split(one, NUM_GROUPS, axis=1) for one in each)
    return Agreement(
        np.array([group.mean() for group in difference]),
        np.array([ours.std() / other.std() for ours, other in zip(difference, independent, strict=True)]),
        snr_error,
    )


def _differences(
    pairs: Sequence[Pair], fbank: Fbank, deviations: np.ndarray, snr: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, bins) dB: mixed fbanks less true mixes, and second true mixes less the first; Agreement.snr_error."""
    weights, floor = energy_weights(fbank.config), np.float32(floor_of(fbank.config))
    ours, others, snr_errors = [], [], []
    for number, pair in enumerate(pairs):
        gain = pair.gain(snr)
        turned = np.imag(hilbert(pair.noise)).astype(np.float32)
        true, other = (fbank((pair.speech + gain * noise).astype(np.float32)) for noise in (pair.noise, turned))
        speech, noise = fbank(pair.speech), fbank(pair.noise)
        effective = np.float32(snr - 10 * np.log10(pair.speech_ratio / pair.noise_ratio))
        mixed, plain = speech.copy(), speech.copy()
        key = np.uint64(number)
        mix(mixed, noise.copy(), effective, weights, deviations.astype(np.float32), key, NORMALS, floor)
        mix(plain, noise.copy(), effective, weights, np.zeros_like(weights), key, NORMALS, floor)
        clean, noise_power, total = (np.exp(one.astype(np.float64)) for one in (speech, noise, plain))
        heard = total > 2 * clean  # where float32 keeps enough digits of what was added
        if heard.any():
            obtained = np.median((total - clean)[heard] / noise_power[heard])  # the gain of the noise's power
            snr_errors.append(10 * np.log10(gain**2 / obtained))
        ours.append(DECIBEL * (mixed - true))
        others.append(DECIBEL * (other - true))
    return np.concatenate(ours), np.concatenate(others), float(np.mean(snr_errors))
