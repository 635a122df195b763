"""Stage 6 from end to end, on x-vectors of a synthetic corpus whose speakers are easy to tell apart."""

import importlib.util
import json
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import eer, min_dcf
from sdpn.extraction.store import XVectors, read_xvectors, write_xvectors

REPOSITORY = Path(__file__).parents[2]
STEP = REPOSITORY / "steps" / "score.py"
DIMENSIONS = 24
LISTS = ("eval", "eval_short")


def write_set(directory, prefix, n_speakers, per_speaker, noise, seed):
    """x-vectors of a set: speakers in 16 of the dimensions, noise of unequal variance in all."""
    rng = np.random.default_rng(seed)
    speakers = np.hstack([rng.normal(size=(n_speakers, 16)), np.zeros((n_speakers, DIMENSIONS - 16))])
    vectors = speakers.repeat(per_speaker, axis=0) + 1
    vectors += noise * np.linspace(0.3, 1.5, DIMENSIONS) * rng.normal(size=vectors.shape)
    ids = [f"{prefix}{i // per_speaker:02d}-{i % per_speaker}" for i in range(len(vectors))]
    write_xvectors(directory, XVectors(ids, vectors.astype(np.float32), np.full(len(ids), 200)))
    return ids


def write_trials(path, ids):
    pairs = [(a, b, "target" if a[:4] == b[:4] else "nontarget") for a, b in combinations(ids, 2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{a} {b} {label}\n" for a, b, label in pairs))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data folder and an experiment as stages 0 to 5 leave them."""
    root = tmp_path_factory.mktemp("prepared")
    systems = [("xvectors", 0.8), ("systems/fbank-stats/xvectors", 2.0), ("systems/untrained/xvectors", 1.5)]
    for folder, noise in systems:
        write_set(root / "exp" / folder / "train", "tr", 30, 8, noise, seed=1)
        ids = write_set(root / "exp" / folder / "eval", "ev", 8, 5, noise, seed=2)
    data = root / "data"
    data.mkdir()
    Corpus("synthetic", "train", ["eval"], dict.fromkeys(LISTS, "eval")).write(data)
    write_trials(data / "trials" / "eval.txt", ids)
    write_trials(data / "trials" / "eval_short.txt", ids[::2])
    return root


@pytest.fixture
def root(prepared, tmp_path):
    """A copy to spoil."""
    shutil.copytree(prepared, tmp_path / "run")
    return tmp_path / "run"


def score(root, *options):
    """Run the step in this process, where errors are exceptions."""
    spec = importlib.util.spec_from_file_location("score", STEP)
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    config = [] if "--config" in options else ["--config", str(REPOSITORY / "conf" / "backend.yaml")]
    step.main.main([*config, *options, str(root / "data"), str(root / "exp")], standalone_mode=False)


def results(root):
    return json.loads((root / "exp" / "results" / "results.json").read_text())["rows"]


def read_scores(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return [row[:2] for row in rows], np.array([float(row[2]) for row in rows])


def everything(root):
    return {path: path.read_bytes() for path in sorted((root / "exp").rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def scored(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(prepared, root)
    score(root)
    return root


def test_every_list_system_back_end_and_normalization_is_a_row(scored):
    rows = [tuple(row[key] for key in ("system", "backend", "score_norm")) for row in results(scored)]
    one_list = [
        *[("sdpn", backend, norm) for backend in ("cosine", "plda") for norm in ("none", "as")],
        *[(name, "cosine", "none") for name in ("fbank-stats", "fbank-stats whitened", "untrained")],
    ]
    assert rows == 2 * one_list
    assert [row["trials"] for row in results(scored)] == 7 * ["eval"] + 7 * ["eval_short"]


def test_cosine_scores_are_those_of_the_definition(scored):
    train, found = (read_xvectors(scored / "exp" / "xvectors" / name) for name in ("train", "eval"))
    centred = dict(zip(found.ids, found.vectors - train.vectors.mean(axis=0, dtype=np.float64), strict=True))
    pairs, scores = read_scores(scored / "exp/scores/eval/sdpn/cosine/scores.txt")
    lines = (scored / "data/trials/eval.txt").read_text().splitlines()
    assert pairs == [line.split()[:2] for line in lines]
    expected = [centred[a] @ centred[b] / np.linalg.norm(centred[a]) / np.linalg.norm(centred[b]) for a, b in pairs]
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_figures_are_computed_from_the_scores_as_written(scored):
    for row in results(scored):
        pairs, scores = read_scores(scored / "exp" / row["scores"])
        target = np.array([a[:4] == b[:4] for a, b in pairs])
        assert (row["targets"], row["nontargets"]) == (target.sum(), (~target).sum())
        assert row["eer_percent"] == 100 * eer(scores[target], scores[~target])
        assert row["min_dcf_0.01"] == min_dcf(scores[target], scores[~target], 0.01)
        assert row["min_dcf_0.05"] == min_dcf(scores[target], scores[~target], 0.05)


def test_plda_learned_from_clusters_beats_cosine(scored):
    figures = {(row["backend"], row["score_norm"]): row for row in results(scored)[:4]}
    assert figures["plda", "none"]["eer_percent"] < figures["cosine", "none"]["eer_percent"]
    assert figures["plda", "none"]["pseudo_speakers"] == pytest.approx(30, abs=3)
    assert figures["cosine", "none"]["pseudo_speakers"] is None
    assert figures["plda", "as"]["cohort_size"] == 240 and figures["plda", "as"]["top_n"] == 240


def test_the_table_stands_in_markdown_with_its_legend(scored):
    lines = (scored / "exp" / "results" / "results.md").read_text().splitlines()
    row = results(scored)[2]
    figures = f"{row['eer_percent']:.2f} | {row['min_dcf_0.01']:.4f} | {row['min_dcf_0.05']:.4f}"
    assert lines[2].startswith(
        "| system | back-end | score normalization | EER % | minDCF(0.01) | minDCF(0.05) | trials"
    )
    assert f"| sdpn | plda | none | {figures} | eval (80/700) |" in lines
    assert "- trials eval_short: 16 target, 174 non-target" in lines
    assert "- sdpn, cosine: `mean-subtract | length-norm | cosine`" in lines
    assert "- fbank-stats whitened, cosine: `whiten | length-norm | cosine`" in lines
    assert "- score normalization as: cohort of 240 training utterances, the 240 largest scores" in lines


def test_what_the_data_do_not_allow_is_said_and_the_table_is_printed(root, capsys):
    score(root)
    out = capsys.readouterr().out
    assert "lda: 150 dimensions asked for, 24 kept" in out
    assert "adaptive s-norm: top_n lowered from 300 to 240, the size of the cohort" in out
    table = [
        line
        for line in out.splitlines()
        if line.split("  ")[0] in ("sdpn", "fbank-stats", "fbank-stats whitened", "untrained")
    ]
    assert len(table) == 14 and len({line.index("  eval") for line in table}) == 1


def test_a_second_run_does_no_work(root, capsys):
    score(root)
    before = {path: path.stat().st_mtime_ns for path in everything(root) if path.name != ".lock"}
    first = capsys.readouterr().out
    score(root)
    second = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "14 score files, 14 of them done already" in second and "fitted" not in second
    assert first[first.index("system  ") :] == second[second.index("system  ") :]


def test_the_same_inputs_give_the_same_bytes(scored, root):
    score(root, "--backends", "plda")  # made in another order, and cut short
    shutil.rmtree(root / "exp/scores/eval/sdpn/plda+as")
    score(root)
    relative = {path.relative_to(root): text for path, text in everything(root).items()}
    assert relative == {path.relative_to(scored): text for path, text in everything(scored).items()}


def test_only_what_a_change_touches_is_redone_and_the_reason_is_said(root, capsys):
    score(root)
    capsys.readouterr()
    score(root, "--top-n", "20")
    out = capsys.readouterr().out
    assert "eval: sdpn cosine+as: top_n changed: redone" in out and "eval: sdpn plda+as: top_n changed: redone" in out
    assert "14 score files, 10 of them done already" in out
    score(root, "--top-n", "20", "--clusters", "20")
    out = capsys.readouterr().out
    redone = [line.strip() for line in out.splitlines() if line.endswith("redone")]
    assert redone == [f"{name}: sdpn plda{n}: clusters changed: redone" for name in LISTS for n in ("", "+as")]
    assert results(root)[2]["pseudo_speakers"] == 20


def test_other_vectors_are_scored_anew(root, capsys):
    score(root, "--backends", "cosine")
    write_set(root / "exp/systems/untrained/xvectors/eval", "ev", 8, 5, 0.1, seed=5)
    capsys.readouterr()
    score(root, "--backends", "cosine")
    out = capsys.readouterr().out
    assert "eval: untrained cosine: evaluation x-vectors changed: redone" in out
    assert "10 score files, 8 of them done already" in out


def test_a_missing_score_file_is_made_again(root, capsys):
    score(root, "--backends", "cosine")
    path = root / "exp/scores/eval/sdpn/cosine+as/scores.txt"
    text = path.read_bytes()
    path.unlink()
    capsys.readouterr()
    score(root, "--backends", "cosine")
    assert "eval: sdpn cosine+as: scores.txt is missing: redone" in capsys.readouterr().out
    assert path.read_bytes() == text


def test_the_cohort_can_be_the_means_of_the_clusters(root):
    score(root, "--backends", "cosine", "--score-norm", "z,t,s,as", "--cohort", "clusters", "--clusters", "25")
    rows = results(root)[:4]
    assert [row["score_norm"] for row in rows] == ["z", "t", "s", "as"]
    assert {row["cohort_size"] for row in rows} == {row["pseudo_speakers"] for row in rows} <= {23, 24, 25}
    assert len({row["eer_percent"] for row in rows}) > 1


def test_the_seed_chooses_the_sample_of_the_cohort(root):
    options = ("--backends", "cosine", "--cohort-size", "50", "--top-n", "10")
    score(root, *options)
    first = (root / "exp/scores/eval/sdpn/cosine+as/scores.txt").read_text()
    score(root, *options, "--seed", "2")
    assert (root / "exp/scores/eval/sdpn/cosine+as/scores.txt").read_text() != first


def test_without_baselines_only_the_trained_network_is_scored(root):
    shutil.rmtree(root / "exp/systems")
    score(root, "--backends", "cosine", "--score-norm", "none")
    assert [(row["system"], row["trials"]) for row in results(root)] == [("sdpn", "eval"), ("sdpn", "eval_short")]


def rewrite(root, name, change):
    directory = root / "exp/xvectors" / name
    found = read_xvectors(directory)
    write_xvectors(directory, XVectors(found.ids, change(found.vectors.copy()), found.num_frames))


def broken_nan(root):
    def change(vectors):
        vectors[[1, 3], 0] = np.nan
        return vectors

    rewrite(root, "eval", change)


def append_trial(root, line):
    with open(root / "data/trials/eval.txt", "a") as opened:
        opened.write(line + "\n")


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (lambda root: shutil.rmtree(root / "exp/xvectors"), (), "exp/xvectors is missing: run stage 5 first"),
        (
            lambda root: shutil.rmtree(root / "exp/xvectors/eval"),
            (),
            "xvectors/eval/xvector.ark is missing: run stage 5",
        ),
        (lambda root: (root / "data/corpus.json").unlink(), (), "corpus.json is missing: run stage 0 first"),
        (lambda root: (root / "data/trials/eval.txt").unlink(), (), "trials/eval.txt is missing: run stage 0 first"),
        (lambda root: Corpus("x", "train", ["eval"], {}).write(root / "data"), (), "there are no trial lists"),
        (lambda root: append_trial(root, "ev00-0 ev99-0 target"), (), "1 of its 41 utterances have no x-vector in"),
        (lambda root: append_trial(root, "ev00-0 ev01-0 maybe"), (), "line 781: expected `enroll test target"),
        (broken_nan, (), r"2 of 40 x-vectors hold NaN or infinity: ev00-1, ev00-3"),
        (lambda root: rewrite(root, "eval", lambda v: v[:, :9]), (), "have 9 dimensions, those of 'train' 24"),
        (lambda root: rewrite(root, "train", np.ones_like), (), "all 240 x-vectors are the same"),
        (lambda root: None, ("--backends", "gmm"), "'backends' is unknown: gmm; allowed"),
        (lambda root: None, ("--score-norm", "zz"), "'score_norm' is unknown: zz"),
        (lambda root: None, ("--clusters", "999"), "999 clusters asked for, but at most 240"),
        (lambda root: None, ("--config", "none.yaml"), "none.yaml: there is no such configuration file"),
    ],
)
def test_bad_input_is_one_sentence(root, spoil, options, sentence):
    spoil(root)
    with pytest.raises(SdpnError, match=sentence):
        score(root, *options)
    if (root / "exp" / "results" / "results.json").exists():  # rows that could be scored are kept
        assert len(results(root)) < 14


def test_a_back_end_that_cannot_be_fitted_costs_its_own_rows_alone(root, capsys):
    with pytest.raises(SdpnError, match=r"1 back-ends have rows missing above; the first: sdpn, plda: .*999 clusters"):
        score(root, "--clusters", "999")
    rows = {(row["system"], row["backend"]) for row in results(root)}
    assert ("sdpn", "cosine") in rows and ("untrained", "cosine") in rows and ("sdpn", "plda") not in rows
    assert "999 clusters" in capsys.readouterr().err


def test_the_program_exits_1_with_the_sentence_and_without_a_traceback(root):
    shutil.rmtree(root / "exp" / "xvectors")
    command = [sys.executable, STEP, root / "data", root / "exp"]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr == f"error: {root}/exp/xvectors is missing: run stage 5 first\n"


def test_two_runs_at_once_do_not_mix(root):
    from sdpn.files import exclusive

    with exclusive(root / "exp" / "scores"), pytest.raises(SdpnError, match="another run is writing"):
        score(root)
