import os
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from sdpn.audio import pipes, read
from sdpn.audio.decoders import ffmpeg
from sdpn.audio.headers import read_header
from sdpn.audio.read import _audio_of
from sdpn.errors import OutsideError, SdpnError
from sdpn.features.audio import load_samples, stream_samples
from sdpn.utterance import Utterance, utterance_of
from tests.corpus.conftest import encode, needs_ffmpeg


@pytest.fixture
def recording(tmp_path):
    """recording(rate, channels, seconds) -> a Lhotse recording of noise on disk."""

    def make(rate=16000, channels=1, seconds=3.0, name="a.flac"):
        samples = 0.2 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
        soundfile.write(tmp_path / name, samples.clip(-1, 1), rate)
        return Recording.from_file(tmp_path / name)

    return make


def whole_file(path) -> Utterance:
    return Utterance(str(path), str(path), *read_header(path), channel=0)


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
        monkeypatch.setattr(read, "_BLOCK_SECONDS", 1)
        blocks = list(stream_samples(cut))
        assert len(blocks) >= 3
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
        monkeypatch.undo()


def test_an_hour_is_read_in_little_memory(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1) as opened:
        for _ in range(60):
            opened.write(0.1 * np.random.default_rng(0).standard_normal(60 * 16000))
    cut = utterance_of(Recording.from_file(tmp_path / "long.flac").to_cut())
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
    with pytest.raises(SdpnError, match=r"cut off|cannot be read"):
        load_samples(cut)
    path.write_bytes(b"")
    with pytest.raises(SdpnError, match="the file is empty"):
        load_samples(cut)
    os.unlink(path)
    with pytest.raises(SdpnError, match=r"cannot be read: .*a.flac: no such file"):
        load_samples(cut)
    recording(8000)
    with pytest.raises(SdpnError, match="has 8000 Hz where the manifest says 16000: run stage 0 again"):
        load_samples(cut)


@needs_ffmpeg
def test_windows_of_what_ffmpeg_decodes_are_decoded_once_and_equal_those_of_the_whole(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000 * 9), 16000)
    path = encode(tmp_path / "a.wav", tmp_path / "a.m4a")
    whole, begun = whole_file(path), []
    expected = load_samples(whole)
    decode = ffmpeg.decode

    def counted(*words):
        begun.append(words)
        return decode(*words)

    monkeypatch.setattr(ffmpeg, "decode", counted)

    def window(start, stop):
        return load_samples(whole.changed(id="w", start=start, duration=stop - start))

    edges = [0.0, 2.0, 4.5, 6.0, len(expected) / 16000]
    for start, stop in pairwise(edges):
        np.testing.assert_array_equal(window(start, stop), expected[round(start * 16000) : round(stop * 16000)])
    assert len(begun) == 1
    np.testing.assert_array_equal(window(7.0, 8.0), expected[7 * 16000 : 8 * 16000])
    np.testing.assert_array_equal(window(1.0, 8.5), expected[16000 : 17 * 8000])  # back: from the start again
    assert len(begun) == 3


@needs_ffmpeg
def test_two_cuts_of_one_file_may_be_decoded_at_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000 * 5), 16000)
    whole = whole_file(encode(tmp_path / "a.wav", tmp_path / "a.m4a"))
    one, other = stream_samples(whole), stream_samples(whole)
    found = [block for pair in zip(one, other, strict=True) for block in pair]
    np.testing.assert_array_equal(np.concatenate(found[::2]), load_samples(whole))
    np.testing.assert_array_equal(np.concatenate(found[1::2]), load_samples(whole))


@needs_ffmpeg
def test_damage_behind_the_last_window_is_told_with_it(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000 * 3), 16000)
    whole = whole_file(encode(tmp_path / "a.wav", tmp_path / "a.m4a"))

    def damaged(path):
        yield 16000, np.zeros((16000 * 3, 1), dtype=np.float32)
        raise SdpnError("there is more in it")

    monkeypatch.setattr(ffmpeg, "decode", damaged)
    with pytest.raises(SdpnError, match="there is more in it"):
        load_samples(whole)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(cut, text) -> the cut with the output of a command for its file."""
    monkeypatch.setattr(pipes, "refuse_unless_allowed", lambda command: None)
    _audio_of.cache_clear()

    def replaced(cut, text):
        return utterance_of(cut).changed(kind="command", source=text)

    yield replaced
    _audio_of.cache_clear()


def test_commands_are_bashs_and_run_once_for_all_segments_of_a_recording(recording, command, tmp_path):
    whole = recording(channels=2).to_cut()
    text = f"echo >> {tmp_path}/runs; cat <(cat {tmp_path}/a.flac)"
    for start, stop in ((0, 1.5), (0.5, 2), (2, 3)):
        (part,) = [cut for cut in whole.truncate(offset=start, duration=stop - start).to_mono() if cut.channel == 1]
        np.testing.assert_array_equal(load_samples(command(part, text)), load_samples(part))
    assert (tmp_path / "runs").read_text() == "\n"


def test_a_command_that_fails_is_named_and_counts_as_lying_outside(recording, command):
    with pytest.raises(OutsideError, match=r"the command failed: echo .*; false \| true: it is away"):
        load_samples(command(recording().to_cut(), "echo it is away >&2; false | true"))
    with pytest.raises(SdpnError, match="does not give audio: `echo words`"):
        load_samples(command(recording().to_cut(), "echo words"))


def test_a_channel_that_is_not_there_is_a_sentence(recording):
    cut = utterance_of(recording(channels=1).to_cut())
    with pytest.raises(SdpnError, match="its recording lacks the channel: 1"):
        load_samples(cut.changed(channel=1))
    with pytest.raises(SdpnError, match="has 1 channels where the manifest says more"):
        load_samples(cut.changed(channel=1, num_channels=2))  # when stage 1 looked there were two
