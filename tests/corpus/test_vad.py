"""Energies and decisions are compared with Kaldi's formulas written out frame by frame."""

import json
import math

import numpy as np
import pytest
import soundfile

from sdpn.audio.files import serially
from sdpn.audio.vad import decide
from sdpn.corpus import vad
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.manifests import write_set
from sdpn.corpus.vad import find_speech, log_energies, speech_span
from sdpn.errors import SdpnError
from sdpn.utterance import Utterance
from tests.recipe.voices import voice

RATE = 16000


def blocks(samples, size=1000):
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def test_log_energies_are_those_of_every_frame_without_its_mean():
    samples = voice(1, 1, 1.0) + 0.01
    found = log_energies(blocks(samples), RATE)
    frames = [samples[first : first + 400] * 32768.0 for first in range(0, len(samples) - 399, 160)]
    expected = [math.log(np.square(frame - frame.mean(dtype=np.float64), dtype=np.float64).sum()) for frame in frames]
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_frame_is_speech_where_enough_of_its_neighbours_are_loud():
    config = CutsConfig()
    energies = np.full(40, 3.0)
    energies[20:23] = 15.0
    threshold = config.vad_energy_threshold + config.vad_energy_mean_scale * energies.mean()
    expected = []
    for frame in range(40):
        near = energies[max(0, frame - 2) : frame + 3]
        expected.append((near > threshold).sum() >= config.vad_proportion_threshold * len(near))
    np.testing.assert_array_equal(decide(energies, config), expected)


@pytest.mark.parametrize("size", [500, 16000])
def test_the_span_of_speech_has_a_margin(size):
    rng = np.random.default_rng(1)
    samples = np.concatenate([1e-4 * rng.standard_normal(24000), voice(1, 1, 1.0), 1e-4 * rng.standard_normal(24000)])
    begin, end = speech_span(blocks(samples, size), RATE, CutsConfig())
    assert begin == pytest.approx(1.4, abs=0.06)
    assert end == pytest.approx(2.6, abs=0.1)


def test_silence_has_no_span():
    assert speech_span([np.zeros(16000)], RATE, CutsConfig()) is None
    assert speech_span([np.zeros(100)], RATE, CutsConfig()) is None
    assert speech_span([], RATE, CutsConfig()) is None


def spans(folder) -> dict:
    return json.loads((folder / "speech.json").read_text())["spans"]


def test_only_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", voice(1, 1, 1.0), RATE)
    write_set(tmp_path, [Utterance(name, str(tmp_path / f"{name}.wav"), RATE, RATE) for name in "ab"])
    read, blocked = [], {"b"}

    def read_blocks(source, is_command, rate, first, last, length):
        read.append(source[-5])
        if read[-1] in blocked:
            raise SdpnError("ffmpeg is not installed")
        return [voice(1, 1, 1.0)[:, None]]

    monkeypatch.setattr(vad, "read_blocks", read_blocks)
    find_speech(tmp_path, CutsConfig(), serially)
    assert spans(tmp_path)["b"] == ["its audio cannot be read", "ffmpeg is not installed"]
    blocked.clear()
    find_speech(tmp_path, CutsConfig(), serially)
    find_speech(tmp_path, CutsConfig(), serially)
    assert read == ["a", "b", "b"]
    assert spans(tmp_path)["b"] == spans(tmp_path)["a"]


def test_commands_are_refused_before_any_audio_is_read(tmp_path, monkeypatch):
    monkeypatch.delenv("SDPN_ALLOW_PIPES", raising=False)
    write_set(tmp_path, [Utterance("a", "cat a.wav", RATE, RATE, kind="command")])
    with pytest.raises(SdpnError, match=r"comes from a command, which runs with --allow-pipes alone: cat a.wav"):
        find_speech(tmp_path, CutsConfig(), serially)
    assert not (tmp_path / "speech.json").exists()
