import numpy as np
import pytest
import soundfile
from lhotse import Recording

from sdpn.augment.config import BankConfig
from sdpn.augment.sources import (
    NOISE_PEAK,
    Noise,
    Reverberated,
    SpedCut,
    load_babble,
    load_utterance,
    plan_babble,
    reverberate,
)
from sdpn.errors import SdpnError
from sdpn.features.cache import describe
from sdpn.features.config import FbankConfig
from sdpn.utterance import utterance_of


def write_cut(folder, name, samples):
    soundfile.write(folder / f"{name}.wav", samples, 16000, subtype="FLOAT")
    cut = Recording.from_file(folder / f"{name}.wav").to_cut()
    cut.id = name
    return cut


def test_reverberation_is_convolution_with_the_direct_path_in_place_and_the_energy_kept():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(3000).astype(np.float32)
    rir = rng.standard_normal(400) * np.exp(-np.arange(400) / 60) * 0.3
    rir[25] = 3.0
    wet = reverberate(samples, rir)
    expected = np.array(
        [sum(rir[k] * samples[n + 25 - k] for k in range(400) if 0 <= n + 25 - k < 3000) for n in range(3000)]
    )
    expected *= np.sqrt((samples**2).sum() / (expected**2).sum())
    np.testing.assert_allclose(wet, expected, atol=1e-4)
    assert np.argmax(np.correlate(wet, samples, mode="full")) == len(samples) - 1


def test_the_room_depends_on_seed_copy_and_utterance_alone(tmp_path):
    rng = np.random.default_rng(0)
    cut = write_cut(tmp_path, "speech", 0.1 * rng.standard_normal(8000))
    rooms = [write_cut(tmp_path, f"room{i}", np.r_[0.9, 0.02 * rng.standard_normal(100 * (i + 1))]) for i in range(8)]
    base = Reverberated(rooms, 32000, 1, 1)(cut)
    np.testing.assert_array_equal(base, Reverberated(rooms, 32000, 1, 1)(cut))
    others = [Reverberated(rooms, 32000, seed, copy)(cut) for seed, copy in ((1, 2), (1, 3), (2, 1), (3, 1))]
    assert not all(np.array_equal(base, other) for other in others)


@pytest.mark.parametrize("response", [np.zeros(1000), np.r_[1, np.full(999, np.nan)]])
def test_a_room_without_a_sound_or_number_is_refused(tmp_path, response):
    cut = write_cut(tmp_path, "speech", np.ones(8000) * 0.1)
    room = write_cut(tmp_path, "room", response)
    with pytest.raises(SdpnError, match="room is silent"):
        Reverberated([room], 32000, 1, 1)(cut)


def test_babble_has_several_talkers_at_equal_power(tmp_path):
    time = np.arange(16000) / 16000
    cuts = [
        write_cut(tmp_path, f"u{i}", 0.1 * (i + 1) / 8 * np.sin(2 * np.pi * 250 * (i + 1) * time)) for i in range(8)
    ]
    config = BankConfig(babble_clips=5, babble_seconds=1.0)
    clips = list(plan_babble(cuts, config, 16000, seed=1))
    assert len({clip.id for clip in clips}) == 5
    for clip in clips:
        assert 3 <= len(clip.talkers) <= 7
        spectrum = np.abs(np.fft.rfft(load_babble(clip)))
        heights = [spectrum[250 * (int(cut.id[1:]) + 1)] for cut in clip.talkers]
        np.testing.assert_allclose(heights, heights[0], rtol=0.05)


def test_a_file_that_changed_changes_what_tells_a_babble_clip_from_another(tmp_path):
    cuts = [utterance_of(write_cut(tmp_path, f"u{i}", np.full(9000, 0.1))) for i in range(3)]
    clip = next(plan_babble(cuts, BankConfig(), 16000, seed=1))
    before = describe(clip)
    assert describe(clip) == before
    soundfile.write(tmp_path / "u1.wav", np.full(9000, 0.2), 16000)
    assert describe(clip) != before


def test_babble_is_the_same_for_the_same_seed(tmp_path):
    cuts = [utterance_of(write_cut(tmp_path, f"u{i}", np.full(9000, 0.1))) for i in range(4)]
    plans = [
        [clip.identity() for clip in plan_babble(cuts, BankConfig(babble_clips=6), 16000, seed)] for seed in (1, 1, 2)
    ]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_another_speed_moves_the_pitch_and_the_length(tmp_path, factor):
    time = np.arange(16000) / 16000
    cut = utterance_of(write_cut(tmp_path, "tone", 0.5 * np.sin(2 * np.pi * 1000 * time)))
    sped = SpedCut(cut, factor)
    samples = load_utterance(sped)
    assert len(samples) == sped.num_samples == round(16000 / factor)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(np.argmax(spectrum) * 16000 / len(samples) - 1000 * factor) < 2
    assert describe(sped) != describe(cut)


def test_a_room_longer_than_the_limit_is_cut_off_there(tmp_path):
    rng = np.random.default_rng(0)
    cut = write_cut(tmp_path, "speech", 0.1 * rng.standard_normal(8000))
    room = write_cut(tmp_path, "room", np.r_[0.9, 0.1 * rng.standard_normal(5000)])
    short = write_cut(tmp_path, "short", soundfile.read(tmp_path / "room.wav")[0][:400])
    limited, whole = (Reverberated([one], taps, 1, 1)(cut) for one, taps in ((room, 400), (room, 32000)))
    np.testing.assert_allclose(limited, Reverberated([short], 32000, 1, 1)(cut), atol=1e-6)
    assert np.abs(limited - whole).max() > 0.01


def test_a_noise_is_what_the_fbank_hears_of_it_at_full_level(tmp_path):
    time = np.arange(32000) / 16000
    heard = 0.01 * np.sin(2 * np.pi * 1000 * time)
    rumble = 0.5 * np.sin(2 * np.pi * 6 * time)
    samples = Noise(FbankConfig())(write_cut(tmp_path, "noise", heard + rumble))
    np.testing.assert_allclose(samples, NOISE_PEAK * heard / 0.01, atol=0.02)


@pytest.mark.parametrize("samples", [np.zeros(8000), 0.5 * np.sin(2 * np.pi * 5 * np.arange(16000) / 16000)])
def test_a_noise_of_which_nothing_is_heard_is_refused(tmp_path, samples):
    with pytest.raises(SdpnError, match="nothing is heard in it"):
        Noise(FbankConfig())(write_cut(tmp_path, "noise", samples))
