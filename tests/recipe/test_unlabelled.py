"""run.sh on a heap of recordings without speakers, and too few of them for the settings."""

import subprocess

import pytest
import yaml

import sdpn
from tests.corpus.conftest import write_audio, write_voice
from tests.recipe.conftest import ROOT, TINY


def run(*words) -> str:
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What all stages printed of 40 recordings in a flat folder and in folders of dates, and where they wrote."""
    root = tmp_path_factory.mktemp("heap")
    for number in range(40):
        folder = root / "calls" / ("." if number % 2 else f"2024/0{1 + number % 3}")
        write_voice(folder / f"{number:02d}.wav", number % 8, number, 1.5)
    for kind in ("noise", "music", "rir"):
        write_audio(root / kind / "one.wav", 0.3)
    (root / "config.yaml").write_text(TINY.replace("prototypes: 16", "prototypes: 64"))
    clips = [word for kind in ("noise", "music", "rir") for word in (f"--{kind}-dir", root / kind)]
    common = [ROOT / "run.sh", "--data-dir", root / "data", "--exp-dir", root / "exp", "--config", root / "config.yaml"]
    said = run(*common, "--corpus", "folder", "--corpus-dir", root / "calls", *clips, "--nj", 2)
    return root, common, said


def test_all_stages_run_and_say_what_is_known_and_what_is_not(finished):
    _, _, said = finished
    assert "20 of 40 recordings lie directly in it" in said
    for words in ("Halves of utterances", "silhouette", "no error rates"):
        assert words in said


def test_what_does_not_fit_is_lowered_before_features_are_made_and_recorded(finished):
    root, _, said = finished
    assert said.index("for stage 4, prototypes lowered from 64 to 20") < said.index("== stage 2")
    assert yaml.safe_load((root / "exp" / "config.yaml").read_text())["prototypes"] == 20


def test_a_rerun_by_the_data_folder_alone_does_no_work(finished):
    _, common, _ = finished
    said = run(*common)
    assert "trained already" in said
    assert "fitted" not in said


def test_two_recordings_are_judged_by_the_calibration_of_clusters(finished):
    root, _, _ = finished
    model = sdpn.load(root / "exp")
    score = model.score(root / "calls" / "01.wav", root / "calls" / "09.wav")
    assert isinstance(model.log_likelihood_ratio(score), float)
