import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.trials.lists import read_trials
from tests.corpus.conftest import ROOT, content, times, write_audio, write_speakers


def supervisions(data, name: str) -> list[dict]:
    with gzip.open(data / name / "supervisions.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def speakers(data, name: str) -> set[str]:
    return {row["speaker"] for row in supervisions(data, name)}


@pytest.fixture
def corpus(tmp_path):
    """Sets of their own: train, eval and eval_far; the two evaluation sets have the same names."""
    write_speakers(tmp_path / "corpus" / "train", ["ann", "bob"])
    for name in ("eval", "eval_far"):
        write_speakers(tmp_path / "corpus" / name, ["cyd", "dan"])
    return tmp_path / "corpus"


@pytest.fixture
def prepare(prepare_folder, clips, tmp_path):
    """Prepare a folder in tmp_path/data."""
    return lambda folder, *words: prepare_folder("--corpus-dir", folder, *clips, *words, tmp_path / "data")


def test_sets_of_their_own_are_kept(prepare, corpus, tmp_path):
    prepare(corpus)
    held = Corpus.read(tmp_path / "data")
    assert (held.train, held.evals, held.rir) == ("train", ["eval", "eval_far"], "rir")
    assert held.trials == {"eval": "eval", "eval_far": "eval_far"}
    assert held.noises == {"noise": "noise", "music": "music"}
    assert speakers(tmp_path / "data", "train") == {"ann", "bob"}
    assert speakers(tmp_path / "data", "eval_far") == {"cyd", "dan"}


def test_speakers_are_split_where_there_are_no_sets(prepare, tmp_path):
    write_speakers(tmp_path / "corpus", [f"p{n}" for n in range(10)])
    prepare(tmp_path / "corpus", "--eval-share", 0.3, "--dev-speakers", 2)
    held = {name: speakers(tmp_path / "data", name) for name in ("train", "eval", "dev")}
    assert {name: len(own) for name, own in held.items()} == {"train": 5, "eval": 3, "dev": 2}
    assert len(set.union(*held.values())) == 10
    assert Corpus.read(tmp_path / "data").evals == ["eval", "dev"]


def test_trials_are_made_across_sessions_of_utterances_that_exist(prepare, corpus, tmp_path):
    prepare(corpus)
    rows = {row["id"]: row for row in supervisions(tmp_path / "data", "eval")}
    trials = read_trials(tmp_path / "data" / "trials" / "eval.txt")
    assert {trial.target for trial in trials} == {True, False}
    for trial in trials:
        enroll, test = rows[trial.enroll], rows[trial.test]
        assert (enroll["speaker"] == test["speaker"]) == trial.target
        assert not trial.target or enroll["custom"] != test["custom"]


def test_speakers_with_one_session_are_told_of_once(prepare, tmp_path, capsys):
    write_speakers(tmp_path / "corpus", [f"p{n}" for n in range(5)], sessions=0)
    prepare(tmp_path / "corpus")
    assert capsys.readouterr().out.count("2 of 2 speakers have one session: their target trials lie within it") == 1
    assert sum(trial.target for trial in read_trials(tmp_path / "data" / "trials" / "eval.txt")) == 2


def test_given_trials_apply_to_every_set_that_has_their_names(prepare, corpus, tmp_path):
    given = tmp_path / "trials.txt"
    given.write_text("1 cyd/s0/u0.wav cyd/s1/u1\n0 cyd-s0-u0 dan/s0/u0.wav\n")
    prepare(corpus, "--trials", given)
    for name in ("eval", "eval_far"):
        written = (tmp_path / "data" / "trials" / f"{name}.txt").read_text()
        assert written == "cyd-s0-u0 cyd-s1-u1 target\ncyd-s0-u0 dan-s0-u0 nontarget\n"


def test_a_set_that_has_none_of_the_given_names_gets_trials_made(prepare, corpus, tmp_path, capsys):
    write_speakers(corpus / "eval_new", ["eve", "fay"])
    given = tmp_path / "trials.txt"
    given.write_text("cyd-s0-u0 cyd-s1-u1 target\ncyd-s0-u0 dan-s0-u0 nontarget\n")
    prepare(corpus, "--trials", given)
    assert "eval_new: none of the names" in capsys.readouterr().out
    assert all(
        trial.enroll[:3] in ("eve", "fay") for trial in read_trials(tmp_path / "data" / "trials" / "eval_new.txt")
    )


def test_speakers_of_given_trials_are_evaluated_where_there_are_no_sets(prepare, tmp_path):
    write_speakers(tmp_path / "corpus", [f"p{n}" for n in range(6)])
    (tmp_path / "trials.txt").write_text("p1/s0/u0 p1/s1/u0 target\np1/s0/u0 p4/s0/u0 nontarget\n")
    prepare(tmp_path / "corpus", "--trials", tmp_path / "trials.txt")
    assert speakers(tmp_path / "data", "eval") == {"p1", "p4"}
    assert len(speakers(tmp_path / "data", "train")) == 4


def test_genders_keep_impostors_apart(prepare, tmp_path):
    write_speakers(tmp_path / "corpus" / "train", ["ann", "bob"])
    write_speakers(tmp_path / "corpus" / "eval", ["cyd", "dan", "eve", "fay"])
    (tmp_path / "corpus" / "spk2gender").write_text("cyd f\ndan m\neve f\nfay m\n")
    prepare(tmp_path / "corpus")
    pairs = {
        frozenset((trial.enroll[:3], trial.test[:3]))
        for trial in read_trials(tmp_path / "data" / "trials" / "eval.txt")
        if not trial.target
    }
    assert pairs == {frozenset(("cyd", "eve")), frozenset(("dan", "fay"))}


def test_synthetic_clips_serve_where_no_folder_is_given(prepare_folder, corpus, tmp_path, capsys):
    write_audio(tmp_path / "noise" / "one.wav")
    prepare_folder("--corpus-dir", corpus, "--noise-dir", tmp_path / "noise", tmp_path / "data")
    assert "synthetic clips serve as music, rir: no folder was given for them" in capsys.readouterr().out
    held = Corpus.read(tmp_path / "data")
    assert (held.noises, held.rir) == ({"noise": "noise", "music": "music"}, "rir")
    assert len(list((tmp_path / "data" / "audio" / "rir").glob("*.flac"))) == 2
    assert not (tmp_path / "data" / "audio" / "noise").exists()


def test_names_with_spaces_and_other_letters_go_through_to_audio(prepare, make_cuts, tmp_path):
    for speaker in ("Zoë Å", "李 雷", "ann", "bob"):
        for number in range(2):
            write_audio(tmp_path / "my corpus" / speaker / "erste Aufnahme" / f"Satz {number}.opus")
    prepare(tmp_path / "my corpus")
    make_cuts(tmp_path / "data")
    ids = {row["id"] for name in ("train", "eval") for row in supervisions(tmp_path / "data", name)}
    assert {"Zoë_Å-erste_Aufnahme-Satz_0", "李_雷-erste_Aufnahme-Satz_1"} <= ids
    from lhotse import CutSet

    for cut in CutSet.from_jsonl_lazy(tmp_path / "data" / "eval" / "cuts.jsonl.gz"):
        assert cut.load_audio().shape == (1, cut.num_samples)


def test_unusable_files_are_skipped_counted_and_listed(prepare, corpus, tmp_path, capsys):
    (corpus / "eval" / "cyd" / "words.wav").write_text("this is no audio at all")
    (corpus / "eval" / "cyd" / "empty.flac").touch()
    soundfile.write(corpus / "eval" / "cyd" / "silent.wav", [], 16000)
    prepare(corpus, "--max-skipped", 0.5)
    assert "eval: 1 skipped, the file is empty" in capsys.readouterr().out
    lines = (tmp_path / "data" / "eval" / "skipped_files.tsv").read_text().splitlines()
    listed = dict(line.split("\t", 1) for line in lines)
    assert listed[str(corpus / "eval" / "cyd" / "empty.flac")] == "the file is empty"
    assert listed[str(corpus / "eval" / "cyd" / "silent.wav")] == "there are no samples in it"
    assert listed[str(corpus / "eval" / "cyd" / "words.wav")].startswith("not readable as audio")
    assert len(supervisions(tmp_path / "data", "eval")) == 8
    assert not (tmp_path / "data" / "train" / "skipped_files.tsv").exists()


def test_other_rates_and_channels_are_kept(prepare, corpus, tmp_path):
    write_audio(corpus / "eval" / "cyd" / "s0" / "k8.wav", rate=8000)
    write_audio(corpus / "eval" / "cyd" / "s0" / "st.wav", channels=2)
    prepare(corpus)
    channels = {row["id"]: row["channel"] for row in supervisions(tmp_path / "data", "eval")}
    assert (channels["cyd-s0-k8"], channels["cyd-s0-st"]) == (0, [0, 1])


def refused(prepare, folder, *words) -> str:
    with pytest.raises(SdpnError) as error:
        prepare(folder, *words)
    return str(error.value)


def test_a_missing_and_an_empty_folder_are_a_sentence(prepare, tmp_path):
    assert "there is no such folder" in refused(prepare, tmp_path / "none")
    (tmp_path / "corpus").mkdir()
    assert "there is no audio file in it: it is empty" in refused(prepare, tmp_path / "corpus")
    (tmp_path / "corpus" / "a.txt").touch()
    assert "other files only (1 .txt)" in refused(prepare, tmp_path / "corpus")
    assert not (tmp_path / "data").exists()


def test_too_few_speakers_to_split_are_a_sentence_that_names_the_way_out(prepare, tmp_path):
    write_speakers(tmp_path / "corpus", ["ann", "bob", "cyd"])
    said = refused(prepare, tmp_path / "corpus")
    assert "3 speakers; at least 4 are needed" in said
    assert "--eval-share 0" in said
    assert not (tmp_path / "data" / "corpus.json").exists()


@pytest.mark.parametrize("train", ["train", "."])
def test_recordings_without_speakers_are_a_training_set(prepare, make_cuts, tmp_path, capsys, train):
    write_audio(tmp_path / "corpus" / train / "1.wav")
    write_audio(tmp_path / "corpus" / train / "calls" / "monday" / "2.wav")
    prepare(tmp_path / "corpus")
    held = Corpus.read(tmp_path / "data")
    assert (held.train, held.evals, held.trials) == ("train", [], {})
    assert [row.get("speaker") for row in supervisions(tmp_path / "data", "train")] == [None, None]
    said = capsys.readouterr().out
    assert "1 of 2 recordings lie directly in it" in said
    assert "it has no speaker labels, so all of it is trained on" in said
    make_cuts(tmp_path / "data")
    assert not (tmp_path / "data" / "train" / "utt2spk.oracle").exists()


def test_an_unlabelled_training_set_goes_with_a_labelled_evaluation_set(prepare, corpus, tmp_path):
    write_audio(tmp_path / "corpus" / "train" / "1.wav")
    prepare(corpus)
    assert [row.get("speaker") for row in supervisions(tmp_path / "data", "train")] == [None] * 9
    assert speakers(tmp_path / "data", "eval") == {"cyd", "dan"}


def test_an_evaluation_share_of_none_trains_on_all_of_a_labelled_folder(prepare, tmp_path):
    write_speakers(tmp_path / "corpus", ["ann", "bob", "cyd"])
    prepare(tmp_path / "corpus", "--eval-share", 0)
    assert Corpus.read(tmp_path / "data").evals == []
    assert speakers(tmp_path / "data", "train") == {"ann", "bob", "cyd"}


def test_what_is_evaluated_must_be_labelled_or_have_trials(prepare, corpus, tmp_path):
    write_audio(corpus / "eval" / "1.wav")
    said = refused(prepare, corpus)
    assert "eval: 1 recordings lie directly in it, e.g. 1.wav" in said
    assert "--trials" in said
    (corpus / "eval_far").rename(tmp_path / "away")
    (tmp_path / "trials.txt").write_text("1 cyd-s0-u0 nontarget\ncyd-s0-u0 cyd-s1-u1 target\n")
    prepare(corpus, "--trials", tmp_path / "trials.txt")
    assert Corpus.read(tmp_path / "data").trials == {"eval": "eval"}


def test_trials_of_nothing_that_is_evaluated_are_a_sentence(prepare, tmp_path):
    write_speakers(tmp_path / "corpus", ["ann", "bob", "cyd"])
    (tmp_path / "trials.txt").write_text("ann-s0-u0 ann-s1-u0 target\nann-s0-u0 bob-s0-u0 nontarget\n")
    for option in (["--unlabelled"], ["--eval-share", 0]):
        said = refused(prepare, tmp_path / "corpus", *option, "--trials", tmp_path / "trials.txt")
        assert "no evaluation set that these trials can be of" in said


def test_one_speaker_in_an_evaluation_set_is_a_sentence(prepare, tmp_path):
    write_speakers(tmp_path / "corpus" / "train", ["ann", "bob"])
    write_speakers(tmp_path / "corpus" / "eval", ["cyd"])
    assert "one speaker alone (cyd) for the set eval" in refused(prepare, tmp_path / "corpus")


def test_an_evaluation_set_without_a_target_trial_is_a_sentence(prepare, tmp_path):
    write_speakers(tmp_path / "corpus" / "train", ["ann", "bob"])
    write_speakers(tmp_path / "corpus" / "eval", ["cyd", "dan"], sessions=0, utterances=1)
    assert "eval: no speaker has two utterances" in refused(prepare, tmp_path / "corpus")


def test_unknown_names_in_given_trials_are_counted_and_some_are_told(prepare, corpus, tmp_path):
    given = tmp_path / "trials.txt"
    lines = [f"cyd-s0-u0 nobody{n} nontarget" for n in range(17)]
    given.write_text("\n".join(["cyd-s0-u0 cyd-s1-u1 target", *lines]))
    sentence = refused(prepare, corpus, "--trials", given)
    assert "17 of its 19 names are no usable utterances of eval: nobody0, nobody1," in sentence
    assert "and 7 more" in sentence
    given.write_text("x y target\nx z nontarget\n")
    assert "its names exist in no evaluation set: x, y, z" in refused(prepare, corpus, "--trials", given)


def test_trials_of_one_kind_alone_are_a_sentence(prepare, corpus, tmp_path):
    (tmp_path / "trials.txt").write_text("cyd-s0-u0 cyd-s1-u1 target\n")
    assert "error rates need 'nontarget' trials too" in refused(prepare, corpus, "--trials", tmp_path / "trials.txt")


def test_an_empty_noise_folder_is_a_sentence(prepare_folder, corpus, tmp_path):
    (tmp_path / "noise").mkdir()
    with pytest.raises(SdpnError, match="noise: there is no audio file in it"):
        prepare_folder("--corpus-dir", corpus, "--noise-dir", tmp_path / "noise", tmp_path / "data")


def test_another_corpus_in_the_data_folder_is_refused(prepare, corpus, tmp_path):
    prepare(corpus)
    before = content(tmp_path / "data")
    assert "already holds the same corpus with seed 1: give another --data-dir" in refused(prepare, corpus, "--seed", 2)
    assert content(tmp_path / "data") == before


def test_a_rerun_does_no_work(prepare, corpus, tmp_path, capsys):
    prepare(corpus)
    before = times(tmp_path / "data")
    prepare(corpus)
    assert times(tmp_path / "data") == before
    assert "the corpus 'folder' is there: nothing to do" in capsys.readouterr().out


def test_a_new_file_or_new_trials_make_the_corpus_stale(prepare, corpus, tmp_path, capsys):
    given = tmp_path / "trials.txt"
    given.write_text("cyd-s0-u0 cyd-s1-u1 target\ncyd-s0-u0 dan-s0-u0 nontarget\n")
    prepare(corpus, "--trials", given)
    write_audio(corpus / "train" / "ann" / "s0" / "more.wav")
    prepare(corpus, "--trials", given)
    assert "files changed: redone" in capsys.readouterr().out
    assert len(supervisions(tmp_path / "data", "train")) == 9
    given.write_text("cyd-s0-u0 cyd-s1-u0 target\ncyd-s0-u0 dan-s0-u0 nontarget\n")
    prepare(corpus, "--trials", given)
    assert "trials changed: redone" in capsys.readouterr().out


def test_any_number_of_processes_gives_the_same_bytes(prepare, prepare_folder, corpus, clips, tmp_path):
    prepare(corpus)
    prepare_folder("--corpus-dir", corpus, *clips, "--nj", 3, tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "data")


def program(corpus, data, clips) -> list[str]:
    return [sys.executable, str(ROOT / "local" / "prepare_folder.py"), "--corpus-dir", str(corpus), *clips, str(data)]


def test_a_killed_run_leaves_nothing_to_trust_and_a_second_one_ends_the_same(
    prepare, prepare_folder, corpus, clips, tmp_path
):
    prepare(corpus)
    process = subprocess.Popen(program(corpus, tmp_path / "killed", clips), stdout=subprocess.DEVNULL)
    while not (tmp_path / "killed" / ".lock").exists():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "corpus.json").exists()
    prepare_folder("--corpus-dir", corpus, *clips, tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "data")


def test_a_file_in_the_place_of_the_data_folder_is_a_sentence(prepare_folder, corpus, clips, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SdpnError, match=r"cannot write into .*file: a file is where a folder should be"):
        prepare_folder("--corpus-dir", corpus, *clips, tmp_path / "file")


def test_the_program_ends_with_one_sentence_and_status_1(tmp_path, clips):
    done = subprocess.run(program(tmp_path / "none", tmp_path / "data", clips), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/none: there is no such folder\n"


def test_lists_that_come_out_of_pipes_are_kept_and_compared_by_what_they_hold(prepare, corpus, tmp_path, capsys):
    def give(trials: str, models: str) -> None:
        pipes = [os.pipe() for _ in range(2)]
        for (_, theirs), text in zip(pipes, (trials, models), strict=True):
            with open(theirs, "w") as opened:
                opened.write(text)
        try:
            prepare(corpus, "--trials", f"/dev/fd/{pipes[0][0]}", "--enroll-map", f"/dev/fd/{pipes[1][0]}")
        finally:
            for ours, _ in pipes:
                os.close(ours)

    lists = ("1 Cyd cyd/s1/u1\n0 Cyd dan/s0/u0.wav\n", "Cyd cyd-s0-u0\n")
    give(*lists)
    trials = tmp_path / "data" / "trials" / "eval.txt"
    assert trials.read_text() == "Cyd cyd-s1-u1 target\nCyd dan-s0-u0 nontarget\n"
    assert Corpus.read(tmp_path / "data").options["trials"] == str(tmp_path / "data" / "given" / "trials.txt")
    written = trials.stat().st_mtime_ns
    give(*lists)
    assert trials.stat().st_mtime_ns == written
    give("1 Cyd cyd/s1/u1\n0 Cyd dan/s0/u1\n", lists[1])
    assert "Cyd dan-s0-u1 nontarget" in trials.read_text()
