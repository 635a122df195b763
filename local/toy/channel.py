"""Recording channels of the default corpus: what a session does to a voice."""

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve, oaconvolve, resample

from sdpn.corpus.synthetic import coloured_noise

RATE = 16000
# How far channels lie apart: chosen so that means and deviations of fbanks confuse speakers, while what a voice is
# (resonances, their movement, pitch) stays to be heard.
TILT = 1.0  # dB an octave, at most
RIPPLE = 2.0  # dB, standard deviation of each of four broad resonances
LOW_EDGE, HIGH_EDGE = (50, 250), (5000, 7900)  # Hz
LEVEL = (-26, -22)  # dB relative to full scale
SNR = (16, 32)  # dB
REVERBERATION = (7, 20)  # dB that the direct sound lies above the room's tail
_DELAY = 512  # of the line, a filter of 2 x 512 taps with linear phase


@dataclass(frozen=True)
class Channel:
    """What all recordings of one session share.

    Attributes:
        response: impulse response of a small room, a microphone and a line; it delays by `_DELAY` samples.
        level: root mean square of the recording, dB relative to full scale.
        snr: dB.
        colour: exponent of the noise's power spectrum over frequency, 0 (white) to 2 (brown).
        hum: frequency of mains hum in the noise in Hz, 0 for none.
    """

    response: np.ndarray
    level: float
    snr: float
    colour: float
    hum: float


def draw_channel(rng: np.random.Generator) -> Channel:
    """A random channel: tilt, a few broad resonances, band edges, a small room, a level and a noise."""
    frequencies = np.fft.rfftfreq(2 * _DELAY, 1 / RATE)
    octaves = np.log2(np.maximum(frequencies, 40) / 1000)
    gain = rng.uniform(-TILT, TILT) * octaves
    for _ in range(4):
        centre, width = rng.uniform(-3, 3), rng.uniform(0.3, 1.0)
        gain = gain + rng.normal(0, RIPPLE) * np.exp(-(((octaves - centre) / width) ** 2))
    low, high = np.exp(rng.uniform(*np.log(LOW_EDGE))), rng.uniform(*HIGH_EDGE)
    gain = gain - 10 * np.log10(1 + (low / np.maximum(frequencies, 1)) ** 6)
    gain = gain - 10 * np.log10(1 + (frequencies / high) ** 16)
    gain = np.clip(gain - gain.max(), -50, 0)
    line = np.roll(np.fft.irfft(10 ** (gain / 20)), _DELAY) * np.hanning(2 * _DELAY)
    return Channel(
        response=fftconvolve(_room(rng), line),
        level=rng.uniform(*LEVEL),
        snr=rng.uniform(*SNR),
        colour=rng.uniform(0, 2),
        hum=float(rng.choice([0, 0, 50, 60])),
    )


def _room(rng: np.random.Generator) -> np.ndarray:
    """A direct path and a noise-like tail that falls by 60 dB within 0.1 to 0.35 s."""
    seconds = rng.uniform(0.1, 0.35)
    times = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    tail[: int(0.002 * RATE)] = 0
    tail *= 10 ** (-rng.uniform(*REVERBERATION) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def record(samples: np.ndarray, rate: int, tract: float, channel: Channel, rng: np.random.Generator) -> np.ndarray:
    """The voice `samples` (int16 at `rate` Hz), its resonances shifted by `tract`, as `channel` records it.

    Returns:
        (n_samples,) float64 at 16 kHz, within [-1, 1].
    """
    voice = _resampled(_trim(samples.astype(np.float64) / 32768), RATE / (rate * tract))
    heard = oaconvolve(voice, channel.response)[_DELAY : _DELAY + len(voice)]
    noise = coloured_noise(len(heard), rng, channel.colour)
    if channel.hum:
        phase = 2 * np.pi * channel.hum * np.arange(len(heard)) / RATE
        noise = noise + sum(np.sin(k * phase + k) / k for k in (1, 2, 3, 5))
    heard = heard / np.sqrt(np.mean(heard**2))
    heard = heard + noise / np.sqrt(np.mean(noise**2)) * 10 ** (-channel.snr / 20)
    heard = heard / np.sqrt(np.mean(heard**2)) * 10 ** (channel.level / 20)
    return np.clip(heard, -1, 1)


def _trim(voice: np.ndarray, margin: int = 1200) -> np.ndarray:
    """Without the silence before and after, up to `margin` samples."""
    loud = np.flatnonzero(np.abs(voice) > 0.01 * np.abs(voice).max())
    return voice[max(0, loud[0] - margin) : loud[-1] + margin]


def _resampled(voice: np.ndarray, ratio: float) -> np.ndarray:
    """`voice` with `ratio` times as many samples, by the discrete Fourier transform."""
    padded = np.pad(voice, (0, next_fast_len(len(voice) + 2000, real=True) - len(voice)))
    return resample(padded, round(len(padded) * ratio))[: round(len(voice) * ratio)]
