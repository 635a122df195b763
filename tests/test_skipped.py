import pytest

from sdpn.errors import Reason, SdpnError
from sdpn.skipped import Skipped, count_reasons, read_skipped, refuse_many_skipped, write_skipped

OWN = [
    Skipped("/a b.wav", Reason("cut off", "1 s of 2 s: so")),
    Skipped("/c.wav", Reason("cut off", "3 s")),
    Skipped("d", Reason("empty")),
]


def test_what_was_skipped_is_read_back_and_counted_by_kind(tmp_path):
    write_skipped(tmp_path / "skipped.tsv", OWN)
    assert (tmp_path / "skipped.tsv").read_text().splitlines()[0] == "/a b.wav\tcut off\t1 s of 2 s: so"
    assert read_skipped(tmp_path / "skipped.tsv") == OWN
    assert count_reasons(OWN) == {"cut off": 2, "empty": 1}
    assert read_skipped(tmp_path / "none.tsv") == []


def test_names_with_tabs_and_line_ends_take_one_line(tmp_path):
    write_skipped(tmp_path / "skipped.tsv", [Skipped("/a\tb\n.wav", Reason("empty"))])
    assert (tmp_path / "skipped.tsv").read_text() == "/a b .wav\tempty\n"


def test_more_than_is_allowed_is_refused_with_counts(tmp_path):
    refuse_many_skipped("train", count_reasons(OWN), 10, 0.3, tmp_path)
    with pytest.raises(SdpnError, match=r"train: 3 of 10 \(30.0 %\) would be skipped.*2 cut off, 1 empty"):
        refuse_many_skipped("train", count_reasons(OWN), 10, 0.2, tmp_path)
