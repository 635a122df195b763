import numpy as np
import pytest

from sdpn.augment.kernels import mask, mix, mix_reference
from sdpn.augment.random import NORMALS
from sdpn.augment.views import energy_weights
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank

WEIGHTS = energy_weights(FbankConfig())
DEVIATIONS = np.linspace(0.63, 0.27, 80, dtype=np.float32)


def speech_like(seed, seconds=8.0):
    """Coloured noise under a syllabic envelope: dense in time and frequency, so that phases are what differs."""
    rng = np.random.default_rng(seed)
    samples = np.convolve(rng.standard_normal(int(seconds * 16000)), [1, 0.9, 0.6, 0.3], mode="same")
    envelope = 0.2 + np.abs(np.sin(2 * np.pi * 2.1 * np.arange(len(samples)) / 16000 + seed))
    return (0.02 * samples * envelope).astype(np.float32)


def run_mix(speech, noise, snr, deviations=DEVIATIONS, key=7):
    out = np.empty_like(speech)
    mix(speech, noise.copy(), snr, WEIGHTS, deviations, np.uint64(key), NORMALS, out)
    return out


@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
@pytest.mark.parametrize("bins", [80, 39])
def test_the_kernel_is_its_plain_reference(snr, bins):
    rng = np.random.default_rng(0)
    speech, noise = rng.uniform(-12, 2, (2, 57, bins)).astype(np.float32)
    out = np.empty_like(speech)
    mix(speech, noise.copy(), snr, WEIGHTS[:bins], DEVIATIONS[:bins], np.uint64(3), NORMALS, out)
    reference = mix_reference(speech, noise, snr, WEIGHTS[:bins], DEVIATIONS[:bins], 3)
    # where the phases all but cancel, float32 has few digits left of the difference
    assert np.quantile(np.abs(out - reference), 0.999) < 1e-4
    assert np.abs(np.exp(out) - np.exp(reference)).max() < 1e-4 * np.exp(reference).max()


def test_it_may_write_in_place():
    speech, noise = np.random.default_rng(0).uniform(-12, 2, (2, 20, 80)).astype(np.float32)
    expected = run_mix(speech, noise, 5.0)
    mix(speech, noise, 5.0, WEIGHTS, DEVIATIONS, np.uint64(7), NORMALS, speech)
    np.testing.assert_array_equal(speech, expected)


@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_without_the_phase_term_energies_add_at_the_snr(snr):
    fbank = Fbank(FbankConfig())
    speech, noise = fbank(speech_like(1)), fbank(speech_like(2))
    mixed = run_mix(speech, noise, snr, deviations=np.zeros(80, dtype=np.float32))
    added = np.exp(mixed.astype(np.float64)) - np.exp(speech.astype(np.float64))
    obtained = 10 * np.log10((np.exp(speech.astype(np.float64)) @ WEIGHTS).sum() / (added @ WEIGHTS).sum())
    assert abs(obtained - snr) < 0.01


@pytest.mark.parametrize("snr", [0.0, 5.0, 10.0, 15.0])
def test_mixing_fbanks_is_distributed_like_mixing_waveforms(snr):
    """Against the fbank of the true sum, the error has no bias, and the spread that independent phases give."""
    fbank = Fbank(FbankConfig())
    clean, disturbance = speech_like(1), speech_like(2)
    gain = np.sqrt((clean**2).sum() / (disturbance**2).sum() * 10 ** (-snr / 10))
    true = fbank(clean + gain * disturbance)
    speech, noise = fbank(clean), fbank(disturbance)
    mixed = run_mix(speech, noise, snr)
    # a second true mix: the noise with its sign turned has the same spectrum and the opposite phase term
    other = fbank(clean - gain * disturbance)
    decibel = 10 / np.log(10)
    for low, high in ((0, 20), (20, 40), (40, 60), (60, 80)):
        bands = slice(low, high)
        bias = decibel * (mixed - true)[:, bands].mean()
        spread = decibel * (mixed - true)[:, bands].std()
        expected = decibel * (other - true)[:, bands].std() / np.sqrt(2)
        assert abs(bias) < 0.3
        assert 0.6 < spread / expected < 1.4


def test_masks_are_filled_with_each_bins_mean():
    crop = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)
    before, means = crop.copy(), crop.mean(axis=0)
    mask(crop, 5, 4, 3, 2)
    np.testing.assert_allclose(crop[5:9], np.broadcast_to(means, (4, 12)), atol=1e-6)
    np.testing.assert_allclose(crop[:, 3:5], np.broadcast_to(means[3:5], (30, 2)), atol=1e-6)
    untouched = np.ones((30, 12), dtype=bool)
    untouched[5:9] = untouched[:, 3:5] = False
    np.testing.assert_array_equal(crop[untouched], before[untouched])
