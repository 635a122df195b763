import pytest

from sdpn.audio.files import Skipped
from sdpn.corpus.manifests import count_reasons, read_skipped, write_skipped
from sdpn.errors import SdpnError
from sdpn.tables import composed, lines_of


def test_line_ends_byte_order_marks_and_empty_lines_do_not_matter(tmp_path):
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa b\r\n\r\n  c\n\n d")
    assert list(lines_of(tmp_path / "list", "list")) == [(1, "a b"), (3, "c"), (5, "d")]


def test_what_is_no_text_is_a_sentence(tmp_path):
    (tmp_path / "list").write_bytes(b"\xff\xfe")
    with pytest.raises(SdpnError, match=r"list: not a text file in UTF-8"):
        list(lines_of(tmp_path / "list", "list"))
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(SdpnError, match=r"there is no such list of speakers"):
            list(lines_of(path, "list of speakers"))


def test_two_ways_to_write_a_name_are_one_name():
    assert composed("e\u0301") == "\u00e9"


def test_what_was_skipped_is_read_back_and_counted_by_reason(tmp_path):
    own = [Skipped("/a b.wav", "cut off: 1 s of 2 s: so"), Skipped("/c.wav", "cut off: 3 s"), Skipped("d", "empty")]
    write_skipped(tmp_path / "skipped.tsv", own)
    assert read_skipped(tmp_path / "skipped.tsv") == own
    assert count_reasons(own) == {"cut off": 2, "empty": 1}
    assert read_skipped(tmp_path / "none.tsv") == []


def test_names_with_tabs_and_line_ends_take_one_line(tmp_path):
    write_skipped(tmp_path / "skipped.tsv", [Skipped("/a\tb\n.wav", "empty")])
    assert (tmp_path / "skipped.tsv").read_text() == "/a b .wav\tempty\n"
