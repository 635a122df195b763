import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import sdpn
from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import CONTENT, load_chain, save_chain
from sdpn.errors import SdpnError
from sdpn.extraction.embedder import Embedder
from sdpn.models.digest import model_digest
from sdpn.models.folder import CHECKSUMS
from sdpn.recognizer import PLAIN, Recognizer
from tests.voices import CALIBRATION, RATE, voice, write_experiment, write_small_model, write_voice


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_a_model_is_loaded_by_its_experiment_or_its_folder(exp):
    for path in (exp, str(exp), exp / "model"):
        model = sdpn.load(path)
        assert (model.backend, model.sampling_rate, model.dimension) == ("cosine", 16000, 12)


def test_the_score_is_what_the_fitted_back_end_makes_of_two_x_vectors(exp, tmp_path):
    model = sdpn.load(exp)
    a, b = (model.embed(voice(speaker, 3), RATE) for speaker in (0, 1))
    mean = load_chain(exp / "backends" / "sdpn" / "cosine.h5").transforms[0].mean_
    assert model.score(a, b) == pytest.approx(cosine(a - mean, b - mean), abs=1e-6)
    paths = [write_voice(tmp_path / f"{speaker}.wav", speaker, 3, subtype="FLOAT") for speaker in (0, 1)]
    assert model.score(*paths) == pytest.approx(model.score(a, b), abs=1e-4)


def test_a_voice_of_several_recordings_is_enrolled_by_all_of_them(exp):
    model = sdpn.load(exp, "white")
    vectors = [model.embed(voice(2, take), RATE) for take in range(3)]
    several = model.score(np.stack(vectors[:2]), vectors[2])
    chain = load_chain(exp / "backends" / "sdpn" / "white.h5")
    parts = chain.before_scorer(np.stack(vectors).astype(float))
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    assert several == pytest.approx(cosine(parts[:2].mean(axis=0), parts[2]), abs=1e-6)


def test_the_calibration_of_stage_6_makes_log_likelihood_ratios(exp):
    model = sdpn.load(exp)
    assert model.log_likelihood_ratio(0.75) == pytest.approx(0.75 * CALIBRATION["weight"] + CALIBRATION["offset"])
    assert model.limit() == pytest.approx(0.5)
    assert model.log_likelihood_ratio(model.limit(prior=0.01)) == pytest.approx(np.log(99))
    assert model.limit(prior=0.01, threshold=0.3) == 0.3
    assert sdpn.load(exp, "white").log_likelihood_ratio(0.75) is None  # stage 6 has no row of it


def test_a_model_without_back_ends_is_scored_by_the_plain_cosine(tmp_path):
    model = Recognizer(write_small_model(tmp_path))
    a, b = (model.embed(voice(speaker, 0), RATE) for speaker in (0, 1))
    assert model.backend == PLAIN and model.calibration is None and model.limit() is None
    assert model.score(a, b) == pytest.approx(cosine(a, b), abs=1e-6)


def test_a_back_end_is_also_a_file_or_a_chain(exp):
    model = sdpn.load(exp, str(exp / "backends" / "sdpn" / "white.h5"))
    assert model.chain.text == "whiten 4 | length-norm | cosine"
    assert sdpn.load(exp, "length-norm | cosine").calibration is None


def test_a_back_end_of_another_network_is_refused(tmp_path):
    exp = write_experiment(tmp_path / "exp")
    weights = torch.load(exp / "model" / "weights.pt", weights_only=True)
    torch.save({name: 2 * tensor for name, tensor in weights.items()}, exp / "model" / "weights.pt")
    (exp / "model" / CHECKSUMS).unlink()
    with pytest.raises(SdpnError, match="was fitted on x-vectors of another network: run stages 5 and 6 again"):
        sdpn.load(exp)
    assert sdpn.load(exp, PLAIN).backend == PLAIN


def without_its_network(backend):
    with h5py.File(backend, "r+") as opened:
        del opened.attrs["network"]


def test_x_vectors_newer_than_a_back_end_that_does_not_say_its_network_are_seen(tmp_path):
    exp = write_experiment(tmp_path / "exp")
    backend = exp / "backends" / "sdpn" / "cosine.h5"
    os.utime(backend, ns=(0, 0))
    assert sdpn.load(exp).backend == "cosine"  # a copied experiment has any dates
    without_its_network(backend)
    os.utime(backend, ns=(0, 0))
    with pytest.raises(SdpnError, match="of another network"):
        sdpn.load(exp)


def edited(exp, **changes):
    path = exp / "results" / "results.json"
    tree = json.loads(path.read_text())
    tree["rows"][0] |= changes
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": {"weight": -3.0, "offset": 1.0}},  # the scores tell nothing: stage 6 warns of it
        {"calibration": {"weight": 0, "offset": 1.0}},
        {"calibration": {"weight": float("nan"), "offset": 1.0}},
        {"calibration": {"weight": 1.0, "offset": float("inf")}},
    ],
)
def test_a_calibration_that_is_senseless_is_none(tmp_path, changes):
    exp = write_experiment(tmp_path / "exp")
    edited(exp, **changes)
    model = sdpn.load(exp)
    assert model.calibration is None and model.limit() is None and model.log_likelihood_ratio(1.0) is None


@pytest.mark.parametrize(
    ("changes", "reason", "line"),
    [
        ({"not_calibrated": "3 clusters are too few"}, "3 clusters are too few", "--calibration TRIALS DATA"),
        ({}, "asked for none", "--calibration clusters DATA"),
        ({"calibration": {"weight": 0, "offset": 1.0}}, "hardly tell targets", "--calibration TRIALS DATA"),
        ({"backend": "lda"}, "no results of 'cosine'", "steps/score.py DATA"),
        ({"backend_digest": "of others"}, "another fit", "steps/score.py DATA"),
    ],
)
def test_why_there_is_no_calibration_is_said_with_the_line_that_makes_one(tmp_path, changes, reason, line):
    exp = write_experiment(tmp_path / "exp", calibrated=False)
    edited(exp, **changes)
    if "backend" in changes:  # and no other row of it
        tree = json.loads((exp / "results" / "results.json").read_text())
        (exp / "results" / "results.json").write_text(json.dumps({"rows": tree["rows"][:1]}))
    said = sdpn.load(exp).uncalibrated
    assert reason in said and f"{line} {exp}`" in said


@pytest.mark.parametrize("of_row", ["of other clusters", None])  # as after a kill of stage 6, or of an older version
@pytest.mark.parametrize("of_file", ["of cosine", None])
def test_a_calibration_of_another_fit_of_the_back_end_is_none_and_the_reason_is_said(tmp_path, capsys, of_row, of_file):
    exp = write_experiment(tmp_path / "exp")
    sdpn.load(exp)
    assert capsys.readouterr().err == ""
    edited(exp, backend_digest=of_row)
    if of_file is None:
        with h5py.File(exp / "backends" / "sdpn" / "cosine.h5", "r+") as opened:
            del opened.attrs["digest"]
            del opened.attrs[CONTENT]
    assert sdpn.load(exp).calibration is None
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {exp}/backends/sdpn/cosine.h5 may not be the back-end of {exp}/results/")
    assert said.endswith("whose calibration is not used: run stage 6 again\n") and said.count("\n") == 1


def test_a_back_end_that_cannot_score_the_models_x_vectors_is_a_sentence(tmp_path):
    exp = write_experiment(tmp_path / "exp")
    with h5py.File(exp / "backends" / "sdpn" / "cosine.h5", "r+") as opened:
        del opened["0 mean-subtract"]["mean_"]
        del opened.attrs[CONTENT]
    with pytest.raises(SdpnError, match=r"cosine\.h5 is damaged: remove it and run stage 6 again"):
        sdpn.load(exp)
    (exp / "backends" / "sdpn" / "cosine.h5").write_bytes(b"nothing")
    with pytest.raises(SdpnError, match=r"cosine\.h5: damaged, or not an HDF5 file"):
        sdpn.load(exp)
    save_chain(tmp_path / "other.h5", Chain("mean-subtract | cosine").fit(np.eye(5)))
    with pytest.raises(SdpnError, match=r"other\.h5 does not fit the model: mean-subtract: .* 12 dimensions"):
        sdpn.load(exp, str(tmp_path / "other.h5"))


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("plda", "has no back-end 'plda': it has cosine, white"),
        ("whiten | cosine", "must be fitted first"),
        ("nothing.h5", "there is no such file"),
        ("length | cosine", "unknown step 'length'"),
    ],
)
def test_what_is_no_back_end_is_a_sentence(exp, backend, sentence):
    with pytest.raises(SdpnError, match=sentence):
        sdpn.load(exp, backend)


def test_damaged_results_are_a_sentence(tmp_path):
    exp = write_experiment(tmp_path / "exp")
    for content in ("{", "[]", '{"rows": [1]}', "[" * 100_000):
        (exp / "results" / "results.json").write_text(content)
        with pytest.raises(SdpnError, match=r"results\.json is damaged"):
            sdpn.load(exp)
    (exp / "results" / "results.json").unlink()
    assert sdpn.load(exp).calibration is None


def test_vectors_of_another_size_are_refused(exp):
    with pytest.raises(SdpnError, match="expected x-vectors of 12 dimensions"):
        sdpn.load(exp).score(np.ones(5), np.ones(12))


def test_importing_the_package_loads_nothing_heavy():
    script = "import sys, sdpn; sys.exit(', '.join({'torch', 'numpy', 'numba'} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_the_lines_in_the_readme_run(exp, tmp_path):
    readme = (Path(__file__).parents[1] / "sdpn" / "README.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "sdpn.load" in code)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "toy").symlink_to(exp)
    write_voice(tmp_path / "anna.wav", 0, 3)
    write_voice(tmp_path / "caller.flac", 0, 4, rate=44100)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    score, ratio = map(float, done.stdout.split())
    assert ratio == pytest.approx(score * CALIBRATION["weight"] + CALIBRATION["offset"], abs=1e-9)


def test_a_back_end_of_x_vectors_and_statistics_takes_both_of_a_recording(tmp_path):
    exp = write_experiment(tmp_path / "tiny")
    model = exp / "model"
    both = Embedder(model, statistics=True)
    vectors = np.stack([both.embed(voice(speaker, take), RATE) for speaker in range(5) for take in range(2)])
    chain = Chain("side-by-side 12 | mean-subtract | lda 3 | length-norm | plda").fit(vectors, np.arange(10) // 2)
    save_chain(exp / "backends" / "xvector+fbank-stats" / "lda-plda.h5", chain, model_digest(model), "of both")
    recognizer = sdpn.load(exp, "xvector+fbank-stats/lda-plda")
    assert recognizer.dimension == 12 + 160
    a, b = (recognizer.embed(voice(speaker, 3), RATE) for speaker in (0, 1))
    np.testing.assert_array_equal(a[:12], sdpn.load(exp).embed(voice(0, 3), RATE))
    transformed = chain.transform(np.stack((a, b)))
    expected = chain.scorer.score_matrix(transformed, transformed)[0, 1]
    assert recognizer.score(a, b) == pytest.approx(expected)
    with pytest.raises(SdpnError, match="xvector\\+fbank-stats/lda-plda"):
        sdpn.load(exp, "xvector+fbank-stats/plda")


def test_the_environment_may_name_the_model(exp, monkeypatch):
    monkeypatch.setenv("SDPN_MODEL", str(exp))
    assert sdpn.load().dimension == sdpn.load(exp).dimension
    monkeypatch.delenv("SDPN_MODEL")
    with pytest.raises(SdpnError, match="SDPN_MODEL"):
        sdpn.load()
