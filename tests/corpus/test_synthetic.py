from functools import partial

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from sdpn.cluster.pool import run_jobs
from sdpn.corpus import synthetic
from tests.corpus.conftest import content


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_as_its_exponent_says(exponent):
    noise = synthetic.coloured_noise(2**18, np.random.default_rng(0), exponent)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1)
    frequencies, power = welch(noise, 16000, nperseg=4096)
    middle = (frequencies > 100) & (frequencies < 6000)
    slope = np.polyfit(np.log(frequencies[middle]), np.log(power[middle]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_processes(tmp_path):
    for folder, nj in (("1", 1), ("2", 2)):
        synthetic.make_clips(tmp_path / folder, synthetic.KINDS, 3, partial(run_jobs, nj=nj))
    assert content(tmp_path / "1") == content(tmp_path / "2")
    synthetic.make_clips(tmp_path / "3", synthetic.KINDS, 4, partial(run_jobs, nj=1))
    assert not set(content(tmp_path / "1").values()) & set(content(tmp_path / "3").values())


def test_clips_are_audible_and_no_two_are_alike(tmp_path):
    made = synthetic.make_clips(tmp_path, ["noise", "music"], 3, partial(run_jobs, nj=1))
    clips = [soundfile.read(entry.source)[0] for entries in made.values() for entry in entries]
    assert [len(entries) for entries in made.values()] == [4, 1]
    for clip in clips:
        assert np.abs(clip).max() == pytest.approx(0.9, abs=1e-3)
        assert np.sqrt(np.mean(clip**2)) > 0.01
    same_length = [clip[: 6 * 16000] for clip in clips]
    assert np.abs(np.corrcoef(same_length) - np.eye(5)).max() < 0.3


def test_a_room_begins_with_the_direct_sound_and_dies_away():
    response = synthetic.room_response(np.random.default_rng(1))
    assert np.argmax(np.abs(response)) <= 40
    assert len(response) <= 0.6 * 16000
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    assert 10 * np.log10(energy[len(energy) * 3 // 4] / energy[0]) < -15
