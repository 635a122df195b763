import numpy as np
import pytest

from sdpn.audio.vad import speech_frames
from sdpn.features.config import FbankConfig


def compute_vad_energy(log_energy, threshold, mean_scale, context, proportion):
    """Kaldi's ComputeVadEnergy, frame by frame, from its source's description."""
    count = len(log_energy)
    threshold = threshold + mean_scale * sum(log_energy) / count
    voiced = []
    for t in range(count):
        near = [u for u in range(t - context, t + context + 1) if 0 <= u < count]
        loud = sum(log_energy[u] > threshold for u in near)
        voiced.append(loud >= np.float32(len(near)) * np.float32(proportion))  # BaseFloat is float
    return np.array(voiced)


@pytest.mark.parametrize("context", [0, 2, 5, 12])
@pytest.mark.parametrize(
    ("threshold", "mean_scale", "proportion"), [(5.0, 0.5, 0.6), (5.5, 0.5, 0.12), (12.0, 0.0, 0.5)]
)
def test_speech_is_where_kaldi_finds_it(context, threshold, mean_scale, proportion):
    rng = np.random.default_rng(0)
    log_energy = np.repeat(rng.normal(12, 5, 30), 10) + rng.normal(0, 1, 300)
    config = FbankConfig(
        vad_energy_threshold=threshold,
        vad_energy_mean_scale=mean_scale,
        vad_frames_context=context,
        vad_proportion_threshold=proportion,
    )
    energy = np.exp(log_energy.astype(np.float64)) / 32768**2
    expected = compute_vad_energy(log_energy, threshold, mean_scale, context, proportion)
    assert 0 < expected.sum() < 300
    np.testing.assert_array_equal(speech_frames(energy, config, 1.0), expected)


def test_the_scale_of_samples_does_not_matter():
    energy = np.exp(np.random.default_rng(0).normal(-8, 5, 300))
    of_integers = speech_frames(energy * 32768**2, FbankConfig(), 32768)
    np.testing.assert_array_equal(of_integers, speech_frames(energy, FbankConfig(), 1.0))
