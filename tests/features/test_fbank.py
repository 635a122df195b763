import re
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile
import torch

from sdpn.config import read
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank, band_centres
from sdpn.features.gpu import TorchFbank

REAL_SPEECH = sorted((Path(__file__).parents[3] / "shared" / "corpora" / "speech" / "train").glob("ls-*/**/*.opus"))


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
        {"sampling_rate": 8000, "snip_edges": True},
        {"sampling_rate": 22050},
        {"window_type": "hanning"},
        {"window_type": "blackman"},
        {"window_type": "rectangular"},
        {"high_freq": 0.0, "low_freq": 0.0},
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


@pytest.mark.skipif(not REAL_SPEECH, reason="no real speech here")
@pytest.mark.parametrize("settings", [{}, {"snip_edges": True}, {"sampling_rate": 8000}])
def test_fbank_of_real_speech_is_kaldi_native_fbanks(settings):
    config = FbankConfig(**settings)
    for path in REAL_SPEECH[::50]:
        samples = soundfile.read(path, dtype="float32")[0][:: 16000 // config.sampling_rate]
        assert np.abs(Fbank(config)(samples) - kaldi(samples, config)).max() < 1e-3


def mel_spectrogram(samples):
    """log(torchaudio.transforms.MelSpectrogram(n_fft=512, win_length=400, hop_length=160, n_mels=80) + 1e-6), from
    torch.stft and the triangles over Hz, in float64."""
    power = (
        torch.stft(
            torch.from_numpy(samples).double(),
            n_fft=512,
            hop_length=160,
            win_length=400,
            window=torch.hann_window(400, periodic=True, dtype=torch.float64),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        .abs()
        .square()
    )
    points = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82, dtype=torch.float64) / 2595) - 1)
    freqs = torch.linspace(0, 8000, 257, dtype=torch.float64)
    rise = (freqs[None] - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    fall = (points[2:, None] - freqs[None]) / (points[2:] - points[1:-1])[:, None]
    filters = torch.minimum(rise, fall).clamp_min(0)
    return torch.log(filters @ power + 1e-6).T.numpy()


def three_d_speaker():
    return read(Path(__file__).parents[2] / "conf" / "fbank_3dspeaker.yaml", FbankConfig)


def test_the_profile_of_3d_speaker_is_torchaudios_mel_spectrogram():
    samples = speech_like()
    computed = Fbank(three_d_speaker())(samples)
    expected = mel_spectrogram(samples)
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() < 1e-3


def test_settings_that_the_profile_of_3d_speaker_fixes_are_refused():
    with pytest.raises(ValueError, match=r"low_freq is 20.*conf/fbank_3dspeaker.yaml"):
        FbankConfig(profile="mel_3dspeaker").check()


@pytest.mark.parametrize("settings", [{}, {"snip_edges": True}, "3dspeaker"])
@pytest.mark.parametrize("cuts", [[400], [1, 2, 3, 400, 5000], [9999], list(range(700, 26000, 700))])
def test_samples_in_blocks_give_the_same_to_the_bit(settings, cuts):
    config = three_d_speaker() if settings == "3dspeaker" else FbankConfig(**settings)
    samples = speech_like()
    blocks = np.split(samples, cuts)
    streamed = np.concatenate([frames.fbank for frames in Fbank(config).stream(blocks)])
    np.testing.assert_array_equal(streamed, Fbank(config)(samples))


@pytest.mark.parametrize("settings", [{}, {"snip_edges": True}, {"sample_scale": 32768.0}, "3dspeaker"])
def test_torch_computes_the_same(settings):
    config = three_d_speaker() if settings == "3dspeaker" else FbankConfig(**settings)
    fbank = Fbank(config)
    utterances = [speech_like(seconds) for seconds in (0.03, 1.7, 0.4)]
    for samples, (matrix, energy, power) in zip(utterances, TorchFbank(config)(utterances), strict=True):
        (frames,) = fbank.stream([samples]) if len(samples) < 1000 else [None]
        expected = fbank(samples)
        assert matrix.shape == expected.shape and energy.shape == (len(expected),)
        assert np.abs(matrix - expected).max() < 1e-3
        if frames is not None:
            np.testing.assert_allclose(energy, frames.energy, rtol=1e-4)
            np.testing.assert_allclose(power, frames.power, rtol=1e-3)


def test_more_filters_than_fft_bins_are_refused():
    with pytest.raises(SdpnError, match="leave some without any FFT bin"):
        Fbank(FbankConfig(num_mel_bins=256))


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


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"frame_shift": 0.01}, "frame_shift is 0.01 ms; expected at least 1 samples of 16000 Hz"),
        ({"frame_length": 0.07, "frame_shift": 0.07}, "frame_length is 0.07 ms; expected at least 2 samples"),
        ({"sample_scale": 1e20}, "'sample_scale' is 1e+20; expected a number at least 1 and at most 65536"),
    ],
)
def test_settings_of_which_no_fbank_comes_are_refused(settings, sentence):
    with pytest.raises(SdpnError, match=re.escape(sentence)):
        read(None, FbankConfig, settings)
