import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.evaluation.trials import TrialList


def read(tmp_path, text):
    path = tmp_path / "eval.txt"
    path.write_text(text)
    return TrialList.read(path, "eval")


def test_trials_become_places_in_the_utterances(tmp_path):
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
