import os
import tracemalloc

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from sdpn.errors import SdpnError
from sdpn.features import audio
from sdpn.features.audio import AudioCut, load_samples, stream_samples


@pytest.fixture
def recording(tmp_path):
    """recording(rate, channels, seconds) -> a Lhotse recording of noise on disk."""

    def make(rate=16000, channels=1, seconds=3.0, name="a.flac"):
        samples = 0.2 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
        soundfile.write(tmp_path / name, samples.clip(-1, 1), rate)
        return Recording.from_file(tmp_path / name)

    return make


def test_samples_are_those_that_lhotse_reads(recording):
    cut = recording(channels=2).to_cut().truncate(offset=0.5, duration=1.2345)
    for channel in (0, 1):
        (one,) = [track for track in cut.to_mono() if track.channel == channel]
        np.testing.assert_array_equal(load_samples(one), one.load_audio()[0])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_the_length(tmp_path, rate):
    time = np.arange(int(2.123 * rate)) / rate
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), rate, subtype="FLOAT")
    cut = Recording.from_file(tmp_path / "tone.wav").resample(16000).to_cut()
    samples = load_samples(cut)
    assert len(samples) == cut.num_samples
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(samples)) / 16000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3


def test_blocks_change_no_bit(recording, monkeypatch):
    for cut in (recording().to_cut(), recording(44100, name="b.flac").resample(16000).to_cut()):
        whole = load_samples(cut)
        monkeypatch.setattr(audio, "_BLOCK_SECONDS", 1)
        blocks = list(stream_samples(cut))
        assert len(blocks) >= 3
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
        monkeypatch.undo()


def test_an_hour_is_read_in_little_memory(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1) as opened:
        for _ in range(60):
            opened.write(0.1 * np.random.default_rng(0).standard_normal(60 * 16000))
    cut = AudioCut.of(Recording.from_file(tmp_path / "long.flac").to_cut())
    tracemalloc.start()
    assert sum(len(block) for block in stream_samples(cut)) == 3600 * 16000
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_an_augmented_recording_is_left_to_lhotse(recording):
    cut = recording().to_cut().perturb_volume(0.5)
    np.testing.assert_allclose(load_samples(cut), cut.load_audio()[0])


def test_what_is_wrong_with_a_file_is_a_sentence(recording, tmp_path):
    cut = recording().to_cut()
    path = tmp_path / "a.flac"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SdpnError, match=r"the file was cut off, or has changed|cannot be read"):
        load_samples(cut)
    path.write_bytes(b"")
    with pytest.raises(SdpnError, match=r"cannot be read: .*a.flac: Format not recognised"):
        load_samples(cut)
    os.unlink(path)
    with pytest.raises(SdpnError, match=r"cannot be read: .*a.flac: no such file"):
        load_samples(cut)
    recording(8000)
    with pytest.raises(SdpnError, match="has 8000 Hz where the manifest says 16000: run stage 0 again"):
        load_samples(cut)
