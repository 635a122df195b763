import pytest

from sdpn.shards import Work


@pytest.fixture
def work(tmp_path):
    (tmp_path / "out.txt").write_text("four")
    work = Work(tmp_path, "out", {"inputs": "a", "options": 1})
    work.finish([tmp_path / "out.txt"], skipped=2)
    return work


def test_finished_work_holds_and_keeps_its_report(work):
    assert work.stale_reason() is None
    assert work.report() == {"skipped": 2}
    assert not work.is_new()


def test_work_never_done_is_new(tmp_path):
    work = Work(tmp_path, "other", {})
    assert work.is_new()
    assert work.stale_reason() == "not done yet"
    assert work.report() == {}


def test_a_changed_fingerprint_is_named(work, tmp_path):
    assert Work(tmp_path, "out", {"inputs": "b", "options": 1}).stale_reason() == "inputs changed"
    assert Work(tmp_path, "out", {"inputs": "a"}).stale_reason() == "options changed"


def test_outputs_that_went_missing_or_were_cut_off_are_named(work, tmp_path):
    (tmp_path / "out.txt").write_text("fou")
    assert work.stale_reason() == "out.txt has another size"
    (tmp_path / "out.txt").unlink()
    assert work.stale_reason() == "out.txt is missing"


def test_work_that_was_begun_again_is_not_done(work):
    work.begin()
    assert work.stale_reason() == "not done yet"


def test_a_damaged_done_file_does_not_count(work):
    for content in (b'{"fingerprint": {', b"[]", b"\xff", b'{"fingerprint": 3, "outputs": {}, "report": {}}'):
        work.done_file.write_bytes(content)
        assert work.stale_reason() == "not done yet"
