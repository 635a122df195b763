import pytest

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
