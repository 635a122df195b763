"""The inner loops of stage 2: samples to windowed frames, spectra to log-mel energies, these to stored integers."""

import numba
import numpy as np

from sdpn.features.logarithm import log

_FAST = {"contract", "nsz", "reassoc"}


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def cut_frames(samples, base, total, starts_at, shift, edge, window, preemphasis, remove_dc, frames, energies):
    """Write windowed frames, and the raw energy of each (after its mean is removed, before pre-emphasis and window).

    Args:
        samples: (n,) float32, the samples base, base + 1, ... of the utterance.
        base: number of the first of them.
        total: samples in the whole utterance; those before 0 and from there on are mirrored, as often as it takes.
        starts_at: sample at which the first frame begins, may be negative.
        shift: samples from frame to frame.
        edge: 1 where the mirror repeats the outermost sample (Kaldi), 0 where it does not (torch.stft).
        window: (length,) float32.
        preemphasis: coefficient.
        remove_dc: whether each frame's mean is subtracted.
        frames: (count, >= length) float32, written; what is beyond the length stays as it is.
        energies: (count,) float32, written.
    """
    length = len(window)
    scratch = np.empty(length, dtype=np.float32)
    for i in range(len(frames)):
        first = starts_at + i * shift
        if first >= 0 and first + length <= total:
            inside = samples[first - base : first - base + length]
            for j in range(length):
                scratch[j] = inside[j]
        else:
            for j in range(length):
                at = first + j
                while at < 0 or at >= total:
                    at = -at - edge if at < 0 else 2 * total - 2 + edge - at
                scratch[j] = samples[at - base]
        if remove_dc:
            mean = np.float32(0)
            for j in range(length):
                mean += scratch[j]
            mean /= np.float32(length)
            for j in range(length):
                scratch[j] -= mean
        energy = np.float32(0)
        for j in range(length):
            energy += scratch[j] * scratch[j]
        energies[i] = energy
        out = frames[i]
        out[0] = (scratch[0] - preemphasis * scratch[0]) * window[0]
        for j in range(1, length):
            out[j] = (scratch[j] - preemphasis * scratch[j - 1]) * window[j]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def log_mel(spectra, first_bins, num_bins, weights, floor, offset, band_weights, out, powers):
    """Power spectra summed into mel bands, then the logarithm of max(band, floor) + offset.

    Args:
        spectra: (count, 2 * fft_bins) float32, real and imaginary parts in turn.
        first_bins, num_bins: (bands,) the run of FFT bins under each filter.
        weights: (bands, >= the longest run) float32 filters, from the first bin of each run on.
        band_weights: (bands,) float32.
        out: (count, bands) float32, written.
        powers: (count,) float32, written: the bands' energies, weighted and summed.
    """
    fft_bins = spectra.shape[1] // 2
    power = np.empty(fft_bins, dtype=np.float32)
    for i in range(len(spectra)):
        for k in range(fft_bins):
            power[k] = spectra[i, 2 * k] * spectra[i, 2 * k] + spectra[i, 2 * k + 1] * spectra[i, 2 * k + 1]
        for band in range(out.shape[1]):
            total = np.float32(0)
            first = first_bins[band]
            for k in range(num_bins[band]):
                total += weights[band, k] * power[first + k]
            out[i, band] = total
        power_of_frame = np.float32(0)
        for band in range(out.shape[1]):
            power_of_frame += band_weights[band] * out[i, band]
        powers[i] = power_of_frame
        for band in range(out.shape[1]):
            out[i, band] = log(max(out[i, band], floor) + offset)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def to_steps(block, minimum, per_step, most, stored):
    """Write round((block - minimum) * per_step), limited to [0, most].

    Args:
        block: (rows, bins) float32.
        minimum, per_step, most: float32.
        stored: (rows, bins) uint8 or uint16, written.
    """
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            steps = (block[i, j] - minimum) * per_step + np.float32(0.5)
            stored[i, j] = np.int32(min(max(steps, np.float32(0)), most))


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def from_steps(stored, minimum, step, values):
    """Write minimum + stored * step.

    Args:
        stored: (rows, bins), any number type.
        minimum, step: float32.
        values: (rows, bins) float32, written.
    """
    for i in range(stored.shape[0]):
        for j in range(stored.shape[1]):
            values[i, j] = np.float32(stored[i, j]) * step + minimum
