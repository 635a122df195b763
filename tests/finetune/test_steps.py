"""The executables of stages 7 and 8, as run.sh calls them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from sdpn.extraction.store import XVectors, write_xvectors
from sdpn.features.index import FeatureIndex
from sdpn.finetune.state import describe
from sdpn.models.folder import read_model, write_model
from sdpn.models.registry import build_encoder
from sdpn.shards import Work
from tests.finetune.conftest import NETWORK, TINY

STEPS = Path(__file__).parents[2] / "steps"


@pytest.fixture
def experiment(data, tmp_path):
    """An experiment with a model and x-vectors of four heaps, without a training."""
    exp = tmp_path / "exp"
    index = FeatureIndex.open(data / "train")
    write_model(exp / "model", build_encoder(**NETWORK), NETWORK, index.config.spectral())
    (exp / "config.yaml").write_text(yaml.safe_dump({"augment": {"p_mask": 0.7, "p_equalize": 0.25}}))
    random = np.random.default_rng(4)
    heaps = random.standard_normal((4, 8))[np.arange(20) % 4] + 0.05 * random.standard_normal((20, 8))
    found = XVectors(index.ids, heaps.astype(np.float32), np.asarray(index.frames, dtype=np.int64))
    Work(exp / "xvectors" / "train", "xvectors", {}).finish(write_xvectors(exp / "xvectors" / "train", found))
    return exp


@pytest.fixture
def step(data, tmp_path):
    """step(name, *arguments) -> the arguments that run a step with the tiny settings."""
    config, augment = tmp_path / "tiny.yaml", tmp_path / "augment.yaml"
    config.write_text(yaml.safe_dump(TINY | {"clusters": 4, "min_class_size": 4}))
    augment.write_text("p_mask: 0.5\n")

    def arguments(name, *others):
        of_views = ["--augment-config", augment] if name == "finetune" else []
        fixed = [sys.executable, STEPS / f"{name}.py", "--config", config, *of_views]
        return [str(part) for part in (*fixed, *others)]

    return arguments


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_stages_7_and_8_end_with_the_same_bits_after_sigkill_and_a_rerun_does_nothing(step, data, experiment, tmp_path):
    for name in ("undisturbed", "round1"):
        made = run(step("make_pseudo_speakers", data, experiment, tmp_path / name))
        assert made.returncode == 0, made.stderr
        assert "20 of 20 utterances (100%) in 4 classes of 5 to 5" in made.stdout
    labels = dict(line.split() for line in (tmp_path / "round1" / "labels" / "utt2spk").read_text().splitlines())
    assert len({labels[f"utt{i:02d}"] for i in range(0, 20, 4)}) == 1
    assert len(set(labels.values())) == 4

    options = ("--epochs", "12", "--checkpoint-every", "2")
    undisturbed = run(step("finetune", *options, data, tmp_path / "undisturbed"))
    assert undisturbed.returncode == 0, undisturbed.stderr
    tuning = step("finetune", *options, data, tmp_path / "round1")
    killed = subprocess.Popen(tuning, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (tmp_path / "round1" / "checkpoints" / "step-000000010.pt").exists():
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = run(tuning)
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stdout
    weights = [(tmp_path / exp / "model" / "weights.pt").read_bytes() for exp in ("undisturbed", "round1")]
    assert weights[0] == weights[1]
    assert (tmp_path / "round1" / "training.png").exists()

    before = (tmp_path / "round1" / "labels" / "utt2spk").stat().st_mtime_ns
    assert "in 4 classes" in run(step("make_pseudo_speakers", data, experiment, tmp_path / "round1")).stdout
    assert (tmp_path / "round1" / "labels" / "utt2spk").stat().st_mtime_ns == before
    assert "trained already" in run(tuning).stdout


def test_known_labels_take_the_place_of_clusters(step, data, experiment, tmp_path):
    known = tmp_path / "utt2spk"
    known.write_text("".join(f"utt{i:02d} {'anna' if i < 9 else 'bert'}\n" for i in range(3, 20)) + "foreign anna\n")
    exp = tmp_path / "supervised"
    made = run(step("make_pseudo_speakers", "--labels", known, data, experiment, exp))
    assert "17 of 20 training utterances in 2 classes, the labels of" in made.stdout
    assert (exp / "labels" / "utt2spk").read_text() == "".join(known.read_text().splitlines(True)[:-1])
    tuned = run(step("finetune", "--epochs", "1", "--large-margin-epochs", "0", data, exp))
    assert tuned.returncode == 0, tuned.stderr
    recorded = yaml.safe_load((exp / "config.yaml").read_text())
    assert recorded["learned_from"] == "labels"
    assert (recorded["augment"]["p_mask"], recorded["augment"]["p_equalize"]) == (0.7, 0.25)  # as it was trained before
    assert "2 speakers that are known" in (exp / "model" / "README.md").read_text()


def test_another_model_can_be_begun_with(step, data, experiment, tmp_path):
    run(step("make_pseudo_speakers", data, experiment, tmp_path / "round1"))
    other = NETWORK | {"channels": 16}
    write_model(tmp_path / "other", build_encoder(**other), other, FeatureIndex.open(data / "train").config.spectral())
    tuned = run(step("finetune", "--init", tmp_path / "other", "--epochs", "1", data, tmp_path / "round1"))
    assert tuned.returncode == 0, tuned.stderr
    assert f"fine-tuning {tmp_path / 'other'} on 4 classes" in tuned.stdout
    said = "\n".join(describe(tmp_path / "round1"))
    assert f"{tmp_path / 'other'} fine-tuned on clusters" in said
    assert "state: finished" in said and "loss gate: " in said and "\nhealth: " in said
    assert read_model(tmp_path / "round1" / "model")[1]["network"]["channels"] == 16


def test_a_model_of_other_features_is_refused_with_the_line_that_makes_them(step, data, experiment, tmp_path):
    run(step("make_pseudo_speakers", data, experiment, tmp_path / "round1"))
    features = FeatureIndex.open(data / "train").config.spectral() | {"high_freq": -200.0}
    write_model(tmp_path / "other", build_encoder(**NETWORK), NETWORK, features)
    tuned = run(step("finetune", "--init", tmp_path / "other", data, tmp_path / "round1"))
    assert tuned.returncode == 1
    assert "steps/make_fbank.py --high-freq -200.0 DATA" in tuned.stderr


def test_labels_made_anew_are_another_training(step, data, experiment, tmp_path):
    round1 = tmp_path / "round1"
    run(step("make_pseudo_speakers", data, experiment, round1))
    assert run(step("finetune", "--epochs", "1", "--large-margin-epochs", "0", data, round1)).returncode == 0
    run(step("make_pseudo_speakers", "--clusters", "3", "--min-silhouette", "-1", data, experiment, round1))
    tuned = run(step("finetune", "--epochs", "1", "--large-margin-epochs", "0", data, round1))
    assert tuned.returncode == 1
    assert "holds another training: the labels" in tuned.stderr


def test_before_stage_7_there_is_nothing_to_learn(step, data, tmp_path):
    tuned = run(step("finetune", data, tmp_path / "round1"))
    assert tuned.returncode == 1
    assert "run stage 7 first" in tuned.stderr


def test_the_configurations_that_come_with_the_recipe_are_valid():
    from sdpn import config
    from sdpn.finetune.config import RoundConfig

    files = sorted((STEPS.parent / "conf" / "finetune").glob("*.yaml"))
    assert [path.stem for path in files] == ["paper", "small", "toy"]
    for path in files:
        config.read(path, RoundConfig)


def test_the_papers_settings_are_the_defaults():
    from sdpn import config
    from sdpn.finetune.config import RoundConfig

    paper = config.read(STEPS.parent / "conf" / "finetune" / "paper.yaml", RoundConfig)
    assert paper == RoundConfig()
    assert (paper.min_class_size, paper.max_class_size, paper.scale, paper.margin) == (8, 50, 30, 0.2)
    assert (paper.gate_from, paper.correction_from, paper.correction_temperature) == (5, 9, 0.1)
    assert (paper.correction_confidence, paper.large_margin_epochs, paper.large_margin_frames) == (0.5, 5, 600)
    assert (paper.large_margin, paper.large_margin_lr) == (0.5, 1 / 50)


def test_clusters_can_be_of_x_vectors_beside_the_statistics_of_the_fbank(step, data, experiment, tmp_path):
    missing = run(step("make_pseudo_speakers", "--cluster-on", "both", data, experiment, tmp_path / "round1"))
    assert "run stage 5 first" in missing.stderr
    both = experiment / "systems" / "xvector+fbank-stats" / "xvectors" / "train"
    index = FeatureIndex.open(data / "train")
    random = np.random.default_rng(6)
    directions = np.vstack((np.eye(3), -np.eye(3)[:2]))
    heaps = directions[np.arange(20) % 5] + 0.05 * random.standard_normal((20, 3))
    written = write_xvectors(both, XVectors(index.ids, heaps.astype(np.float32), np.asarray(index.frames)))
    Work(both, "xvectors", {}).finish(written, first=2)
    options = ("--cluster-on", "both", "--clusters", "5")
    made = run(step("make_pseudo_speakers", *options, data, experiment, tmp_path / "round1"))
    assert "in 5 classes of 4 to 4" in made.stdout, made.stderr


def test_rounds_stop_where_the_classes_do_not_change(step, data, experiment, tmp_path):
    """The x-vectors of round 1 are those of the experiment: the second would learn the same."""
    round1, round2 = tmp_path / "round1", tmp_path / "round2"
    assert run(step("make_pseudo_speakers", data, experiment, round1)).returncode == 0
    assert run(step("finetune", "--epochs", "1", "--large-margin-epochs", "0", data, round1)).returncode == 0
    shutil.copytree(experiment / "xvectors", round1 / "xvectors")
    stopped = run(step("make_pseudo_speakers", data, round1, round2))
    assert stopped.returncode == 3, stopped.stderr
    assert f"no further round after {round1}: its classes would be those of round1 (NMI 1.000" in stopped.stdout
    assert not (round2 / "labels" / "utt2spk").exists()
    compared = subprocess.run(
        [sys.executable, STEPS / "compare_rounds.py", experiment, round1], capture_output=True, text=True
    )
    assert compared.returncode == 0, compared.stderr
    assert "round1, " in compared.stdout
    assert (experiment / "rounds" / "rounds.png").exists()
