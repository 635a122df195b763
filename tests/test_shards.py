import hashlib
import json
import os
from dataclasses import dataclass

import pytest

from sdpn.files import RECORD_DIGEST, digest
from sdpn.shards import Work


@dataclass(frozen=True)
class Settings:
    num_mel_bins: int = 80
    snr: tuple[float, float] = (0.0, 15.0)


@pytest.fixture
def finish(tmp_path):
    """Finish a piece of work made from the inputs given."""

    def finish(inputs, **options):
        (tmp_path / "out.txt").write_text("four")
        Work(tmp_path, "out", inputs).finish([tmp_path / "out.txt"], **options)

    return finish


@pytest.fixture
def reason(tmp_path):
    """Ask whether the work holds with the inputs given."""
    return lambda inputs: Work(tmp_path, "out", inputs).stale_reason()


@pytest.fixture
def aged():
    """Write a file that was last changed long ago."""

    def write(path, text):
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
        return path

    return write


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read to be hashed, in order."""
    read = []
    compute = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda opened, name: read.append(opened.name) or compute(opened, name))
    return read


def test_finished_work_holds_and_keeps_its_report(tmp_path, finish):
    finish({"settings": Settings(), "seed": 1}, skipped=2)
    work = Work(tmp_path, "out", {"settings": Settings(), "seed": 1})
    assert work.stale_reason() is None
    assert work.report() == {"skipped": 2}
    assert not work.is_new()


def test_work_never_done_is_new(tmp_path):
    work = Work(tmp_path, "other", {})
    assert work.is_new()
    assert work.stale_reason() == "not done yet"
    assert work.report() == {}


def test_a_changed_setting_is_named_with_both_values(finish, reason):
    finish({"fbank": Settings(), "seed": None})
    assert reason({"fbank": Settings(num_mel_bins=40), "seed": None}) == "fbank.num_mel_bins was 80, is 40"
    changed = reason({"fbank": Settings(snr=(0.0, 5.0)), "seed": 3})
    assert changed == "fbank.snr was [0.0, 15.0], is [0.0, 5.0]; seed was nothing, is 3"


def test_settings_may_be_dictionaries_and_dataclasses_alike(finish, reason):
    finish({"fbank": Settings()})
    assert reason({"fbank": {"num_mel_bins": 80, "snr": [0.0, 15.0]}}) is None


def test_inputs_that_come_or_go_are_named(finish, reason):
    finish({"a": 1})
    assert reason({"b": 2}) == "b was not recorded, is 2; a was 1, does not count any more"


def test_of_many_changes_some_are_named_and_the_others_counted(finish, reason):
    finish({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1})
    changed = reason({"a": 2, "b": 2, "c": 2, "d": 2, "e": 2})
    assert "a was 1, is 2" in changed and "and 2 more" in changed


def test_a_record_that_lacks_most_inputs_is_told_to_be_an_older_one(finish, reason):
    finish({"options": digest("all of them"), "a": 1})
    assert "was not recorded" in reason(dict.fromkeys("abcd", 1))  # three may be named
    said = reason(dict.fromkeys("abcde", 1))
    assert "4 of its 5 inputs" in said and "older version" in said


def test_a_digest_is_not_shown(finish, reason):
    finish({"utterances": digest([1])})
    assert reason({"utterances": digest([2])}) == "utterances changed"


def test_a_file_counts_by_its_content_wherever_it_lies(tmp_path, finish, reason):
    path, copy = tmp_path / "eval.txt", tmp_path / "copy.txt"
    path.write_text("a b target\n")
    finish({"trials": path})
    copy.write_text("a b target\n")
    assert reason({"trials": copy}) is None
    path.write_text("a c target\n")
    assert reason({"trials": path}) == f"{path} changed"
    path.unlink()
    assert reason({"trials": path}) == f"{path} is gone"


def test_a_file_that_was_missing_and_is_there_now_is_new(tmp_path, finish, reason):
    path = tmp_path / "skipped.tsv"
    finish({"left out": path})
    assert reason({"left out": path}) is None
    path.write_text("a\n")
    assert reason({"left out": path}) == f"{path} is new"


def test_another_step_counts_by_its_fingerprint_and_its_reason_is_told(tmp_path, finish, reason):
    cuts = Work(tmp_path, "cuts", {"min_duration": 1.0})
    cuts.finish([])
    finish({"cuts": cuts})
    assert reason({"cuts": Work.finished(tmp_path, "cuts")}) is None
    longer = Work(tmp_path, "cuts", {"min_duration": 2.0})
    assert reason({"cuts": longer}) == "cuts: min_duration was 1.0, is 2.0"
    longer.finish([])
    assert reason({"cuts": longer}) == "cuts changed"


def test_outputs_that_went_missing_or_were_cut_off_are_named(tmp_path, finish, reason):
    finish({})
    (tmp_path / "out.txt").write_text("fou")
    assert reason({}) == "out.txt has another size"
    (tmp_path / "out.txt").unlink()
    assert reason({}) == "out.txt is missing"


def test_an_output_that_was_changed_is_noticed_unless_it_checks_itself(tmp_path, finish, reason):
    finish({}, checked=[tmp_path / "out.txt"])
    (tmp_path / "out.txt").write_text("FOUR")
    assert reason({}) is None
    finish({})
    assert reason({}) is None
    (tmp_path / "out.txt").write_text("FOUR")
    assert reason({}) == "out.txt has been changed"


@pytest.mark.parametrize(("old", "new"), [("skipped", "skippet"), ('"seed": 1', '"seed": 3'), (": 7", ": 6")])
def test_a_record_that_was_changed_is_none(tmp_path, finish, old, new):
    finish({"seed": 1}, skipped=7)
    record = Work(tmp_path, "out", {"seed": 1}).done_file
    text = record.read_text()
    record.write_text(text.replace(old, new))
    assert record.read_text() != text
    assert Work(tmp_path, "out", {"seed": 1}).stale_reason() == "not done yet"


def test_a_record_of_an_earlier_version_holds(tmp_path, finish):
    finish({"seed": 1}, skipped=7)
    work = Work(tmp_path, "out", {"seed": 1})
    record = json.loads(work.done_file.read_text())
    del record[RECORD_DIGEST]
    work.done_file.write_text(json.dumps({**record, "outputs": {"out.txt": 4}}))
    assert work.stale_reason() is None and work.report() == {"skipped": 7}


def test_a_file_is_read_once_a_run(tmp_path, aged, finish, reason, hashed):
    path = aged(tmp_path / "xvector.ark", "vectors")
    finish({"x-vectors": path})
    assert reason({"x-vectors": path, "more": 1}) and reason({"x-vectors": path}) is None
    assert hashed.count(str(path)) == 1


def test_a_file_of_the_same_size_that_was_written_since_is_read_again(tmp_path, aged, finish, reason):
    path = aged(tmp_path / "xvector.ark", "vectors")
    finish({"x-vectors": path})
    aged(path, "VECTORS")
    assert reason({"x-vectors": path}) == f"{path} changed"


def test_inputs_are_recorded_as_they_were_before_the_work(tmp_path, aged, reason):
    path = aged(tmp_path / "list.txt", "before")
    work = Work(tmp_path, "out", {"list": path})
    assert work.stale_reason() == "not done yet"
    work.begin()
    aged(path, "after!")
    work.finish([])
    assert reason({"list": path}) == f"{path} changed"


def test_work_that_was_begun_again_is_not_done(tmp_path, finish, reason):
    finish({})
    Work(tmp_path, "out", {}).begin()
    assert reason({}) == "not done yet"


def test_a_damaged_done_file_does_not_count(tmp_path, finish):
    finish({})
    work = Work(tmp_path, "out", {})
    for content in (b'{"fingerprint": {', b"[]", b"\xff", b'{"fingerprint": 3, "outputs": {}, "report": {}}'):
        work.done_file.write_bytes(content)
        assert work.stale_reason() == "not done yet"
