"""Views augmented as waveforms: exact, for comparison with those that are mixed from cached fbank.

The plan of a view is drawn as in `views`, from the same random numbers; only what its numbers count is samples here.
"""

import numpy as np
import scipy.fft

from sdpn.augment.kernels import finish_all, read_crop
from sdpn.augment.random import NORMALS
from sdpn.augment.sources import add_at_snr
from sdpn.augment.views import ViewSampler
from sdpn.features.cmvn import sliding_mean, utterance_statistics
from sdpn.features.fbank import Fbank


class WaveformViewSampler(ViewSampler):
    """A ViewSampler whose banks hold audio: a view is cut, reverberated and mixed as audio, and then made into fbank.

    Reverberation is the convolution with a room impulse response, the speech before the crop included; the direct path
    stays in place and the crop's energy what it was. The noise's gain follows from the energies of both crops.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._fbank = Fbank(self.index.config)

    def _length(self, frames: int) -> int:
        return self._fbank.num_samples(frames)

    def _render(self, views: np.ndarray, rooms: np.ndarray, out: np.ndarray) -> None:
        length = self._length(out.shape[1])
        for view, room, crop in zip(views, rooms, out, strict=True):
            samples = _read(view, "speech", length) if room < 0 else self._reverberated(view, int(room), length)
            if view["noise"]:
                add_at_snr(samples, _read(view, "noise", length), float(view["snr"]))
            crop[:] = self._normalized(self._fbank(samples)[: len(crop)])
        finish_all(views, self._deviations, NORMALS, self._floor, out)

    def _reverberated(self, view: np.void, number: int, length: int) -> np.ndarray:
        rir, direct = self._room(number)
        start, there = int(view["speech_start"]), int(view["speech_frames"])
        dry = _read(view, "speech", length)
        if there <= length:  # a short utterance is repeated as it sounds in the room
            whole = view.copy()
            whole["speech_start"] = 0
            wet = np.take(convolve(_read(whole, "speech", there), rir)[direct:], start + np.arange(length), mode="wrap")
        else:
            before = min(start, len(rir))
            longer = view.copy()
            longer["speech_start"] = start - before
            wet = convolve(_read(longer, "speech", before + length), rir)[before + direct : before + direct + length]
        energy = float(np.square(wet).sum())
        if energy > 0:
            wet = wet * np.float32(np.sqrt(float(np.square(dry).sum()) / energy))
        return wet

    def _room(self, number: int) -> tuple[np.ndarray, int]:
        """A room impulse response and the place of its direct path; read anew, since rooms may be many thousands."""
        rir = self.banks.rooms.read(number, 0, self.banks.max_taps)[:, 0]
        return rir, int(np.argmax(np.abs(rir)))

    def _normalized(self, matrix: np.ndarray) -> np.ndarray:
        """What stage 2 does to the features of an utterance, done to those of a view."""
        config, count = self.index.config, len(matrix)
        if config.cmvn == "none":
            return matrix
        if config.cmvn == "sliding":
            return matrix - sliding_mean(lambda a, b: matrix[a:b], count, 0, count, config.cmvn_window)
        mean, deviation = utterance_statistics(lambda a, b: matrix[a:b], count)
        return (matrix - mean) / (1 if config.cmvn == "mean" else deviation)


def convolve(samples: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """The full convolution of two float32 signals by FFT."""
    length = len(samples) + len(rir) - 1
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(samples, size)
    spectrum *= scipy.fft.rfft(rir, size)
    return scipy.fft.irfft(spectrum, size)[:length]


def _read(view: np.void, part: str, length: int) -> np.ndarray:
    """(length,) float32 samples of a view's speech or noise, going round at the end."""
    crop = np.empty((length, 1), dtype=np.float32)
    names = ("kind", "frames", "start", "minimum", "step")
    read_crop(view[part], *(view[f"{part}_{name}"] for name in names), crop)
    return crop[:, 0]
