"""What the kernels of `kernels` compute, in plain numpy and float64: the tests hold them to it."""

import numpy as np

from sdpn.augment.kernels import FIRST_CODEC_NORMAL, FIRST_NORMAL, FLOORS_OF_SILENCE
from sdpn.augment.random import NORMALS, bits


def render_view(
    view: np.void,
    speech: np.ndarray,
    noise: np.ndarray | None,
    frames: int,
    weights: np.ndarray,
    deviations: np.ndarray,
    floor: float,
) -> np.ndarray:
    """One view as `kernels.render` renders it.

    Args:
        view: its record of `kernels.VIEW`.
        speech, noise: (n_frames, bins) the whole utterance and the whole clip, log-mel; no noise: None.
        frames: in the view.
        weights, deviations, floor: as for `kernels.mix`.

    Returns:
        (frames, bins) float64.
    """
    crop = crop_of(speech, view["speech_start"], frames)
    if noise is not None:
        snr = view["snr"] - view["balance"]
        crop = mix(crop, crop_of(noise, view["noise_start"], frames), snr, weights, deviations, view["key"], floor)
    angles = np.pi * (np.arange(crop.shape[1]) + 0.5) / crop.shape[1]
    crop = crop + sum(weight * np.cos(k * angles) for k, weight in enumerate(view["equalizer"].astype(float), start=1))
    if np.isfinite(view["codec_snr"]):
        gain = 10 ** (-float(view["codec_snr"]) / 10)
        alpha = phases(view["key"], FIRST_CODEC_NORMAL, crop.shape, deviations)
        crop = crop + np.log(np.maximum(1 + gain + 2 * alpha * np.sqrt(gain), np.finfo(np.float32).eps))
    band = np.arange(crop.shape[1])
    outside = (band < view["lowest_bin"]) | (band >= view["highest_bin"])
    crop[:, outside] = np.maximum(crop[:, outside] - view["loss"], np.minimum(crop[:, outside], np.log(floor)))
    crop = crop + view["level"]
    means = crop.mean(axis=0)
    first, count = view["mask_frame"], view["mask_frames"]
    crop[first : first + count] = means
    first, count = view["mask_bin"], view["mask_bins"]
    crop[:, first : first + count] = means[first : first + count]
    return crop


def crop_of(whole: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Rows start, start + 1, ... of a matrix, going round at its end; float64."""
    return np.take(whole, np.arange(start, start + frames), axis=0, mode="wrap").astype(np.float64)


def mix(
    speech: np.ndarray,
    noise: np.ndarray,
    snr: float,
    weights: np.ndarray,
    deviations: np.ndarray,
    key: int,
    floor: float,
) -> np.ndarray:
    """Speech and noise, (frames, bins) log-mel, mixed as `kernels.mix` does."""
    clean, added = np.exp(speech), np.maximum(np.exp(noise) - FLOORS_OF_SILENCE * floor, 0)
    disturbance = (added @ weights).sum()
    gain = (clean @ weights).sum() / disturbance * 10 ** (-float(snr) / 10) if disturbance > 0 else 0.0
    alpha = phases(key, FIRST_NORMAL, speech.shape, deviations)
    total = clean + gain * added + 2 * alpha * np.sqrt(clean * gain * added)
    return np.log(np.maximum(total, floor))


def phases(key: int, first: int, shape: tuple[int, int], deviations: np.ndarray) -> np.ndarray:
    """The phase term of every bin: four normal variables of 12 bits from each 64-bit word, clipped to [-1, 1]."""
    frames, bins = shape
    words_per_frame = -(-bins // 4)
    words = [int(bits(np.uint64(key), np.uint64(first + i))) for i in range(frames * words_per_frame)]
    chosen = np.array([[word >> shift & 0xFFF for shift in (4, 20, 36, 52)] for word in words])
    return np.clip(NORMALS[chosen.reshape(frames, -1)[:, :bins]] * deviations, -1, 1)
