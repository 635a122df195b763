import numpy as np
import pytest

from sdpn.augment.phases import Pair, compare, estimate, knots, power_ratio
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank


@pytest.fixture(scope="module")
def pairs():
    fbank = Fbank(FbankConfig())
    made = []
    for number in range(6):
        rng = np.random.default_rng(number)
        speech, noise = rng.standard_normal((2, 32000)).astype(np.float32) * 0.1
        speech *= 1.2 + np.sin(2 * np.pi * 2 * np.arange(32000) / 16000)
        rumble = 0.2 * np.sin(2 * np.pi * 7 * np.arange(32000) / 16000)  # which no band tells of
        noise = (noise + rumble).astype(np.float32)
        made.append(Pair(speech, noise, power_ratio(speech, fbank), power_ratio(noise, fbank)))
    return made


def test_the_phase_term_is_what_random_phases_give(pairs):
    """Of one FFT bin alone the term is the cosine of a random phase, with deviation sqrt(1/2); over more it falls."""
    found = estimate(pairs, Fbank(FbankConfig()))
    assert 0.4 < found[:10].mean() < 0.72
    assert found[70:].mean() < 0.35
    assert found[:20].mean() > found[20:40].mean() > found[40:60].mean() > found[60:].mean()


def test_what_a_clips_bands_do_not_tell_counts_in_its_snr(pairs):
    fbank = Fbank(FbankConfig())
    assert all(pair.noise_ratio > 2.5 for pair in pairs) and all(0.9 < pair.speech_ratio < 1.2 for pair in pairs)
    found = compare(pairs, fbank, estimate(pairs, fbank), 5.0)
    assert abs(found.snr_error) < 0.3
    assert (np.abs(found.bias) < 0.1).all() and (np.abs(found.spread - 1) < 0.1).all()


def test_knots_are_the_least_squares_fit():
    line = np.linspace(0.6, 0.2, 80)
    np.testing.assert_allclose(knots(line, 3), [0.6, 0.4, 0.2], atol=1e-3)
    steep = np.r_[np.ones(70), np.zeros(10)]
    assert min(knots(steep, 9)) >= 0 and max(knots(steep, 9)) <= 1  # as conf/augment.yaml wants them


@pytest.mark.parametrize("config", [FbankConfig(num_mel_bins=30), FbankConfig.of_3dspeaker(78)])
def test_any_number_of_bands_is_compared_in_groups(pairs, config):
    fbank = Fbank(config)
    made = [Pair(one.speech, one.speech[::-1] * np.float32(0.9)) for one in pairs[:4]]
    found = compare(made, fbank, estimate(made, fbank), 5.0)
    assert found.bias.shape == found.spread.shape == (4,)
    assert (np.abs(found.bias) < 0.3).all() and (np.abs(found.spread - 1) < 0.3).all()


def test_white_noise_is_told_whole():
    noise = np.random.default_rng(0).standard_normal(160000).astype(np.float32) * 0.1
    for settings in ({}, {"sample_scale": 32768.0}, {"preemphasis_coefficient": 0.0}, {"num_mel_bins": 40}):
        assert abs(10 * np.log10(power_ratio(noise, Fbank(FbankConfig(**settings))))) < 0.3
