import numpy as np
import pytest

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.scoring.trial_lists import Trials
from sdpn.trials.arrays import TrialList, read_list


def read(tmp_path, text):
    path = tmp_path / "eval.txt"
    path.write_text(text)
    return TrialList.read(path, "eval")


def test_trials_become_indices_of_the_utterances(tmp_path):
    trials = read(tmp_path, "b a target\na c nontarget\nc b nontarget\n")
    assert trials.utterances == ["a", "b", "c"]
    np.testing.assert_array_equal(trials.enroll, [1, 0, 2])
    np.testing.assert_array_equal(trials.test, [0, 2, 1])
    np.testing.assert_array_equal(trials.is_target, [True, False, False])
    assert (trials.n_targets, trials.n_nontargets) == (1, 2)


def test_rows_are_looked_up_by_name(tmp_path):
    trials = read(tmp_path, "b a target\na c nontarget\n")
    np.testing.assert_array_equal(trials.rows(["c", "x", "b", "a"], "exp/xvectors/eval"), [3, 2, 0])


def test_unknown_utterances_are_counted_and_named_once(tmp_path):
    trials = read(tmp_path, "".join(f"a u{i} {'nontarget' if i else 'target'}\n" for i in range(9)))
    with pytest.raises(SdpnError, match=r"8 of its 10 .* exp/xvectors/eval: u1, u2, u3, u4, u5, u6, u7, u8$"):
        trials.rows(["a", "u0"], "exp/xvectors/eval")


@pytest.mark.parametrize(("label", "missing"), [("target", "nontarget"), ("nontarget", "target")])
def test_a_list_with_one_label_alone_is_refused(tmp_path, label, missing):
    with pytest.raises(SdpnError, match=f"all 2 trials are '{label}': error rates need '{missing}' trials too"):
        read(tmp_path, f"a b {label}\na c {label}\n")


def test_trials_of_utterances_left_out_are_left_out(tmp_path):
    trials = read(tmp_path, "a b target\na c nontarget\nd b target\nd c nontarget\n")
    usable = trials.without({"d"})
    assert usable.utterances == ["a", "b", "c"]
    assert [(usable.utterances[e], usable.utterances[t]) for e, t in zip(usable.enroll, usable.test, strict=True)] == [
        ("a", "b"),
        ("a", "c"),
    ]
    assert usable.is_target.tolist() == [True, False]


def test_a_list_without_target_trials_left_is_refused(tmp_path):
    trials = read(tmp_path, "a b target\na c nontarget\n")
    with pytest.raises(SdpnError, match="no trials are left"):
        trials.without({"b"})


def test_a_model_is_enrolled_from_the_utterances_of_the_map_others_from_their_own(tmp_path):
    path = tmp_path / "eval.txt"
    path.write_text("spk1 t1 target\nspk1 t2 nontarget\nu5 t2 target\n")
    trials = TrialList.read(path, "eval", {"spk1": ["u1", "u2", "u1"], "unused": ["x"]})
    assert trials.models == ["spk1", "u5"]
    assert trials.utterances == ["t1", "t2", "u1", "u2", "u5"]
    np.testing.assert_array_equal(trials.enroll, [0, 0, 1])
    np.testing.assert_array_equal(trials.members, [[0, 0, 1], [2, 3, 4]])


def test_a_map_of_each_utterance_to_itself_is_none(tmp_path):
    path = tmp_path / "eval.txt"
    path.write_text("a b target\na c nontarget\n")
    trials = TrialList.read(path, "eval", {"a": ["a"]})
    assert trials.members is None and trials.models == ["a", "b", "c"]


def test_a_model_loses_utterances_left_out_and_goes_with_the_last(tmp_path):
    path = tmp_path / "eval.txt"
    path.write_text("m t target\nm s nontarget\nn t nontarget\n")
    trials = TrialList.read(path, "eval", {"m": ["u1", "u2"], "n": ["u3"]}).without({"u2", "u3"})
    assert [(trials.models[e], trials.utterances[t]) for e, t in zip(trials.enroll, trials.test, strict=True)] == [
        ("m", "t"),
        ("m", "s"),
    ]
    assert trials.utterances == ["s", "t", "u1"]


def test_speakers_are_those_of_the_labels_where_all_are_known(tmp_path):
    trials = read(tmp_path, "a b target\na c nontarget\nd c nontarget\n")
    enroll, test = trials.speakers({"a": "x", "b": "x", "c": "y", "d": "x"})
    assert (enroll == test).tolist() == [True, False, False] and enroll[0] == enroll[2]


def test_utterances_without_a_speaker_are_warned_of_once(tmp_path, capsys):
    (tmp_path / "trials").mkdir()
    (tmp_path / "eval").mkdir()
    (tmp_path / "trials" / "eval.txt").write_text("a b target\na c nontarget\n")
    corpus = Corpus("mine", "train", ["eval"], {"eval": "eval"})
    assert len(Trials("eval", tmp_path, corpus).speakers) == 2
    assert capsys.readouterr().err == ""
    (tmp_path / "eval" / "utt2spk").write_text("a x\nc y\n")
    trials = Trials("eval", tmp_path, corpus)
    enroll, test = trials.speakers
    assert trials.speakers[0] is enroll
    path = tmp_path / "eval" / "utt2spk"
    said = f"warning: eval: 1 of 3 utterances have no speaker in {path}, the first b: "
    assert capsys.readouterr().err.startswith(said) and (enroll == test).tolist() == [True, False]


def test_without_labels_those_are_one_speaker_whom_target_trials_join(tmp_path):
    trials = read(tmp_path, "a b target\nb c target\na d nontarget\ne d nontarget\n")
    enroll, test = trials.speakers({"a": "x"})
    assert enroll[0] == test[0] == test[1] == enroll[2]
    assert len({enroll[0], test[2], enroll[3]}) == 3


def test_without_labels_a_model_is_the_speaker_of_its_utterances(tmp_path):
    path = tmp_path / "eval.txt"
    path.write_text("m t target\nn u1 nontarget\nn t nontarget\n")
    enroll, test = TrialList.read(path, "eval", {"m": ["u1", "u2"], "n": ["u3", "u4"]}).speakers({})
    assert enroll[0] == test[0] == test[1] and enroll[1] != enroll[0]


def test_a_list_may_have_no_labels(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a b\na c\n")
    trials, labelled = read_list(path, {})
    assert not labelled and trials.utterances == ["a", "b", "c"]
    path.write_text("a b target\na c nontarget\n")
    assert read_list(path, {})[1]
    path.write_text("a b\na c target\n")
    with pytest.raises(SdpnError, match="line 2: expected"):
        read_list(path, {})
