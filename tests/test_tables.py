import subprocess
import sys
import threading

import pytest

from sdpn.errors import SdpnError
from sdpn.tables import (
    blocks_of,
    composed,
    lines_of,
    read_columns,
    read_groups,
    read_map,
    read_names,
    read_table,
    write_columns,
)

READERS = {
    "table": (read_table, {"a": "x", "b": "y"}),
    "map": (read_map, {"a": "x", "b": "y"}),
    "groups": (read_groups, {"a": ["x"], "b": ["y"]}),
}


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param][0]


@pytest.mark.parametrize(("reader", "expected"), READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "content",
    [b"a x\nb y\n", b"a x\nb y", b"\xef\xbb\xbfa x\r\nb y\r\n", b"\n \t\na\tx\n\r\n  b \t y  \n\n"],
    ids=["plain", "no end of the last line", "Windows", "blanks and tabs"],
)
def test_marks_line_ends_and_blanks_do_not_matter(tmp_path, reader, expected, content):
    (tmp_path / "table").write_bytes(content)
    assert reader(tmp_path / "table") == expected


def test_rows_keep_their_order(tmp_path, reader):
    (tmp_path / "table").write_text("c x\na y\nb z\n")
    assert list(reader(tmp_path / "table")) == ["c", "a", "b"]


def test_a_name_twice_is_refused_also_in_another_form(tmp_path, reader):
    (tmp_path / "table").write_text("e\u0301 x\nb x\n\n\u00e9 x\n", encoding="utf-8")
    with pytest.raises(SdpnError, match=r"table, line 4: \u00e9 stands there twice"):
        reader(tmp_path / "table")


@pytest.mark.parametrize("name", ["a\x00b", "a\x1bb", "a\u00a0b", "a\u2028b", "a\ufeffb", "a\x85b"])
def test_a_name_with_a_character_that_cannot_be_seen_is_refused(tmp_path, reader, name):
    (tmp_path / "table").write_text(f"b x\n{name} x\n", encoding="utf-8")
    with pytest.raises(SdpnError, match=r"table, line 2: .*control character"):
        reader(tmp_path / "table")


def test_names_of_any_script_are_names(tmp_path, reader):
    names = ["Zoë", "张伟", "Өнөр", "k\u200ck", "a=b:c;d"]
    (tmp_path / "table").write_text("".join(f"{name} x\n" for name in names), encoding="utf-8")
    assert list(reader(tmp_path / "table")) == names


def test_a_missing_or_empty_table_is_a_sentence_unless_it_may_be_missing(tmp_path, reader):
    for path in (tmp_path, tmp_path / "none", tmp_path / "none" / "none"):
        with pytest.raises(SdpnError, match="there is no such map of mine"):
            reader(path, "map of mine")
    assert reader(tmp_path / "none", optional=True) == {}
    (tmp_path / "blank").write_bytes(b"\xef\xbb\xbf\r\n \n")
    for optional in (False, True):
        with pytest.raises(SdpnError, match="blank: this map of mine is empty"):
            reader(tmp_path / "blank", "map of mine", optional=optional)


@pytest.mark.parametrize("content", [b"a x\nb \xe4y\n", b"\xff\xfea\x00 \x00"], ids=["Latin-1", "UTF-16"])
def test_what_is_not_utf_8_is_a_sentence(tmp_path, reader, content):
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(SdpnError, match="table: not a text file in UTF-8"):
        reader(tmp_path / "table")


def test_a_line_of_another_form_is_a_sentence(tmp_path):
    (tmp_path / "one").write_text("a x\nb\n")
    for reader in (read_table, read_map, read_groups):
        with pytest.raises(SdpnError, match=r"one, line 2: expected .* got 'b'"):
            reader(tmp_path / "one")
    (tmp_path / "three").write_text("a x y\n")
    with pytest.raises(SdpnError, match="line 1: expected `utterance speaker`, got 'a x y'"):
        read_map(tmp_path / "three")
    with pytest.raises(SdpnError, match="line 1: expected one name"):
        read_names(tmp_path / "three")


def test_the_rest_of_a_line_stays_as_it_is(tmp_path):
    (tmp_path / "wav.scp").write_text("a \t /x  y/e\u0301.wav \nb cat 'my file' |\n", encoding="utf-8")
    assert read_table(tmp_path / "wav.scp") == {"a": "/x  y/e\u0301.wav", "b": "cat 'my file' |"}


def test_groups_have_no_member_twice(tmp_path):
    (tmp_path / "spk2utt").write_text("s a b\nt c\n")
    assert read_groups(tmp_path / "spk2utt") == {"s": ["a", "b"], "t": ["c"]}
    (tmp_path / "spk2utt").write_text("s a b a\n")
    with pytest.raises(SdpnError, match="line 1: s has a twice"):
        read_groups(tmp_path / "spk2utt")


def test_names_alone_are_read(tmp_path):
    (tmp_path / "dev.lst").write_bytes(b"\xef\xbb\xbfid2\r\nid1\r\n")
    assert read_names(tmp_path / "dev.lst") == ["id2", "id1"]


def test_columns_are_read_back_as_they_were_written(tmp_path):
    write_columns(tmp_path / "skipped.tsv", [["/a b.wav", "cut off", "1 s of 2 s"], ["/a\tb\n.wav", "empty"]])
    assert (tmp_path / "skipped.tsv").read_text() == "/a b.wav\tcut off\t1 s of 2 s\n/a b .wav\tempty\n"
    assert read_columns(tmp_path / "skipped.tsv") == [["/a b.wav", "cut off", "1 s of 2 s"], ["/a b .wav", "empty"]]
    assert read_columns(tmp_path / "none", optional=True) == []
    write_columns(tmp_path / "none", [])
    assert read_columns(tmp_path / "none") == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_blocks_have_as_many_rows_as_asked_for_and_their_numbers(tmp_path, size):
    text = b"\xef\xbb\xbfa b\r\n\r\n  c\n\n \n d\x85e f g\n\n\n"
    for end in (b"", b"h", b"h\n"):
        (tmp_path / "list").write_bytes(text + end)
        blocks = list(blocks_of(tmp_path / "list", "list", size))
        rows = [[b"a", b"b"], [b"c"], [b"d\x85e", b"f", b"g"], *([[b"h"]] if end else [])]
        assert [row for block in blocks for row in block.rows] == rows
        assert [number for block in blocks for number in block.numbers] == [1, 3, 6, 9][: len(rows)]
        assert all(len(block.rows) == size for block in blocks[:-1])


def test_columns_are_those_of_lines_of_one_width(tmp_path):
    (tmp_path / "list").write_bytes(b"a b\n\n c  d\n")
    assert next(blocks_of(tmp_path / "list", "list")).columns == [[b"a", b"c"], [b"b", b"d"]]
    (tmp_path / "list").write_bytes(b"a b\nc\nd e f\n")
    assert next(blocks_of(tmp_path / "list", "list")).columns is None
    (tmp_path / "list").write_bytes(b"\n\n")
    assert list(blocks_of(tmp_path / "list", "list")) == []


def test_lines_come_with_their_numbers(tmp_path):
    (tmp_path / "list").write_text("a  b\n\n c \u2028\n", encoding="utf-8")
    assert list(lines_of(tmp_path / "list", "list")) == [(1, "a  b"), (3, "c \u2028")]


def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SdpnError, match="cannot be read: permission denied"):
        list(lines_of(tmp_path / "list", "list"))


def test_a_pipe_is_read_once_and_in_order(tmp_path, reader):
    import os

    ours, theirs = os.pipe()

    def write():
        with open(theirs, "wb") as opened:
            opened.write(b"".join(b"n%d x\n" % i for i in range(100_000)))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        found = reader(f"/dev/fd/{ours}")
    finally:
        writing.join()
        os.close(ours)
    assert list(found) == [f"n{i}" for i in range(100_000)]


def test_process_substitution_is_a_file(tmp_path):
    code = "import sys; from sdpn.tables import read_map; print(read_map(sys.argv[1], optional=True))"
    command = f"'{sys.executable}' -c '{code}' <(printf 'a x\\nb y\\n')"
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "{'a': 'x', 'b': 'y'}\n"


def test_two_ways_to_write_a_name_are_one_name():
    assert composed("e\u0301") == "\u00e9"
