import pytest

from sdpn.errors import SdpnError
from sdpn.trials.lists import (
    Trial,
    Trials,
    TrialSet,
    name_by_id,
    name_models,
    read_enroll_map,
    read_trials,
    refuse_one_kind,
    write_trials,
)


def test_what_is_written_is_read_back(tmp_path):
    trials = [Trial("a", "b", True), Trial("a", "é-c", False)]
    write_trials(tmp_path / "t.txt", trials)
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "a b target\na é-c nontarget\n"
    assert list(read_trials(tmp_path / "t.txt")) == trials


def test_voxceleb_lines_windows_line_ends_and_empty_lines_are_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf1 x/1.wav x/2.wav\r\n\r\n0 x/1.wav y/1.wav\r\n")
    assert list(read_trials(tmp_path / "t.txt")) == [
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
    assert list(named) == [Trial("x-1", "x-2", True)]
    assert unknown == ["w", "z"]


def test_a_trial_that_is_once_target_and_once_nontarget_is_refused(tmp_path):
    (tmp_path / "trials.txt").write_text("1 a c\n0 a b\n0 a c\n")
    with pytest.raises(SdpnError, match="a c is once target and once nontarget"):
        read_trials(tmp_path / "trials.txt")


def test_labels_behind_the_names_are_read_too(tmp_path):
    (tmp_path / "t.txt").write_text("a b 1\na c 0\n")
    assert list(read_trials(tmp_path / "t.txt")) == [Trial("a", "b", True), Trial("a", "c", False)]


@pytest.mark.parametrize("ids", [("1", "0"), ("12", "25")])
def test_numbers_are_names_where_the_whole_file_says_so(tmp_path, ids):
    one, other = ids
    (tmp_path / "t.txt").write_text(f"{one} 25 0\n{other} 31 1\n7 {one} 0\n")
    assert list(read_trials(tmp_path / "t.txt")) == [
        Trial(one, "25", False),
        Trial(other, "31", True),
        Trial("7", one, False),
    ]
    (tmp_path / "t.txt").write_text(f"1 25 {one}\n0 31 {other}\n1 31 9\n")
    assert list(read_trials(tmp_path / "t.txt")) == [
        Trial("25", one, True),
        Trial("31", other, False),
        Trial("31", "9", True),
    ]


def test_the_form_is_that_of_the_whole_file_however_late_it_shows(tmp_path):
    (tmp_path / "t.txt").write_text("1 25 0\n" * 100_000 + "\n25 31 1\n")
    trials = read_trials(tmp_path / "t.txt")
    assert (trials[0], trials[100_000]) == (Trial("1", "25", False), Trial("25", "31", True))
    (tmp_path / "t.txt").write_text("1 25 0\n" * 100_000 + "\n25 31 9\n")
    with pytest.raises(SdpnError, match=r"line 100002: expected .*, got '25 31 9'"):
        read_trials(tmp_path / "t.txt")


def test_a_list_that_may_be_read_in_two_ways_is_refused_unless_they_say_the_same(tmp_path):
    (tmp_path / "t.txt").write_text("1 25 0\n0 31 1\n")
    with pytest.raises(SdpnError, match=r"t.txt: .*`enroll test target\|nontarget`"):
        read_trials(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("1 25 nontarget\n0 31 target\n")
    assert list(read_trials(tmp_path / "t.txt")) == [Trial("1", "25", False), Trial("0", "31", True)]
    (tmp_path / "t.txt").write_text("1 1 1\n")
    assert list(read_trials(tmp_path / "t.txt")) == [Trial("1", "1", True)]


def test_one_form_alone_is_in_a_file(tmp_path):
    (tmp_path / "t.txt").write_text("a b target\n1 a c\n")
    with pytest.raises(SdpnError, match=r"line 2: expected `enroll test target\|nontarget`, got '1 a c'"):
        read_trials(tmp_path / "t.txt")


def test_names_are_one_in_any_form_of_unicode(tmp_path):
    (tmp_path / "t.txt").write_text("e\u0301 b target\n\u00e9 c nontarget\n", encoding="utf-8")
    trials = read_trials(tmp_path / "t.txt")
    assert {trial.enroll for trial in trials} == {"\u00e9"} and len(trials.names) == 3


def test_trials_are_arrays_and_a_sequence():
    rows = [Trial("a", "b", True), Trial("c", "a", False)]
    trials = Trials.of(rows)
    assert list(trials) == rows and trials[1] == rows[1] and len(trials) == 2
    assert (trials.enrolled, trials.tested) == ({"a", "c"}, {"a", "b"})
    assert Trials.of(trials) is trials and len(Trials.of([])) == 0


def test_a_model_and_an_utterance_may_share_a_name():
    named, unknown = name_by_id([Trial("m", "m", True), Trial("m", "x", False)], {"m": "m-1", "x": "x-1"}, {"m": ["x"]})
    assert list(named) == [Trial("m", "m-1", True), Trial("m", "x-1", False)] and unknown == []


def test_a_file_that_is_not_utf_8_is_a_sentence(tmp_path):
    (tmp_path / "t.txt").write_bytes("ä b target\n".encode("latin-1"))
    with pytest.raises(SdpnError, match=r"not a text file in UTF-8"):
        read_trials(tmp_path / "t.txt")


def test_names_with_unusual_characters_are_not_line_ends(tmp_path):
    (tmp_path / "t.txt").write_text("a\u2028x b\x85y target\n", encoding="utf-8")
    with pytest.raises(SdpnError, match=r"the name .*u2028x.* holds"):
        read_trials(tmp_path / "t.txt")


@pytest.mark.parametrize(("label", "missing"), [("target", "nontarget"), ("nontarget", "target")])
def test_trials_of_one_kind_alone_are_refused(tmp_path, label, missing):
    (tmp_path / "t.txt").write_text(f"a b {label}\na c {label}\n")
    with pytest.raises(SdpnError, match=rf"t.txt: all 2 trials are '{label}'.* '{missing}'"):
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
        ("Eve a b\nAnn\n", r"line 2: expected `model utt1 utt2 ...`, got 'Ann'"),
        ("Eve a b\nEve c\n", r"line 2: Eve stands there twice"),
        ("Eve a b a\n", r"line 1: Eve has a twice"),
        ("\r\n\r\n", r"enrollment map is empty"),
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
    assert list(named) == [Trial("X", "y-1", False), Trial("Z", "x-2", True)]
    assert unknown == ["Q"]
    found, lacking = name_models(models, ids, {"X", "Z"})
    assert found["X"] == ["x-1", "x-2"]
    assert lacking == ["z/1"]


def test_a_name_that_is_none_is_told_with_its_line_far_down_a_list(tmp_path):
    path = tmp_path / "trials.txt"
    lines = [f"a{row % 700} b{row % 900} target\n" for row in range(100_000)]
    for bad in ("b\x07b", "b\u00a0b"):
        path.write_text("".join([*lines, f"\nann {bad} nontarget\n", *lines]), encoding="utf-8")
        with pytest.raises(SdpnError, match="line 100002"):
            read_trials(path)
    path.write_bytes("".join(lines).encode() + b"ann b\xff nontarget\n")
    with pytest.raises(SdpnError, match=r"UTF-8.*line 100001"):
        read_trials(path)
