"""The set dev_far: held-out speakers in rooms and noises that training does not have."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from sdpn.augment import far
from sdpn.augment.far import add_far, hold_clips_out
from sdpn.cluster.pool import run_jobs
from sdpn.corpus.writer import Prepared
from sdpn.trials.lists import Trial, TrialSet
from sdpn.utterance import Utterance
from tests.features.conftest import run_here

RATE = 16000


def write(path: Path, samples: np.ndarray, **labels) -> Utterance:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="FLOAT")
    return Utterance(path.stem, str(path), RATE, len(samples), **labels)


@pytest.fixture
def prepared(tmp_path):
    """Three held-out utterances, five rooms and five noises of one kind, and one piece of music."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "given"
    dev = [write(folder / f"ann-{i}.wav", 0.1 * rng.standard_normal(8000 + i), speaker="ann") for i in range(3)]
    decay = np.exp(-np.arange(1600) / 300)
    rooms = [write(folder / f"room{i}.wav", decay * rng.standard_normal(1600)) for i in range(5)]
    noises = [write(folder / f"noise{i}.wav", 0.01 * rng.standard_normal(3000)) for i in range(5)]
    music = [write(folder / "music0.wav", 0.1 * rng.standard_normal(3000))]
    trials = TrialSet("dev", [Trial("ann-0", "ann-1", True), Trial("ann-1", "ann-2", True)])
    speech = {"train": [], "dev": dev}
    return Prepared(speech, {"dev": trials}, {"noise": noises, "music": music, "rir": rooms})


def test_dev_far_is_dev_in_rooms_and_noises_that_training_lacks(prepared, tmp_path):
    made, files = add_far(prepared, tmp_path / "data", 1, run_here)
    assert [entry.id for entry in made.speech["dev_far"]] == ["ann-0", "ann-1", "ann-2"]
    assert [entry.speaker for entry in made.speech["dev_far"]] == ["ann"] * 3
    assert made.trials["dev_far"] == TrialSet("dev_far", prepared.trials["dev"].trials)
    assert {kind: len(entries) for kind, entries in made.clips.items()} == {"noise": 4, "music": 1, "rir": 4}
    (room,) = set(prepared.clips["rir"][i].id for i in range(5)) - {entry.id for entry in made.clips["rir"]}
    (noise,) = set(entry.id for entry in prepared.clips["noise"]) - {entry.id for entry in made.clips["noise"]}
    given = {entry.id: soundfile.read(entry.source)[0] for entry in [*prepared.speech["dev"], *prepared.clips["rir"]]}
    for path, entry in zip(files, made.speech["dev_far"], strict=True):
        samples, rate = soundfile.read(path)
        dry = given[entry.id]
        assert (len(samples), rate) == (len(dry), RATE)
        direct = np.abs(given[room]).argmax()
        wet = fftconvolve(dry, given[room])[direct : direct + len(dry)]
        wet *= np.sqrt((dry**2).sum() / (wet**2).sum())
        share = samples @ wet / (wet @ wet)
        rest = samples - share * wet
        assert 4 < 10 * np.log10(share**2 * (wet @ wet) / (rest @ rest)) < 21
        clip = soundfile.read(tmp_path / "given" / f"{noise}.wav")[0]
        echo = np.fft.irfft(np.fft.rfft(np.resize(rest, 3000)) * np.conj(np.fft.rfft(clip)), 3000)
        assert np.abs(echo).max() > 0.5 * np.linalg.norm(np.resize(rest, 3000)) * np.linalg.norm(clip)


def test_jobs_change_no_bit_and_a_rerun_renders_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(far, "_SHARD_SIZE", 2)
    _, one = add_far(prepared, tmp_path / "one", 1, run_here)
    _, two = add_far(prepared, tmp_path / "two", 1, partial(run_jobs, nj=2))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    monkeypatch.setattr(far, "render", None)
    add_far(prepared, tmp_path / "one", 1, run_here)


def test_what_cannot_be_read_is_left_out_with_its_trials(prepared, tmp_path):
    Path(prepared.speech["dev"][0].source).write_bytes(b"no audio")
    made, _ = add_far(prepared, tmp_path / "data", 1, run_here)
    assert [entry.id for entry in made.speech["dev_far"]] == ["ann-1", "ann-2"]
    assert made.trials["dev_far"].trials == [Trial("ann-1", "ann-2", True)]
    assert [one.name for one in made.skipped["dev_far"]] == ["ann-0"]


def test_without_held_out_speakers_or_with_given_features_nothing_is_held_out(prepared, tmp_path):
    given = Prepared(prepared.speech, prepared.trials, prepared.clips, features={"dev": {"ann-0": "x.ark:3"}})
    without = Prepared({"train": []}, {}, prepared.clips)
    for corpus in (given, without):
        assert add_far(corpus, tmp_path, 1, run_here) == (corpus, [])


def test_responses_of_one_room_are_held_out_together():
    rooms = [Utterance(f"{room}-{i}", f"rirs/Room{room}/{i}.wav", RATE, 100) for room in range(10) for i in range(4)]
    stay, held = hold_clips_out(rooms, 1)
    assert len(held) == 8 and len(stay) == 32
    assert {entry.source.split("/")[1] for entry in held}.isdisjoint(entry.source.split("/")[1] for entry in stay)
