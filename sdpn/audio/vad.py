"""Voice activity by energy, as Kaldi's compute-vad decides it."""

from typing import Protocol

import numpy as np


class VadSettings(Protocol):
    """What the rule goes by; see conf/fbank.yaml."""

    vad_energy_threshold: float
    vad_energy_mean_scale: float
    vad_frames_context: int
    vad_proportion_threshold: float


_EPSILON = float(np.finfo(np.float32).eps)


def speech_frames(energy: np.ndarray, config: VadSettings, sample_scale: float) -> np.ndarray:
    """Which frames are speech.

    A frame counts as loud where its log-energy exceeds vad_energy_threshold + vad_energy_mean_scale * (mean
    log-energy), and as speech where at least vad_proportion_threshold of the frames within vad_frames_context of it
    are loud (Kaldi, ivector/voice-activity-detection.cc). The log-energy is that of 16-bit samples, so Kaldi's
    thresholds mean here what they mean there.

    Args:
        energy: (n_frames,) sum of the squared samples of each frame.
        sample_scale: what full scale is in them.

    Returns:
        (n_frames,) bool.
    """
    to_16_bit = (32768 / sample_scale) ** 2
    return decide(np.log(np.maximum(energy.astype(np.float64) * to_16_bit, _EPSILON)), config)


def decide(log_energy: np.ndarray, config: VadSettings) -> np.ndarray:
    """The same of (n_frames,) log-energies of 16-bit samples: (n_frames,) bool."""
    if not len(log_energy):
        return np.zeros(0, dtype=bool)
    threshold = config.vad_energy_threshold + config.vad_energy_mean_scale * log_energy.mean()
    loud = np.concatenate([[0], np.cumsum(log_energy > threshold)])
    frames = np.arange(len(log_energy))
    first = np.maximum(frames - config.vad_frames_context, 0)
    last = np.minimum(frames + config.vad_frames_context + 1, len(log_energy))
    # in float32, as Kaldi has it: 0.6 of 25 frames is then more than 15
    wanted = (last - first).astype(np.float32) * np.float32(config.vad_proportion_threshold)
    return loud[last] - loud[first] >= wanted
