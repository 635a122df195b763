import pytest

from sdpn.errors import SdpnError
from sdpn.trials.names import describe_unknown, refuse_unknown


def test_ten_names_at_most_are_told_and_the_others_counted():
    assert describe_unknown([f"u{n}" for n in range(10)], ["x"]) == "u0, u1, u2, u3, u4, u5, u6, u7, u8, u9"
    assert describe_unknown([f"u{n}" for n in range(500)], ["x"]).endswith("u8, u9 and 490 more")


@pytest.mark.parametrize(
    ("unknown", "known", "hint"),
    [
        ("{n}.wav", "{n}", "without the ending '.wav', e.g. 0.wav as 0"),
        ("{n}", "{n}.flac", "with the ending '.flac', e.g. 0 as 0.flac"),
        ("{n}.wav", "{n}.flac", "without the ending '.wav' and with the ending '.flac'"),
        ("id1/v/{n}", "id1-v-{n}", "with '-' for '/', e.g. id1/v/0 as id1-v-0"),
        ("id1/v/{n}.wav", "id1-v-{n}", "without the ending '.wav' and with '-' for '/'"),
        ("id1_v_{n}", "id1-v-{n}", "with '-' for '_'"),
        ("wav/id1/{n}", "id1/{n}", "without 'wav/' in front, e.g. wav/id1/0 as id1/0"),
        ("id1/{n}", "a/b/id1/{n}", "with 'a/b/' in front"),
        ("id1-{n}", "voxceleb-id1-{n}", "with 'voxceleb-' in front"),
        ("wav/id1/{n}.wav", "id1-{n}", "without the ending '.wav' and without 'wav/' in front and with '-' for '/'"),
        ("id1-{n}-near", "id1-{n}", "without '-near' at the end"),
        ("id1-{n}", "id1-{n}-near", "with '-near' at the end"),
    ],
)
def test_what_makes_names_known_is_told(unknown, known, hint):
    names = [unknown.format(n=n) for n in range(40)]
    said = describe_unknown(names, [known.format(n=n) for n in range(100)])
    assert f"; 40 of 40 would be known {hint}" in said


def test_a_hint_counts_over_all_names_and_tells_what_explains_most():
    names = [f"a{n}" for n in range(1000)] + [f"{n}.wav" for n in range(700)]
    said = describe_unknown(names, [str(n) for n in range(600)])
    assert "; 600 of 1700 would be known without the ending '.wav'" in said


def test_folders_in_front_may_differ_from_name_to_name():
    names = [f"spk{n % 7}/{n}" for n in range(50)]
    assert "; 50 of 50 would be known without 'spk" in describe_unknown(names, [str(n) for n in range(50)])


def test_nothing_is_guessed_where_a_change_would_fit_two_names_or_none():
    assert describe_unknown(["1"], ["a/1", "b/1"]) == "1"
    assert describe_unknown(["x"], ["a", "b"]) == "x"
    assert describe_unknown(["x"], []) == "x"
    assert describe_unknown(["a_0.9"], ["a_0"]) == "a_0.9"  # a number behind a point is no ending


def test_all_unknown_names_are_listed_and_some_told(tmp_path):
    names = [f"u{n}.wav" for n in range(19)]
    with pytest.raises(SdpnError, match=r"t.txt: 19 of its 20 names .* of eval: u0.wav, .* and 9 more; 9 of 19 would"):
        refuse_unknown(names, [f"u{n}" for n in range(9)], 20, "t.txt", "eval", tmp_path / "missing.txt")
    assert (tmp_path / "missing.txt").read_text().split() == names
    refuse_unknown([], [], 20, "t.txt", "eval", tmp_path / "missing.txt")
    assert not (tmp_path / "missing.txt").exists()
