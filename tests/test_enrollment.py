import json
import multiprocessing

import numpy as np
import pytest

from sdpn.enrollment import Enrollment, check_name, held
from sdpn.errors import SdpnError


def vectors(count):
    return np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)


def test_speakers_read_back_to_the_last_bit(tmp_path):
    enrollment = Enrollment.read(tmp_path / "s.json", "model", 5, may_be_new=True)
    one, two = vectors(2) * 1e-7
    enrollment.speakers = {"Anna Ö": {"a b.wav": one, "c.wav": two}, "bob": {"d.wav": -one}}
    enrollment.write()
    found = Enrollment.read(tmp_path / "s.json", "model", 5).speakers
    assert list(found) == ["Anna Ö", "bob"] and list(found["Anna Ö"]) == ["a b.wav", "c.wav"]
    np.testing.assert_array_equal(found["Anna Ö"]["c.wav"], two)
    np.testing.assert_array_equal(found["bob"]["d.wav"], -one)
    assert json.loads((tmp_path / "s.json").read_text())["format"] == "sdpn enrollment 1"


def add(path, name):
    with held(path):
        enrollment = Enrollment.read(path, "model", 5, may_be_new=True)
        enrollment.speakers[name] = {"a.wav": vectors(1)[0]}
        enrollment.write()


def test_a_byte_order_mark_that_an_editor_left_is_skipped(tmp_path):
    path = tmp_path / "s.json"
    add(path, "Eve")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(Enrollment.read(path, "model", 5).speakers) == ["Eve"]


def test_two_at_once_lose_nobody(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add, args=(tmp_path / "s.json", f"speaker{i}")) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Enrollment.read(tmp_path / "s.json", "model", 5).speakers) == 6


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file: `sdpn enroll` makes it"),
        ("", "damaged, or not a file"),
        ("[]", "damaged, or not a file"),
        ('{"format": "another"}', "damaged, or not a file"),
        ('{"format": "sdpn enrollment 1", "model": "m", "speakers": {"a": {"f": ["x"]}}}', "damaged, or not a file"),
        ('{"format": "sdpn enrollment 1", "model": "m", "speakers": {"a": {"f": [NaN]}}}', "damaged, or not a file"),
        (
            '{"format": "sdpn enrollment 1", "model": "m", "speakers": {"a": {"f": [1e99, 1]}}}',
            "damaged, or not a file",
        ),
        ('{"format": "sdpn enrollment 1", "model": "m", "speakers": {"": {"f": [1, 2]}}}', "damaged, or not a file"),
        ("[" * 100_000, "damaged, or not a file"),
        (
            '{"format": "sdpn enrollment 1", "model": "m", "speakers": {"a": {"f": [1, 2], "g": [1]}}}',
            "of 'a' is damaged",
        ),
        ('{"format": "sdpn enrollment 1", "model": "m", "speakers": {"a": {}}}', "the entry of 'a' is damaged"),
        ('{"format": "sdpn enrollment 1", "model": "other", "speakers": {}}', "were enrolled with another model"),
    ],
)
def test_what_is_no_enrollment_is_a_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "s.json").write_text(content)
    with pytest.raises(SdpnError, match=sentence):
        Enrollment.read(tmp_path / "s.json", "m", 2)


def test_a_folder_is_no_enrollment(tmp_path):
    with pytest.raises(SdpnError, match="damaged, or not a file"):
        Enrollment.read(tmp_path, "m", 2)


@pytest.mark.parametrize("name", ["", " ", "-", "an\nna", "an\x00na"])
def test_a_name_is_a_line_of_text(name):
    with pytest.raises(SdpnError, match="is no name"):
        check_name(name)
    check_name("Anna Ö-|")
