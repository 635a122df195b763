from collections import Counter

import pytest

from sdpn.errors import SdpnError
from sdpn.trials.lists import (
    Trial,
    TrialSet,
    make_trials,
    name_by_id,
    name_models,
    read_enroll_map,
    read_trials,
    refuse_one_kind,
    refuse_unknown,
    write_trials,
)
from sdpn.utterance import Utterance


def entries(speakers: dict[str, str | None], sessions: int = 2, utterances: int = 3) -> list[Utterance]:
    return [
        Utterance(f"{name}-s{s}-{u}", "a.wav", 16000, 16000, speaker=name, session=f"{name}-s{s}", gender=gender)
        for name, gender in speakers.items()
        for s in range(sessions)
        for u in range(utterances)
    ]


def facts(own: list[Utterance]) -> dict[str, Utterance]:
    return {entry.id: entry for entry in own}


def test_target_trials_cross_sessions():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"})
    known = facts(own)
    trials = make_trials(own, seed=1)
    targets = [trial for trial in trials if trial.target]
    assert len(targets) == 4 * 9  # all pairs of three utterances with three of the other session
    for trial in targets:
        assert known[trial.enroll].speaker == known[trial.test].speaker
        assert known[trial.enroll].session != known[trial.test].session


def test_nontarget_trials_pair_different_speakers_of_one_gender():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"})
    known = facts(own)
    nontargets = [trial for trial in make_trials(own, seed=1) if not trial.target]
    assert nontargets
    for trial in nontargets:
        assert known[trial.enroll].speaker != known[trial.test].speaker
        assert known[trial.enroll].gender == known[trial.test].gender


def test_a_speaker_alone_in_a_gender_meets_everyone():
    own = entries({"ann": "f", "bob": "m", "dan": "m"})
    assert any(not trial.target and trial.enroll.startswith("ann") for trial in make_trials(own, seed=1))


def test_unknown_genders_are_no_gender():
    pairs = {
        (trial.enroll[:3], trial.test[:3])
        for trial in make_trials(entries({"ann": None, "bob": None, "cyd": None}), seed=1)
        if not trial.target
    }
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(p) for p in (("ann", "bob"), ("ann", "cyd"), ("bob", "cyd"))
    }


def test_one_session_alone_serves_with_pairs_within_it():
    trials = make_trials(entries({"ann": None, "bob": None}, sessions=1), seed=1)
    assert sum(trial.target for trial in trials) == 2 * 3


def test_no_pair_occurs_twice_in_whatever_order():
    trials = make_trials(entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"}), seed=1)
    pairs = [frozenset((trial.enroll, trial.test)) for trial in trials]
    assert len(set(pairs)) == len(pairs)


def test_a_limit_is_shared_fairly_among_speakers():
    own = entries({"ann": None, "bob": None, "cyd": None}, utterances=5) + entries({"dan": None}, utterances=1)
    targets = [trial for trial in make_trials(own, seed=1, max_targets=25) if trial.target]
    assert Counter(trial.enroll[:3] for trial in targets) == {"ann": 8, "bob": 8, "cyd": 8, "dan": 1}


def test_one_speaker_alone_has_no_impostors():
    assert all(trial.target for trial in make_trials(entries({"ann": "f"}), seed=1))


def test_trials_depend_on_the_seed_and_not_on_the_order_of_utterances():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"}, utterances=5)
    assert make_trials(own, 1, 20) == make_trials(own[::-1], 1, 20)
    assert make_trials(own, 1, 20) != make_trials(own, 2, 20)


def test_what_is_written_is_read_back(tmp_path):
    trials = [Trial("a", "b", True), Trial("a", "é-c", False)]
    write_trials(tmp_path / "t.txt", trials)
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "a b target\na é-c nontarget\n"
    assert read_trials(tmp_path / "t.txt") == trials


def test_voxceleb_lines_windows_line_ends_and_empty_lines_are_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf1 x/1.wav x/2.wav\r\n\r\n0 x/1.wav y/1.wav\r\n")
    assert read_trials(tmp_path / "t.txt") == [
        Trial("x/1.wav", "x/2.wav", True),
        Trial("x/1.wav", "y/1.wav", False),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a b target\na b\n", "line 2: expected"),
        ("a b impostor\n", "line 1: expected"),
        ("2 a b\n", "line 1: expected"),
        ("\n", "no trial in it"),
    ],
)
def test_a_line_of_another_form_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(SdpnError, match=sentence):
        read_trials(tmp_path / "t.txt")


def test_a_missing_list_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="no such trial list"):
        read_trials(tmp_path / "t.txt")


def test_names_become_ids_and_unknown_ones_are_all_told():
    trials = [Trial("x/1", "x/2", True), Trial("x/1", "z", False), Trial("w", "x/2", False)]
    named, unknown = name_by_id(trials, {"x/1": "x-1", "x/2": "x-2"})
    assert named == [Trial("x-1", "x-2", True)]
    assert unknown == ["w", "z"]


def test_a_trial_that_is_once_target_and_once_nontarget_is_refused(tmp_path):
    (tmp_path / "trials.txt").write_text("1 a c\n0 a b\n0 a c\n")
    with pytest.raises(SdpnError, match="a c is once target and once nontarget"):
        read_trials(tmp_path / "trials.txt")


def test_labels_behind_the_names_are_read_too(tmp_path):
    (tmp_path / "t.txt").write_text("a b 1\na c 0\n")
    assert read_trials(tmp_path / "t.txt") == [Trial("a", "b", True), Trial("a", "c", False)]


def test_a_file_that_is_not_utf_8_is_a_sentence(tmp_path):
    (tmp_path / "t.txt").write_bytes("ä b target\n".encode("latin-1"))
    with pytest.raises(SdpnError, match=r"not a text file in UTF-8"):
        read_trials(tmp_path / "t.txt")


def test_names_with_unusual_characters_are_not_line_ends(tmp_path):
    (tmp_path / "t.txt").write_text("a\u2028x b\x85y target\n", encoding="utf-8")
    with pytest.raises(SdpnError, match=r"line 1: expected"):
        read_trials(tmp_path / "t.txt")


@pytest.mark.parametrize(("label", "kind"), [("target", "target"), ("nontarget", "non-target")])
def test_trials_of_one_kind_alone_are_refused(tmp_path, label, kind):
    (tmp_path / "t.txt").write_text(f"a b {label}\na c {label}\n")
    with pytest.raises(SdpnError, match=rf"t.txt: all trials are {kind}: both are needed"):
        refuse_one_kind(read_trials(tmp_path / "t.txt"), tmp_path / "t.txt")


def test_models_are_written_beside_their_trials_and_read_back(tmp_path):
    own = TrialSet("eval", [Trial("Eve", "c", True), Trial("Eve", "d", False)], {"Eve": ["a", "b"], "Ann": ["x"]})
    assert [path.name for path in own.write(tmp_path, "list")] == ["list.txt", "list.enroll.map"]
    assert (tmp_path / "list.enroll.map").read_text() == "Ann x\nEve a b\n"
    assert read_enroll_map(tmp_path / "list.enroll.map") == own.models
    TrialSet("eval", own.trials).write(tmp_path, "list")
    assert not (tmp_path / "list.enroll.map").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Eve a b\nAnn\n", r"line 2: the model Ann has no utterance"),
        ("Eve a b\nEve c\n", r"line 2: the model Eve stands there twice"),
        ("Eve a b a\n", r"line 1: the model Eve has an utterance twice"),
        ("\r\n\r\n", r"there is no model in it"),
    ],
)
def test_an_enrollment_map_of_another_form_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "enroll.map").write_text(text)
    with pytest.raises(SdpnError, match=sentence):
        read_enroll_map(tmp_path / "enroll.map")


def test_a_missing_enrollment_map_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match=r"there is no such enrollment map"):
        read_enroll_map(tmp_path / "enroll.map")


def test_models_keep_their_names_and_their_utterances_get_ids():
    ids = {"x/1": "x-1", "x/2": "x-2", "y/1": "y-1"}
    models = {"X": ["x/1", "x/2"], "Z": ["x/1", "z/1"], "unused": ["nobody"]}
    trials = [Trial("X", "y/1", False), Trial("Z", "x/2", True), Trial("Q", "y/1", False)]
    named, unknown = name_by_id(trials, ids, models)
    assert named == [Trial("X", "y-1", False), Trial("Z", "x-2", True)]
    assert unknown == ["Q"]
    found, lacking = name_models(models, ids, {"X", "Z"})
    assert found["X"] == ["x-1", "x-2"]
    assert lacking == ["z/1"]


def test_all_unknown_names_are_listed_once_and_some_told(tmp_path):
    names = [f"u{n}" for n in range(9)]
    with pytest.raises(
        SdpnError, match=r"t.txt: 9 of its 20 names are no usable utterances of eval: u0, .* and 4 more"
    ):
        refuse_unknown(names, 20, "t.txt", "eval", tmp_path / "missing.txt")
    assert (tmp_path / "missing.txt").read_text().split() == names
    refuse_unknown([], 20, "t.txt", "eval", tmp_path / "missing.txt")
    assert not (tmp_path / "missing.txt").exists()
