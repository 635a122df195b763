"""A folder and a Kaldi data directory, combined and trained on together."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from sdpn.augment.banks import open_banks
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex, open_features
from sdpn.tables import read_map
from tests.corpus.conftest import content, write_audio, write_voice
from tests.recipe.conftest import ROOT, TINY


def run(*words, status: int = 0) -> str:
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def combine(folder, status: int = 0) -> str:
    return run(sys.executable, "local/combine.py", folder / "a", folder / "b", folder / "ab", status=status)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Data folders `a` (of a folder of speakers) and `b` (of a Kaldi data directory), run to stage 3.

    Both have an utterance `ann-1` and a speaker `ann`, who are different people, and an evaluation set `eval`.
    """
    root = tmp_path_factory.mktemp("parts")
    for kind in ("noise", "music", "rir"):
        write_audio(root / kind / "one.wav", 0.3)
    clips = [word for kind in ("noise", "music", "rir") for word in (f"--{kind}-dir", root / kind)]
    for number, speaker in enumerate(("ann", "bob", "cyd")):
        for take in range(3):
            write_voice(root / "folder" / "train" / speaker / f"{take}.wav", number, take, 1.5)
    for number, speaker in enumerate(("eve", "fay")):
        for take in range(2):
            write_voice(root / "folder" / "eval" / speaker / f"{take}.wav", number + 5, take, 1.5)
    for part, speakers in (("train", ("ann", "dan")), ("eval", ("gus", "hal"))):
        kaldi = root / "kaldi" / part
        kaldi.mkdir(parents=True)
        names = [(speaker, take) for speaker in speakers for take in range(3)]
        paths = [write_voice(root / "k" / part / f"{name}{take}.wav", ord(name[0]), take, 1.5) for name, take in names]
        rows = list(zip(names, paths, strict=True))
        (kaldi / "wav.scp").write_text("".join(f"{name}-{take} {path}\n" for (name, take), path in rows))
        (kaldi / "utt2spk").write_text("".join(f"{name}-{take} {name}\n" for (name, take), _ in rows))
    stages = [ROOT / "run.sh", "--stop-stage", 3, "--nj", 2, *clips]
    run(*stages, "--corpus", "folder", "--corpus-dir", root / "folder", "--data-dir", root / "a")
    kaldi = ["--train", root / "kaldi" / "train", "--eval", root / "kaldi" / "eval", "--feats-type", "hdf5"]
    run(*stages, "--corpus", "kaldi", *kaldi, "--data-dir", root / "b")
    return root


@pytest.fixture
def parts(prepared):
    """The two parts, and no combination of them."""
    shutil.rmtree(prepared / "ab", ignore_errors=True)
    return prepared


def test_the_features_of_both_are_used_where_they_lie(parts):
    said = combine(parts)
    data = parts / "ab"
    assert "3 ids are in several parts" in said
    index = open_features(data / "train")
    assert index.ids == sorted([*(f"a-ann-{n}" for n in range(3)), *(f"b-ann-{n}" for n in range(3)), *index.ids[6:]])
    assert len(index) == 15
    for name, before in (("a", "ann-1"), ("b", "ann-1"), ("b", "dan-2")):
        theirs = FeatureIndex.open(parts / name / "train")
        now = before if before in index.ids else f"{name}-{before}"
        row, expected = index.number_of(now), theirs.read(theirs.number_of(before))
        np.testing.assert_array_equal(index.read(row), expected)
        assert index.path(row).parent == parts / name / "train"
    assert not [path for path in data.rglob("*") if path.suffix in (".ark", ".h5")]
    assert read_map(data / "train" / "utt2spk.oracle") == {
        **{f"{part}-ann-{n}": f"{part}-ann" for part in "ab" for n in range(3)},
        **{f"{name}-{n}": name for name in ("bob", "cyd", "dan") for n in range(3)},
    }


def test_copies_and_banks_are_those_of_both(parts):
    combine(parts)
    train = open_features(parts / "ab" / "train")
    banks = open_banks(parts / "ab", train)
    (copy,) = banks.speeds[0].reverbs
    assert copy.rows.tolist() == list(range(15))
    assert {kind: len(bank) for kind, bank in banks.noises.items()} == {"noise": 2, "music": 2, "babble": 400}
    theirs = FeatureIndex.open(parts / "b" / "augment" / "reverb1")
    row = train.number_of("b-ann-1")
    np.testing.assert_array_equal(copy.index.read(copy.rows[row]), theirs.read(theirs.number_of("ann-1")))


def test_evaluation_sets_and_trial_lists_of_both_stay(parts):
    combine(parts)
    held = Corpus.read(parts / "ab")
    assert held.trials == {"a-eval": "a-eval", "b-eval": "b-eval"}
    for name in ("a", "b"):
        own = parts / "ab" / "trials" / f"{name}-eval.txt"
        assert own.read_text() == (parts / name / "trials" / "eval.txt").read_text()
        assert open_features(parts / "ab" / f"{name}-eval").ids == open_features(parts / name / "eval").ids


def test_a_rerun_does_nothing_and_a_killed_run_ends_the_same(parts):
    combine(parts)
    before = content(parts / "ab")
    assert "nothing to do" in combine(parts)
    shutil.rmtree(parts / "ab")
    command = [sys.executable, "local/combine.py", parts / "a", parts / "b", parts / "ab"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not (parts / "ab" / "train" / "index").exists():
        time.sleep(0.001)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (parts / "ab" / "corpus.json").exists()
    combine(parts)
    assert content(parts / "ab") == before


def test_a_part_of_other_settings_is_refused(parts, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(parts / name, tmp_path / name)
    run(sys.executable, "steps/make_fbank.py", "--low-freq", 40, tmp_path / "b")
    said = combine(tmp_path, status=1)
    assert "low_freq" in said
    assert said.count("\n") == 1
    run(sys.executable, "steps/make_fbank.py", "--compress", "8bit", tmp_path / "b")  # of storage alone
    assert "run stage 3 on it first" in combine(tmp_path, status=1)


def test_a_part_that_changes_is_noticed(parts, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(parts / name, tmp_path / name)
    combine(tmp_path)
    run(sys.executable, "steps/make_fbank.py", "--compress", "8bit", tmp_path / "b")
    with pytest.raises(SdpnError, match=r"b/train have changed since .* was combined: combine it again"):
        open_features(tmp_path / "ab" / "train")


def test_what_is_evaluated_in_one_part_may_not_be_trained_on_in_another(parts, tmp_path):
    shutil.copytree(parts / "a", tmp_path / "a")
    evaluated = parts / "a" / "eval" / "recordings.jsonl.gz"
    shutil.copytree(parts / "b", tmp_path / "b")
    shutil.copy(evaluated, tmp_path / "b" / "train" / "recordings.jsonl.gz")
    assert "4 recordings that a evaluates are trained on in b" in combine(tmp_path, status=1)


def test_a_part_that_a_combined_one_holds_already_is_refused(parts, tmp_path):
    combine(parts)
    for names, twice in ((("ab", "a"), "a"), (("b", "ab"), "b")):
        said = run(sys.executable, "local/combine.py", *(parts / name for name in names), tmp_path / "all", status=1)
        assert f"{parts}/ab holds {parts}/{twice} already" in said


def test_noises_that_are_kept_out_of_one_part_alone_are_told(parts, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(parts / name, tmp_path / name)
    (tmp_path / "a" / "eval").rename(tmp_path / "a" / "dev_far")
    replace(Corpus.read(tmp_path / "a"), evals=["dev_far"], trials={"eval": "dev_far"}).write(tmp_path / "a")
    assert "dev_far: its rooms and noises were kept out of a alone" in combine(tmp_path)


def test_stages_4_to_6_run_on_both_together(parts, tmp_path):
    combine(parts)
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = ["--data-dir", parts / "ab", "--exp-dir", tmp_path / "exp", "--config", tmp_path / "tiny.yaml", "--nj", 2]
    said = run(ROOT / "run.sh", *words, "--backends", "cosine")
    assert "the cuts of" in said
    assert "training ecapa" in said
    for name in ("a-eval", "b-eval"):
        assert f"trials {name}:" in said
