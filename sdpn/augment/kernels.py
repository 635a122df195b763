"""Mixing speech and noise in the log-mel domain, with masks: the kernel and its plain reference."""

import numba
import numpy as np

from sdpn.augment.random import NORMALS, bits

FIRST_NORMAL = 64
"""Position in a view's random stream from which the phase term is drawn; what lies before serves its other draws."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def mix(speech, noise, snr, weights, deviations, key, normals, out):
    """Add noise to speech at an SNR, as power spectra with a random phase term.

    Per band m: E = Ex + g En + 2 alpha sqrt(Ex g En), alpha ~ N(0, deviations[m]^2) clipped to [-1, 1]
    (Deng, Droppo and Acero, "Enhancement of log mel power spectra of speech using a phase-sensitive model of the
    acoustic environment", IEEE Trans. SAP 12(2), 2004). The gain g gives the crops the SNR asked for, with energies
    summed over frames and bands, each band weighted by `weights` (which takes the pre-emphasis out again).

    Args:
        speech: (frames, bins) float32 natural-log mel energies.
        noise: the same of the noise; overwritten, as scratch.
        snr: dB.
        weights: (bins,) float32 weights of the bands in the energies.
        deviations: (bins,) float32.
        key: uint64 key of the view's random stream.
        normals: the table `random.NORMALS`.
        out: (frames, bins) float32, written; it may be `speech` itself.
    """
    frames, bins = speech.shape
    signal, disturbance = 0.0, 0.0
    for frame in range(frames):
        for band in range(bins):
            out[frame, band] = np.exp(speech[frame, band])
            noise[frame, band] = np.exp(noise[frame, band])
            signal += weights[band] * out[frame, band]
            disturbance += weights[band] * noise[frame, band]
    gain = np.float32(signal / max(disturbance, 1e-30) * 10 ** (-snr / 10))
    position, word = np.uint64(FIRST_NORMAL), np.uint64(0)
    for frame in range(frames):
        for band in range(bins):
            if band % 4 == 0:
                word = bits(key, position)
                position += np.uint64(1)
            alpha = normals[word & np.uint64(0xFFFF)] * deviations[band]
            word >>= np.uint64(16)
            alpha = min(np.float32(1), max(np.float32(-1), alpha))
            clean, added = out[frame, band], gain * noise[frame, band]
            total = clean + added + np.float32(2) * alpha * np.sqrt(clean * added)
            # opposite phases cancel at most down to the floor that fbank itself has
            out[frame, band] = np.log(max(total, np.float32(1.1920929e-07)))


def mix_reference(speech, noise, snr, weights, deviations, key, normals=NORMALS):
    """What `mix` writes, in plain numpy and float64; the test holds the kernel to it."""
    frames, bins = speech.shape
    clean, added = np.exp(speech.astype(np.float64)), np.exp(noise.astype(np.float64))
    gain = (clean @ weights).sum() / max((added @ weights).sum(), 1e-30) * 10 ** (-snr / 10)
    words_per_frame = -(-bins // 4)
    words = [int(bits(np.uint64(key), np.uint64(FIRST_NORMAL + i))) for i in range(frames * words_per_frame)]
    chosen = np.array([[word >> shift & 0xFFFF for shift in (0, 16, 32, 48)] for word in words])
    alpha = normals[chosen.reshape(frames, -1)[:, :bins]] * deviations
    total = clean + gain * added + 2 * np.clip(alpha, -1, 1) * np.sqrt(clean * gain * added)
    return np.log(np.maximum(total, np.finfo(np.float32).eps))


@numba.njit(cache=True, nogil=True)
def mask(crop, first_frame, num_frames, first_bin, num_bins):
    """Replace a run of frames and a run of bins by each bin's mean over the crop, in place.

    Args:
        crop: (frames, bins) float32.
        first_frame, num_frames: the frames masked, over all bins.
        first_bin, num_bins: the bins masked, over all frames.
    """
    frames, bins = crop.shape
    for band in range(bins):
        mean = np.float32(crop[:, band].sum() / frames)
        if first_bin <= band < first_bin + num_bins:
            crop[:, band] = mean
        else:
            crop[first_frame : first_frame + num_frames, band] = mean
