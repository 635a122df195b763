import gzip
import html
import json
import re
import shutil
import subprocess

import pytest

from tests.recipe.conftest import ROOT

SYSTEMS = ["fbank-stats", "fbank-stats whitened", "untrained", "sdpn", "xvector+fbank-stats"]


def test_every_stage_leaves_what_it_promises(recipe):
    data, exp = recipe.content("data"), recipe.content("exp")
    for name in ("train", "eval"):
        for file in (
            "recordings.jsonl.gz",
            "supervisions.jsonl.gz",
            "cuts.jsonl.gz",
            "cuts_feats.jsonl.gz",
            "feats.scp",
        ):
            assert f"{name}/{file}" in data
        assert {f"xvectors/{name}/xvector.ark", f"xvectors/{name}/xvector.scp"} <= exp.keys()
    assert {"corpus.json", "trials/eval.txt", "train/utt2spk.oracle", "train/feats.0001.ark"} <= data.keys()
    for bank in ("noise", "music", "babble", "reverb1"):
        assert f"augment/{bank}/index/index.json" in data
    assert {"config.yaml", *(f"results/{name}" for name in ("results.md", "results.json", "report.html"))} <= exp.keys()
    assert any(name.startswith("checkpoints/") for name in exp)
    assert any(name.startswith("scores/eval/") and name.endswith("scores.txt") for name in exp)


def test_the_training_cuts_carry_no_speaker_label(recipe):
    for name in ("cuts.jsonl.gz", "cuts_feats.jsonl.gz"):
        for line in gzip.decompress((recipe.data / "train" / name).read_bytes()).splitlines():
            for supervision in json.loads(line).get("supervisions", []):
                assert supervision.get("speaker") is None
                assert supervision.get("gender") is None
                assert not supervision.get("custom")


def test_the_table_has_every_system_and_is_printed(recipe):
    rows = json.loads((recipe.exp / "results" / "results.json").read_text())["rows"]
    assert [name for name in SYSTEMS if name not in {row["system"] for row in rows}] == []
    trained = {(row["backend"], row["score_norm"]) for row in rows if row["system"] == "sdpn"}
    assert trained == {("cosine", "none"), ("cosine", "as"), ("lda-plda", "none"), ("lda-plda", "as")}
    table = (recipe.exp / "results" / "results.md").read_text()
    for system in SYSTEMS:
        assert f"| {system} |" in table
        assert f"{system} " in recipe.printed


def test_an_evaluation_utterance_that_cannot_be_used_costs_its_trials_and_is_listed(recipe):
    assert (recipe.data / "eval" / "skipped.tsv").read_text().startswith("other00-s0-short\t")
    rows = json.loads((recipe.exp / "results" / "results.json").read_text())["rows"]
    trials = (recipe.data / "trials" / "eval.txt").read_text().splitlines()
    lost = sum("other00-s0-short" in line for line in trials)
    assert lost > 0
    assert {row["targets"] + row["nontargets"] for row in rows} == {len(trials) - lost}
    assert f"eval: {lost} trials left out, of an utterance that could not be used" in recipe.printed


def test_a_second_run_does_no_work(recipe):
    files = [path for part in (recipe.data, recipe.exp) for path in part.rglob("*") if not path.name.endswith(".lock")]
    times = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    printed = recipe.run("--stage", "0", "--stop-stage", "6")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert "made again" not in printed and "redone" not in printed


def test_stage_3_resumes_where_an_earlier_run_stopped(recipe):
    recipe.go_back("after 2")
    recipe.run("--stage", "3")
    assert recipe.changes("after 6") == []


@pytest.mark.parametrize(
    ("stage", "first_output"),
    [
        (1, "data/*/cuts.jsonl.gz"),
        (2, "data/train/*feats.*"),
        (3, "data/augment/babble/*feats.*"),
        (4, "exp/checkpoints/*"),
        (5, "exp/xvectors/train/xvector.ark"),
        (6, "exp/scores/*/*/*/scores.txt"),
    ],
)
def test_a_stage_killed_half_way_and_started_again_gives_the_same_bytes(recipe, stage, first_output):
    recipe.go_back(f"after {stage - 1}")
    recipe.kill_stage(stage, lambda: any(recipe.folder.glob(first_output)))
    recipe.run_stage(stage)
    assert recipe.changes(f"after {stage}") == []


@pytest.mark.parametrize(
    ("stage", "needs", "sentence"),
    [
        (1, None, "run stage 0 first"),
        (2, 0, "run stage 1 first"),
        (3, 1, "run stage 2 first"),
        (4, 1, "run stage 2 first"),
        (4, 2, "run stage 3 first"),
        (5, 3, "run stage 4 first"),
        (6, 4, "run stage 5 first"),
    ],
)
def test_a_stage_without_what_it_needs_says_which_stage_makes_it(recipe, stage, needs, sentence):
    recipe.go_back("nothing" if needs is None else f"after {needs}")
    printed = recipe.run("--stage", str(stage), "--stop-stage", str(stage), status=1)
    assert sentence in printed
    assert "Traceback" not in printed


def test_how_to_make_it_again_works_as_printed(recipe):
    page = (recipe.exp / "results" / "report.html").read_text()
    lines = html.unescape(re.search(r"how to make it again.*?<pre>(.*?)</pre>", page, re.DOTALL)[1])
    done = subprocess.run(["bash", "-euc", lines], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the result will differ" not in done.stderr
    again = recipe.exp.with_name("exp-again")
    first, second = (json.loads((exp / "results" / "results.json").read_text())["rows"] for exp in (recipe.exp, again))
    assert [(row["system"], row["backend"], row["score_norm"]) for row in first] == [
        (row["system"], row["backend"], row["score_norm"]) for row in second
    ]
    assert [row["eer_percent"] for row in first] == [row["eer_percent"] for row in second]
    assert (again / "config.yaml").read_bytes() == (recipe.exp / "config.yaml").read_bytes()
    shutil.rmtree(again)
