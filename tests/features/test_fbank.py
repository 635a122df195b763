import kaldi_native_fbank as knf
import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank, band_centres


def speech_like(seconds=1.7, rate=16000):
    """Harmonics with a moving pitch under a slow envelope, in a little noise."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(5 * time)) / rate
    voiced = sum(np.sin(k * phase) / k for k in range(1, 25)) * (0.6 + 0.4 * np.sin(9 * time))
    return (0.1 * voiced + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def kaldi(samples, config):
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = config.sampling_rate
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = config.snip_edges
    options.frame_opts.window_type = config.window_type
    options.frame_opts.preemph_coeff = config.preemphasis_coefficient
    options.frame_opts.remove_dc_offset = config.remove_dc_offset
    options.frame_opts.frame_length_ms = config.frame_length
    options.frame_opts.frame_shift_ms = config.frame_shift
    options.mel_opts.num_bins = config.num_mel_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(config.sampling_rate, (samples * config.sample_scale).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"snip_edges": True},
        {"sampling_rate": 8000},
        {"sample_scale": 32768.0},
        {"num_mel_bins": 40, "low_freq": 60.0, "high_freq": 7000.0},
        {"window_type": "hamming", "preemphasis_coefficient": 0.0, "remove_dc_offset": False},
        {"frame_length": 32.0, "frame_shift": 16.0},
    ],
)
def test_fbank_is_kaldi_native_fbanks(settings):
    config = FbankConfig(**settings)
    samples = speech_like(rate=config.sampling_rate)
    expected = kaldi(samples, config)
    computed = Fbank(config)(samples)
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() < 1e-3


@pytest.mark.parametrize("snip_edges", [False, True])
@pytest.mark.parametrize("num_samples", [400, 479, 480, 560, 16001])
def test_the_number_of_frames_is_known_beforehand(snip_edges, num_samples):
    fbank = Fbank(FbankConfig(snip_edges=snip_edges))
    assert len(fbank(np.ones(num_samples, dtype=np.float32))) == fbank.num_frames(num_samples)


@pytest.mark.parametrize("samples", [np.zeros(399), np.full(4000, np.nan), np.full(4000, np.inf)])
def test_unusable_samples_are_refused(samples):
    with pytest.raises(SdpnError, match=r"shorter than one frame|NaN or infinite"):
        Fbank(FbankConfig())(samples)


def test_digital_silence_is_finite():
    assert np.isfinite(Fbank(FbankConfig())(np.zeros(16000))).all()


def test_band_centres_answer_to_tones():
    config = FbankConfig()
    time = np.arange(16000) / 16000
    for band in (10, 40, 70):
        tone = np.sin(2 * np.pi * band_centres(config)[band] * time)
        assert np.bincount(Fbank(config)(tone).argmax(axis=1)).argmax() == band


def test_impossible_band_edges_are_refused():
    with pytest.raises(ValueError, match="high_freq"):
        FbankConfig(high_freq=9000.0).check()
