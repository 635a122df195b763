"""Stage 6 from end to end, on x-vectors of a synthetic corpus whose speakers are easy to tell apart."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import click
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from sdpn.backend.chain_file import digest_of, load_chain, network_of
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import cllr, eer, min_dcf
from sdpn.extraction.side_by_side import join_sets
from sdpn.extraction.store import XVectors, read_xvectors, write_xvectors
from sdpn.report import embedding_map
from sdpn.report.experiments import compare_experiments
from sdpn.scoring import stage
from sdpn.scoring.calibration import Calibrator, doubt_of
from sdpn.shards import Work

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
    written = write_xvectors(directory, XVectors(ids, vectors.astype(np.float32), np.full(len(ids), 200)))
    Work(directory, "xvectors", {"model": f"of {directory.parents[1].name}"}).finish(written)
    return ids


def write_trials(path, ids):
    pairs = [(a, b, "target" if a[:4] == b[:4] else "nontarget") for a, b in combinations(ids, 2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{a} {b} {label}\n" for a, b, label in pairs))


@pytest.fixture(scope="module", autouse=True)
def small_map():
    """A map of few points: it takes most of the time of a run this small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_map, "MOST_POINTS", 20)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data folder and an experiment as stages 0 to 5 leave them."""
    root = tmp_path_factory.mktemp("prepared")
    systems = [("xvectors", 0.8), ("systems/fbank-stats/xvectors", 2.0), ("systems/untrained/xvectors", 1.5)]
    for folder, noise in systems:
        write_set(root / "exp" / folder / "train", "tr", 30, 8, noise, seed=1)
        ids = write_set(root / "exp" / folder / "eval", "ev", 10, 4, noise, seed=2)
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
    """Every file with its content, without the paths of experiment and data, which its results name and digest."""
    files = (path for path in sorted((root / "exp").rglob("*")) if path.is_file() and path.name != ".lock")
    files = (path for path in files if path.parent != root / "exp/results/done")
    return {path: re.sub(rb"[^ \"]*/(exp|data)\b", rb"\1", path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def scored(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(prepared, root)
    score(root)
    return root


def test_every_list_system_back_end_and_normalization_is_a_row(scored):
    rows = [tuple(row[key] for key in ("system", "backend", "score_norm")) for row in results(scored)]
    one_list = [
        (system, backend, norm)
        for system in ("sdpn", "fbank-stats", "fbank-stats whitened", "untrained")
        for backend in ("cosine", "lda-plda")
        for norm in ("none", "as")
        if (system, backend) != ("fbank-stats whitened", "lda-plda")
    ]
    assert rows == 2 * one_list
    assert [row["trials"] for row in results(scored)] == 14 * ["eval"] + 14 * ["eval_short"]


def test_a_fitted_back_end_that_is_gone_is_made_again_and_no_score_with_it(scored, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(scored, root)
    before = everything(root)
    (root / "exp" / "backends" / "sdpn" / "lda-plda.h5").unlink()
    score(root)
    assert everything(root) == before


LDA_PLDA = ("--backends", "lda-plda", "--score-norm", "none")


def test_a_back_end_fitted_with_other_settings_is_fitted_again_and_no_score_with_it(scored, tmp_path, capsys):
    root = tmp_path / "run"
    shutil.copytree(scored, root)
    fitted, scores = root / "exp/backends/sdpn/lda-plda.h5", root / "exp/scores/eval/sdpn/lda-plda/scores.txt"
    before, made = everything(root), scores.stat().st_mtime_ns
    score(root, "--backends", "lda-plda", "--score-norm", "as", "--clusters", "20")
    assert fitted.read_bytes() != before[fitted]
    assert digest_of(fitted) == results(root)[0]["backend_digest"]
    capsys.readouterr()
    score(root, *LDA_PLDA)
    out = capsys.readouterr().out
    assert "8 score files, 8 of them done already" in out
    assert out.count("lda-plda, the fitted back-end: classes: clusters was 20, is nothing") == 3
    assert scores.stat().st_mtime_ns == made
    assert fitted.read_bytes() == before[fitted]
    assert digest_of(fitted) == results(root)[0]["backend_digest"]
    for path in (root / "exp/backends/sdpn/clusters.npy", root / "exp/results/map.json"):
        assert path.read_bytes() == before[path]


def test_a_back_end_of_a_run_killed_after_it_was_fitted_is_fitted_again(scored, tmp_path, monkeypatch):
    root = tmp_path / "run"
    shutil.copytree(scored, root)
    fitted, before = root / "exp/backends/sdpn/lda-plda.h5", everything(root)
    of_row = results(root)[2]["backend_digest"]
    assert digest_of(fitted) == of_row

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(click.Abort):
        patch.setattr(Calibrator, "score", killed)
        score(root, *LDA_PLDA, "--clusters", "20")
    assert digest_of(fitted) != of_row == results(root)[2]["backend_digest"]
    score(root)
    assert everything(root) == before


def test_an_experiment_whose_stage_6_was_killed_is_not_compared(scored, tmp_path, monkeypatch):
    root = tmp_path / "run"
    shutil.copytree(scored, root)
    compare_experiments([root / "exp"], tmp_path / "page")
    computed, compute_figures = iter(range(2)), stage.compute_figures

    def killed(*given):
        if next(computed, None) is None:
            raise KeyboardInterrupt
        return compute_figures(*given)

    with monkeypatch.context() as patch, pytest.raises(click.Abort):
        patch.setattr(stage, "compute_figures", killed)
        score(root, "--seed", "2", "--backends", "cosine", "--score-norm", "none")
    with pytest.raises(SdpnError, match=r"scores/eval/sdpn/cosine are not those of .*: run stage 6 on .*exp again"):
        compare_experiments([root / "exp"], tmp_path / "page")
    score(root)
    compare_experiments([root / "exp"], tmp_path / "page")


def test_a_back_end_that_does_not_say_how_it_was_fitted_is_fitted_again(scored, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(scored, root)
    before = everything(root)
    (root / "exp/backends/sdpn/done/fitted.lda-plda.json").unlink()
    (root / "exp/backends/sdpn/lda-plda.h5").write_bytes(b"of an earlier version")
    score(root)
    assert everything(root) == before


def test_rows_of_two_lists_are_not_compared_though_their_trials_have_the_same_names(root):
    shutil.copy(root / "data/trials/eval.txt", root / "data/trials/eval_short.txt")
    score(root)
    tree = json.loads((root / "exp/results/results.json").read_text())
    assert len({row["paired"] for row in tree["rows"]}) == 1
    for pair in tree["comparisons"]:
        assert {tree["rows"][pair[side]]["trials"] for side in "ab"} == {pair["trials"]}
    assert len(tree["comparisons"]) == 2 * 14 * 13 / 2


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
    assert figures["lda-plda", "none"]["eer_percent"] < figures["cosine", "none"]["eer_percent"]
    assert figures["lda-plda", "none"]["pseudo_speakers"] == pytest.approx(30, abs=3)
    assert figures["cosine", "none"]["pseudo_speakers"] is None
    assert figures["lda-plda", "as"]["cohort_size"] == 240 and figures["lda-plda", "as"]["top_n"] == 240


def test_the_table_stands_in_markdown_with_its_legend(scored):
    text = (scored / "exp" / "results" / "results.md").read_text()
    lines = text.splitlines()
    row = results(scored)[2]
    low, high = row["intervals"]["eer_percent"]
    assert lines[4].startswith(
        "| system | back-end | norm | EER % | minDCF(0.01) | minDCF(0.05) | minCllr | Cllr raw | Cllr"
    )
    assert f"| sdpn | lda-plda | none | {row['eer_percent']:.2f} [{low:.2f}, {high:.2f}] | " in text
    assert "- trials eval_short: 10 target, 180 non-target, of 10 speakers" in lines
    clean = "; learned from clean training x-vectors"
    assert f"- sdpn, cosine: `mean-subtract | length-norm | cosine`{clean}" in lines
    assert f"- fbank-stats whitened, cosine: `whiten | length-norm | cosine`{clean}" in lines
    assert "- score normalization as: cohort of 240 training x-vectors, the 240 largest scores" in lines
    assert any(line.startswith("- sdpn, lda-plda: `") and "pseudo-speakers, no labels" in line for line in lines)
    assert any("pseudo-labels, no speaker label" in line for line in lines)


def test_every_figure_that_varies_has_an_interval_about_it(scored):
    for row in results(scored):
        figures = [name for name in row if name.startswith(("eer", "min_", "act_", "cllr"))]
        assert len(figures) == (10 if row["system"] == "sdpn" else 7)
        lacking = set(figures) - set(row["intervals"])  # where nothing is wrong, or nothing is accepted
        assert all(row[name] == 0 or "dcf" in name for name in lacking)
        for name, (low, high) in row["intervals"].items():
            assert 0 < low < row[name] <= high


def test_calibration_on_clusters_makes_ratios_of_the_scores(scored):
    for row in results(scored)[:4]:
        assert row["cllr_calibrated"] < row["cllr"] or row["cllr_calibrated"] < 0.5
        assert row["min_cllr"] <= row["cllr_calibrated"] + 1e-9
        assert row["calibrated_by"] == "clusters" and row["not_calibrated"] is None
        scores = read_scores(scored / "exp" / row["scores"])[1]
        ratios = row["calibration"]["weight"] * scores + row["calibration"]["offset"]
        target = np.array([a[:4] == b[:4] for a, b in read_scores(scored / "exp" / row["scores"])[0]])
        assert row["cllr_calibrated"] == pytest.approx(cllr(ratios[target], ratios[~target]))


def test_all_pairs_of_a_list_are_compared(scored):
    tree = json.loads((scored / "exp" / "results" / "results.json").read_text())
    pairs = [pair for pair in tree["comparisons"] if pair["trials"] == "eval"]
    assert len(pairs) == 14 * 13 // 2 and len(tree["comparisons"]) == 2 * len(pairs)
    for pair in pairs:
        a, b, difference = tree["rows"][pair["a"]], tree["rows"][pair["b"]], pair["differences"]["eer_percent"]
        assert difference["value"] == b["eer_percent"] - a["eer_percent"] <= 0
        verdict = "is better than" if difference["shown"] else "no difference shown between"
        assert verdict in pair["sentence"]
    best = "sdpn lda-plda is better than fbank-stats cosine: EER"
    assert any(pair["sentence"].startswith(best) for pair in pairs)
    assert f"- eval: {best}" in (scored / "exp" / "results" / "results.md").read_text()


def test_the_fitted_back_ends_are_kept(scored):
    path = scored / "exp" / "backends" / "sdpn" / "cosine.h5"
    chain, rows = load_chain(path), json.loads((scored / "exp" / "results" / "results.json").read_text())["rows"]
    assert network_of(path) == rows[0]["network"] == "of exp"
    found = read_xvectors(scored / "exp" / "xvectors" / "eval")
    place = {name: row for row, name in enumerate(found.ids)}
    pairs, scores = read_scores(scored / "exp/scores/eval/sdpn/cosine/scores.txt")
    e, t = np.array([[place[a], place[b]] for a, b in pairs]).T
    vectors = chain.transform(found.vectors)
    np.testing.assert_allclose(chain.scorer.score_pairs(vectors, vectors, e, t), scores)


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
    assert len(table) == 28 and len({line.index("  eval") for line in table}) == 1


def test_a_second_run_does_no_work(root, capsys):
    score(root)
    before = {path: path.stat().st_mtime_ns for path in everything(root) if path.name != ".lock"}
    first = capsys.readouterr().out
    score(root)
    second = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "28 score files, 28 of them done already" in second and "fitted" not in second
    assert first[first.index("system  ") :] == second[second.index("system  ") :]


def test_the_same_inputs_give_the_same_bytes(scored, root):
    score(root, "--backends", "lda-plda")  # made in another order, and cut short
    shutil.rmtree(root / "exp/scores/eval/sdpn/lda-plda+as")
    score(root)
    relative = {path.relative_to(root): text for path, text in everything(root).items()}
    assert relative == {path.relative_to(scored): text for path, text in everything(scored).items()}


def test_only_what_a_change_touches_is_redone_and_the_reason_is_said(root, capsys):
    score(root)
    capsys.readouterr()
    score(root, "--top-n", "20")
    out = capsys.readouterr().out
    assert all(f"eval: sdpn {row}+as: top_n was 300, is 20: redone" in out for row in ("cosine", "lda-plda"))
    assert "28 score files, 14 of them done already" in out
    score(root, "--top-n", "20", "--clusters", "20")
    out = capsys.readouterr().out
    redone = {line.strip() for line in out.splitlines() if line.endswith("redone")}
    lda_plda = {f"{name}: sdpn lda-plda{n}" for name in LISTS for n in ("", "+as")}
    baselines = {row.replace("sdpn", other) for row in lda_plda for other in ("fbank-stats", "untrained")}
    cosine = {
        row.replace("lda-plda", "cosine") for row in lda_plda
    }  # its scores know no clusters, its calibration does
    assert {line.split(": back-end")[0].split(": classes")[0] for line in redone} == lda_plda | baselines | {
        f"{row}, calibration trials" for row in lda_plda | cosine
    }
    assert all("classes: clusters was nothing, is 20" in line for line in redone)
    assert results(root)[2]["pseudo_speakers"] == 20


def test_other_vectors_are_scored_anew(root, capsys):
    score(root, "--backends", "cosine")
    write_set(root / "exp/systems/untrained/xvectors/eval", "ev", 10, 4, 0.1, seed=5)
    capsys.readouterr()
    score(root, "--backends", "cosine")
    out = capsys.readouterr().out
    assert "eval: untrained cosine: x-vectors changed: redone" in out
    assert "16 score files, 12 of them done already" in out


def test_what_a_killed_run_left_half_written_goes_with_the_next(root):
    score(root)
    before = everything(root)
    folders = ("backends/sdpn", "backends/sdpn/done", "scores/eval/sdpn/cosine", "results")
    for folder in folders:
        (root / "exp" / folder / ".something.partial-123.h5").write_bytes(b"half")
    score(root)
    assert everything(root) == before


def test_a_missing_score_file_is_made_again(root, capsys):
    score(root, "--backends", "cosine")
    path = root / "exp/scores/eval/sdpn/cosine+as/scores.txt"
    text = path.read_bytes()
    path.unlink()
    capsys.readouterr()
    score(root, "--backends", "cosine")
    assert "eval: sdpn cosine+as: scores.txt is missing: redone" in capsys.readouterr().out
    assert path.read_bytes() == text


def test_a_score_changed_by_hand_is_made_again_although_the_file_has_its_size(root, capsys):
    score(root, "--backends", "cosine")
    path = root / "exp/scores/eval/sdpn/cosine/scores.txt"
    text, figures = path.read_bytes(), results(root)
    last = text[-2:-1]
    path.write_bytes(text[:-2] + (b"1" if last == b"2" else b"2") + b"\n")
    capsys.readouterr()
    score(root, "--backends", "cosine")
    assert "eval: sdpn cosine: scores.txt has been changed: redone" in capsys.readouterr().out
    assert path.read_bytes() == text and results(root) == figures


def test_a_fusion_takes_no_scores_of_an_earlier_run(root):
    fusion = ("--backends", "cosine,lda-plda", "--score-norm", "none", "--fusion", "cosine, lda-plda")
    score(root, *fusion)
    assert len(results(root)) == 16
    score(root, *fusion, "--clusters", "999")  # the score files of lda-plda are still there
    made = {row["backend"] for row in results(root) if row["failure"] is None}
    failed = {row["backend"]: row["failure"] for row in results(root) if row["failure"] is not None}
    assert made == {"cosine"} and "999 clusters" in failed["lda-plda"]
    assert "no scores of lda-plda" in failed["fusion(cosine, lda-plda)"]


def test_utterances_left_out_since_are_left_out(root, capsys):
    score(root, "--backends", "cosine")
    (root / "data/eval").mkdir()
    (root / "data/eval/skipped.tsv").write_text("ev00-0\ttoo short\n")
    capsys.readouterr()
    score(root, "--backends", "cosine")
    said = capsys.readouterr()
    assert "skipped.tsv is new: redone" in said.out
    assert "eval: 39 trials left out, of an utterance that could not be used" in said.err
    assert results(root)[0]["targets"] + results(root)[0]["nontargets"] == 780 - 39


def test_the_map_knows_no_clusters_of_another_networks_x_vectors(root):
    score(root, "--backends", "cosine", "--score-norm", "none")
    tree = json.loads((root / "exp/results/map.json").read_text())
    assert max(tree["cluster"]) >= 0
    write_set(root / "exp/xvectors/train", "tr", 40, 8, 0.8, seed=6)
    score(root, "--backends", "cosine", "--score-norm", "none", "--calibration", "none")
    assert set(json.loads((root / "exp/results/map.json").read_text())["cluster"]) == {-1}


def test_the_map_shows_no_clusters_of_other_settings(root):
    cosine = ("--backends", "cosine", "--score-norm", "none", "--calibration", "none")
    score(root, "--backends", "cosine", "--score-norm", "none", "--clusters", "20")
    assert max(json.loads((root / "exp/results/map.json").read_text())["cluster"]) >= 0
    score(root, *cosine)
    assert set(json.loads((root / "exp/results/map.json").read_text())["cluster"]) == {-1}
    score(root, *cosine, "--clusters", "20")
    assert max(json.loads((root / "exp/results/map.json").read_text())["cluster"]) >= 0


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


@pytest.mark.parametrize(
    ("baselines", "systems"),
    [("none", ["sdpn"]), ("untrained", ["sdpn", "untrained"])],
)
def test_baselines_can_be_chosen_or_left_out(root, baselines, systems):
    score(root, "--backends", "cosine", "--score-norm", "none", "--baselines", baselines)
    assert [row["system"] for row in results(root)] == 2 * systems


def rewrite(root, name, change):
    directory = root / "exp/xvectors" / name
    found = read_xvectors(directory)
    written = write_xvectors(directory, XVectors(found.ids, change(found.vectors.copy()), found.num_frames))
    Work.finished(directory, "xvectors").finish(written)  # as if stage 5 had made them so


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
        (lambda root: append_trial(root, "ev00-0 ev99-0 target"), (), "1 of its 41 utterances have no x-vector in"),
        (lambda root: append_trial(root, "ev00-0 ev01-0 maybe"), (), "line 781: expected `enroll test target"),
        (broken_nan, (), r"2 of 40 x-vectors hold NaN or infinity: ev00-1, ev00-3"),
        (lambda root: rewrite(root, "eval", lambda v: v[:, :9]), (), "have 9 dimensions, those of 'train' 24"),
        (lambda root: rewrite(root, "train", np.ones_like), (), "all 240 x-vectors are the same"),
        (
            lambda root: rewrite(root, "eval", lambda v: v * (np.arange(len(v)) > 1)[:, None]),
            ("--backends", "cosine-raw"),
            "length-norm: 2 of 40 vectors have length zero",
        ),
        (lambda root: None, ("--backends", "gmm"), "'backends' is unknown: gmm; allowed"),
        (lambda root: None, ("--score-norm", "zz"), "'score_norm' is unknown: zz"),
        (lambda root: None, ("--backends", "plda", "--clusters", "999"), "999 clusters asked for, but"),
        (lambda root: None, ("--config", "none.yaml"), "none.yaml: there is no such configuration file"),
    ],
)
def test_bad_input_is_one_sentence(root, spoil, options, sentence):
    spoil(root)
    with pytest.raises(SdpnError, match=sentence):
        score(root, *options)
    if (root / "exp" / "results" / "results.json").exists():  # rows that could be scored are kept
        assert any(row["failure"] for row in results(root)) and any("eer_percent" in row for row in results(root))


def test_a_back_end_that_cannot_be_fitted_costs_its_own_rows_alone_which_say_why(root, capsys):
    score(root, "--clusters", "999")
    rows = results(root)
    failed = [row for row in rows if row["failure"]]
    assert len(rows) == 28 and {row["backend"] for row in failed} == {"lda-plda"}
    assert all("999 clusters" in row["failure"] and "eer_percent" not in row for row in failed)
    assert all("eer_percent" in row for row in rows if not row["failure"])
    out, err = capsys.readouterr()
    assert re.search(r"^sdpn  +lda-plda  +none  +not made ", out, re.MULTILINE)
    assert re.search(r"eval, eval_short: sdpn lda-plda: not made: .*999 clusters", out)
    assert "rows could not be made" in err and "3 warnings, the first: sdpn, lda-plda: " in err
    assert "sdpn, cosine: not calibrated: " in err
    text, page = ((root / "exp/results" / name).read_text() for name in ("results.md", "report.html"))
    assert "| sdpn | lda-plda | none | not made | - |" in text and "sdpn lda-plda: not made: " in text
    assert "sdpn lda-plda: not made: " in page
    again, said, _ = compare_experiments([root / "exp"], root / "compared")
    assert again.count("not made") == len(failed) and any("sdpn lda-plda: not made: " in line for line in said)


def test_a_back_end_that_does_worse_than_cosine_on_its_own_clusters_says_so(root, capsys):
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    (root / "conf/backend/flat.yaml").write_text("chain: whiten 2 | length-norm | cosine\n")
    few = ("--score-norm", "none", "--baselines", "none")
    score(root, "--config", str(root / "conf/backend.yaml"), "--backends", "cosine,flat", *few)
    rows = {row["backend"]: row["doubt"] for row in results(root)}
    assert rows["cosine"] is None and re.search(r"own training clusters .*worse than cosine", rows["flat"])
    assert f"warning: sdpn, flat: {rows['flat']}" in capsys.readouterr().err
    assert f"- sdpn flat: {rows['flat']}\n" in (root / "exp/results/results.md").read_text()


@pytest.mark.parametrize(
    ("eer", "plain", "words"),
    [
        (0.5, None, "no better than chance"),
        (0.49, None, None),
        (0.15, 0.1, "worse than cosine"),
        (0.12, 0.1, None),  # 2 standard errors of 225 targets are 4 %
        (0.6, 0.1, "no better than chance"),
    ],
)
def test_a_back_end_is_doubted_by_more_than_chance_alone_makes(eer, plain, words):
    found = doubt_of(eer, 225, plain, "clusters")
    assert found is None if words is None else words in found


def test_two_clusters_are_too_few_for_lda(root):
    score(root, "--clusters", "2", "--calibration", "none")
    failures = {row["failure"] for row in results(root) if row["backend"] == "lda-plda"}
    assert failures == {"2 clusters are too few for LDA, which needs at least 3"}


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


def test_a_normalization_that_fails_costs_its_own_rows_alone(root, capsys):
    def twice(vectors):  # the two largest cohort scores are those of one vector
        vectors[1::2] = vectors[::2]
        return vectors

    rewrite(root, "train", twice)
    score(root, "--backends", "cosine", "--score-norm", "none,s,as", "--top-n", "2")
    rows = [row for row in results(root) if row["system"] == "sdpn"]
    assert [row["score_norm"] for row in rows if not row["failure"]] == 2 * ["none", "s"]
    assert ["are all equal" in row["failure"] for row in rows if row["score_norm"] == "as"] == [True, True]
    assert "sdpn, cosine: as: " in capsys.readouterr().err


def test_oracle_labels_are_used_when_asked_for_and_marked(root):
    ids = read_xvectors(root / "exp/xvectors/train").ids
    (root / "data/train").mkdir()
    (root / "data/train/utt2spk.oracle").write_text("".join(f"{name} {name[:4]}\n" for name in ids))
    score(root, "--backends", "lda-plda,oracle-lda-plda", "--score-norm", "none")
    plain, oracle = results(root)[:2]
    assert (plain["oracle"], oracle["oracle"], oracle["backend"]) == (False, True, "oracle-lda-plda")
    assert oracle["pseudo_speakers"] is None
    text = (root / "exp/results/results.md").read_text()
    assert "classes: oracle, the speaker labels that the corpus has" in text
    assert "oracle labels" in (root / "exp/results/report.html").read_text()


def test_a_network_that_was_trained_on_labels_is_marked_in_every_table(root):
    (root / "exp" / "config.yaml").write_text("learned_from: labels\n")
    score(root, "--backends", "cosine", "--score-norm", "none")
    rows = results(root)
    assert {row["system"] for row in rows if row["labelled"]} == {"sdpn"}
    assert all(row["oracle"] == row["labelled"] for row in rows)
    for name in ("results.md", "report.html"):
        assert "sdpn labels" in (root / "exp/results" / name).read_text()


def test_clusters_are_compared_with_the_corpuss_own_speakers_and_the_figures_marked_oracle(root):
    ids = read_xvectors(root / "exp/xvectors/train").ids
    (root / "data/train").mkdir(parents=True)
    (root / "data/train/utt2spk.oracle").write_text("".join(f"{name} {name[:4]}\n" for name in ids))
    score(root, "--backends", "cosine,lda-plda", "--score-norm", "none", "--calibration", "none")
    rows = {(row["system"], row["backend"]): row["clusters_oracle"] for row in results(root)}
    clusters = np.load(root / "exp/backends/sdpn/clusters.npy")
    speakers = np.array([name[:4] for name in ids])[clusters >= 0]
    found = rows["sdpn", "lda-plda"]
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(speakers, clusters[clusters >= 0]))
    assert found["n_speakers"] == 30 and rows["sdpn", "cosine"] is None
    for name in ("results.md", "report.html"):
        text = (root / "exp/results" / name).read_text()
        assert "(oracle, for analysis alone)" in text and f"NMI {found['nmi']:.3f}" in text


def test_clusters_are_found_without_speakers_to_compare_them_with(scored):
    assert {row["clusters_oracle"] for row in results(scored)} == {None}
    assert "for analysis alone" not in (scored / "exp/results/results.md").read_text()


def test_oracle_labels_that_are_not_there_are_asked_for(root):
    with pytest.raises(SdpnError, match=r"speaker labels"):
        score(root, "--backends", "oracle-lda-plda")


def test_fusions_and_quality_measures_are_rows_of_the_same_table(root, capsys):
    options = ("--backends", "cosine,lda-plda", "--quality", "norm,cohort-mean", "--fusion", "cosine+as, lda-plda")
    score(root, *options)
    rows = results(root)
    names = [(row["backend"], row["score_norm"], bool(row["quality"])) for row in rows[:9]]
    both = [(backend, norm, q) for backend in ("cosine", "lda-plda") for norm in ("none", "as") for q in (False, True)]
    assert names == [*both, ("fusion(cosine+as, lda-plda)", "none", False)]
    fused, parts = rows[8], [rows[2], rows[4]]
    assert list(fused["weights"]) == ["cosine+as", "lda-plda"]
    scores = [read_scores(root / "exp" / row["scores"])[1] for row in (*parts, fused)]
    expected = sum(w * s for w, s in zip(fused["weights"].values(), scores[:2], strict=True)) + fused["offset"]
    np.testing.assert_allclose(scores[2], expected)
    assert "cllr" not in fused and "cllr_calibrated" in fused and "cllr" not in rows[1]
    assert fused["eer_percent"] < parts[0]["eer_percent"]
    capsys.readouterr()
    score(root, *options)
    assert "38 score files, 38 of them done already" in capsys.readouterr().out


def test_calibration_may_be_on_a_trial_list(root):
    score(root, "--backends", "cosine", "--score-norm", "none", "--calibration", "eval_short")
    row = results(root)[0]
    assert row["calibrated_by"] == "eval_short"
    saved = np.load(root / "exp/scores/eval/sdpn/cosine/calibration.npy")
    short = read_scores(root / "exp/scores/eval_short/sdpn/cosine/scores.txt")[1]
    np.testing.assert_array_equal(saved[0], short)
    with pytest.raises(SdpnError, match="'calibration' is 'dev'; allowed: clusters, none, a trial list"):
        score(root, "--calibration", "dev")


def test_calibration_may_be_on_any_file_of_trials_over_a_set(root):
    options = ("--backends", "cosine", "--score-norm", "none", "--baselines", "none")
    score(root, *options, "--calibration", "eval")
    by_list = results(root)[1]["calibration"]
    path = root / "mine.txt"
    (root / "data/trials/eval.txt").rename(path)
    (root / "data/trials/eval.txt").write_text("".join(path.read_text().splitlines(keepends=True)[:200]))
    score(root, *options, "--calibration", str(path))
    row = results(root)[1]
    assert row["calibration"] == by_list and row["calibrated_by"] == str(path)
    path.write_text("ev00-0 ev00-1 target\nev00-0 tr00-1 nontarget\n")
    with pytest.raises(SdpnError, match=r"mine\.txt: its utterances are of no single set of eval, train"):
        score(root, *options, "--calibration", str(path))
    with pytest.raises(SdpnError, match="'calibration' is 'nothing'; allowed: clusters, none, a trial list"):
        score(root, *options, "--calibration", "nothing")


def test_calibration_may_be_left_out(root):
    score(root, "--backends", "cosine", "--score-norm", "none", "--calibration", "none")
    tree = json.loads((root / "exp/results/results.json").read_text())
    assert "cllr_calibrated" not in tree["rows"][0]


def test_models_of_several_utterances_are_scored_by_their_map(root):
    lines = [f"spk{s} ev{t:02d}-3 {'target' if s == t else 'nontarget'}\n" for s in range(8) for t in range(8)]
    (root / "data/trials/eval.txt").write_text("".join(lines))
    models = "".join(f"spk{s} " + " ".join(f"ev{s:02d}-{u}" for u in range(3)) + "\n" for s in range(8))
    (root / "data/trials/eval.enroll.map").write_text(models)
    score(root, "--backends", "cosine,lda-plda", "--score-norm", "none,as,as2")
    pairs, scores = read_scores(root / "exp/scores/eval/sdpn/cosine/scores.txt")
    train, found = (read_xvectors(root / "exp" / "xvectors" / name) for name in ("train", "eval"))
    centred = found.vectors - train.vectors.mean(axis=0, dtype=np.float64)
    unit = dict(zip(found.ids, centred / np.linalg.norm(centred, axis=1, keepdims=True), strict=True))
    for (model, test), found_score in zip(pairs, scores, strict=True):
        mean = sum(unit[f"ev{int(model[3:]):02d}-{u}"] for u in range(3))
        assert found_score == pytest.approx(mean @ unit[test] / np.linalg.norm(mean))
    assert results(root)[0]["targets"] == 8
    assert {(row["backend"], row["enrollment"]) for row in results(root)[:6]} == {
        ("cosine", "transformed"),
        ("lda-plda", "raw"),
    }
    text = (root / "exp/results/results.md").read_text()
    assert re.search(r"sdpn, lda-plda: of several enrolled utterances, the x-vectors are averaged before", text)


def test_back_ends_adapt_to_a_set_without_its_labels(root):
    options = ("--score-norm", "none", "--adaptation-set", "eval")
    score(root, "--backends", "lda-plda,lda-plda-adapt,coral-lda-plda", *options)
    rows = results(root)[:3]
    assert [row["adaptation_set"] for row in rows] == [None, "eval", "eval"]
    assert len({row["min_cllr"] for row in rows}) == 3
    assert "adapted to 'eval' without its labels" in (root / "exp/results/results.md").read_text()


def test_another_tools_eer_and_further_costs_are_columns(root):
    score(root, "--backends", "cosine", "--compat", "kaldi", "--operating-points", "0.001")
    head = next(line for line in (root / "exp/results/results.md").read_text().splitlines() if line.startswith("|"))
    assert "EER % (kaldi)" in head and "minDCF(0.001)" in head and "actDCF(0.001)" in head
    assert results(root)[0]["eer_percent_kaldi"] == pytest.approx(results(root)[0]["eer_percent"], abs=2)


def test_all_unknown_utterances_are_listed_once(root):
    for name in ("ev98-0", "ev97-0", "ev98-0"):
        append_trial(root, f"ev00-0 {name} nontarget")
    with pytest.raises(SdpnError, match=r"2 of its 42 utterances have no x-vector in .*: ev97-0, ev98-0$"):
        score(root)


def without_evaluation(root):
    """Take the evaluation sets out of the corpus."""
    path = root / "data" / "corpus.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "evals": [], "trials": {}}))


@pytest.fixture
def unlabelled(root, monkeypatch):
    """An experiment without an evaluation set; no network halves its utterances."""
    from sdpn.scoring import unlabelled

    without_evaluation(root)
    monkeypatch.setattr(unlabelled, "_probe", lambda name, *_: {"sdpn": 12.5, "untrained": 40.0}[name])
    for folder in (root / "exp" / "model", root / "exp" / "systems" / "untrained" / "model"):
        folder.mkdir(parents=True, exist_ok=True)
    return root


def test_without_an_evaluation_set_the_results_are_what_is_known_without_labels(unlabelled, capsys):
    score(unlabelled)
    said = capsys.readouterr().out
    for words in ("Halves of utterances", "12.50", "silhouette", "Calibration by clusters", "no evaluation set"):
        assert words in said
    folder = unlabelled / "exp" / "results"
    tree = json.loads((folder / "results.json").read_text())
    assert tree["without_labels"]["probe_eer_percent"] == {"sdpn": 12.5, "untrained": 40.0}
    assert 0 < tree["without_labels"]["clusters"]["silhouette"] <= 1
    assert [(row["backend"], row["calibrated_by"]) for row in tree["rows"]] == [
        ("cosine", "clusters"),
        ("lda-plda", "clusters"),
    ]
    assert all(row["calibration"]["weight"] > 0 for row in tree["rows"])
    assert not any("eer_percent" in row for row in tree["rows"])
    assert "Embedding map" in (folder / "report.html").read_text()
    assert "no error rate" in (folder / "results.md").read_text()


def test_a_rerun_without_an_evaluation_set_makes_nothing_again(unlabelled, capsys):
    score(unlabelled)
    before = everything(unlabelled)
    capsys.readouterr()
    score(unlabelled)
    assert "fitted" not in capsys.readouterr().out
    assert everything(unlabelled) == before


def test_what_needs_trials_is_refused_without_an_evaluation_set(unlabelled):
    with pytest.raises(SdpnError, match=r"'calibration' is 'eval', but .* has no trial lists"):
        score(unlabelled, "--calibration", "eval")
    with pytest.raises(SdpnError, match="'quality' and 'fusion' make rows of trial lists"):
        score(unlabelled, "--quality", "duration")


def test_an_experiment_without_an_evaluation_set_is_not_compared(unlabelled, root, tmp_path):
    from sdpn.report.experiments import compare_experiments

    score(unlabelled)
    with pytest.raises(SdpnError, match="no evaluation set, so there is no error rate to compare"):
        compare_experiments([unlabelled / "exp"], tmp_path / "out")


def with_views(root, noise=1.2):
    """Views of every training utterance, three each, in all systems: its vector moved in directions of their own."""
    for folder in ("xvectors", "systems/fbank-stats/xvectors", "systems/untrained/xvectors"):
        train = read_xvectors(root / "exp" / folder / "train")
        rng = np.random.default_rng(7)
        moved = train.vectors.repeat(3, axis=0)
        moved[:, -8:] += noise * rng.normal(size=(len(moved), 8)).astype(np.float32)
        ids = [f"{name}-view{view}" for name in train.ids for view in (1, 2, 3)]
        directory = root / "exp" / folder / "train" / "views"
        written = write_xvectors(directory, XVectors(ids, moved, np.full(len(ids), 100)))
        model = Work.finished(directory.parent, "xvectors").fingerprint["model"]
        Work(directory, "xvectors", {"model": model}).finish(written)


def test_what_a_back_end_learns_from_is_said_and_counts(root, capsys):
    clean = ("--backends", "lda-plda-clean,lda-plda", "--score-norm", "none")
    score(root, *clean)
    before = results(root)
    assert [row["fit_on"] for row in before[:2]] == ["clean", "clean"]
    assert before[0]["eer_percent"] == before[1]["eer_percent"]
    clean_scores = root / "exp/scores/eval/sdpn/lda-plda-clean/scores.txt"
    made = clean_scores.stat().st_mtime_ns
    with_views(root)
    capsys.readouterr()
    score(root, *clean)
    out = capsys.readouterr().out
    after = results(root)
    assert [row["fit_on"] for row in after[:2]] == ["clean", "both"]
    assert after[0]["backend_digest"] == before[0]["backend_digest"] and clean_scores.stat().st_mtime_ns == made
    assert after[1]["backend_digest"] != before[1]["backend_digest"]
    assert "240 training x-vectors and 720 of augmented views" in out
    assert "eval: sdpn lda-plda: back-end: " in out and "eval: sdpn lda-plda-clean: back-end" not in out
    assert "learned from training x-vectors, clean and augmented" in (root / "exp/results/results.md").read_text()


def test_utterances_with_their_views_are_classes_that_need_no_clusters(root):
    options = ("--backends", "wccn-cosine", "--score-norm", "none", "--calibration", "none")
    with pytest.raises(SdpnError, match="no augmented views to learn from: run stages 3 and 5"):
        score(root, *options)
    with_views(root, noise=3.0)
    score(root, *options)
    row = results(root)[0]
    assert (row["classes"], row["pseudo_speakers"], row["fit_on"]) == ("utterances", None, "both")
    assert not (root / "exp/backends/sdpn/clusters.npy").exists()
    variances = np.diag(np.linalg.inv(load_chain(root / "exp/backends/sdpn/wccn-cosine.h5").transforms[1].projection_))
    assert variances[-8:].min() > 5 * variances[:-8].max()  # what the views move counts little


def test_x_vectors_and_statistics_side_by_side_are_a_system_of_back_ends_that_learn(root):
    with_views(root)
    for name in ("train", "train/views", "eval"):
        folders = (root / "exp/xvectors", root / "exp/systems/fbank-stats/xvectors")
        join_sets(
            *(folder / name for folder in folders), root / "exp/systems/xvector+fbank-stats/xvectors" / name, "ark"
        )
    score(root)
    rows = [row for row in results(root) if row["system"] == "xvector+fbank-stats" and row["trials"] == "eval"]
    assert [(row["backend"], row["score_norm"], row["baseline"]) for row in rows] == [
        ("lda-plda", "none", False),
        ("lda-plda", "as", False),
    ]
    assert rows[0]["chain"] == "side-by-side 24 | mean-subtract | lda 150 | length-norm | plda"
    assert rows[0]["network"] == results(root)[0]["network"]
    assert "cllr_calibrated" in rows[0]
    assert load_chain(root / "exp/backends/xvector+fbank-stats/lda-plda.h5").side_by_side
