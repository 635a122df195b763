import errno
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest

from sdpn.errors import SdpnError
from sdpn.files import atomic_path, digest, exclusive, refuse_unwritable, write_jsonl_gz, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "scores.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["scores.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    scores, hdf5 = tmp_path / "scores.txt", tmp_path / "feats.h5"
    with pytest.raises(SdpnError, match=r"cannot write .*scores.txt: the disk is full"), atomic_path(scores):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SdpnError, match="the disk is full"), atomic_path(hdf5):
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/x.txt", "a file is where a folder should be"),
        ("file/sub/x.txt", "a file is where a folder should be"),
        ("folder", "a folder is where a file should be"),
    ],
)
def test_where_a_file_cannot_be_is_one_sentence_before_and_when_it_is_written(tmp_path, name, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SdpnError, match=f"^cannot write {tmp_path / name}: {reason}"):
        refuse_unwritable(tmp_path / name)
    with pytest.raises(SdpnError, match=f"^cannot write {tmp_path / name}: {reason}"):
        write_text(tmp_path / name, "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_folder_that_may_not_be_written_is_noticed_before():
    """As another user where the tests run as root, whom nothing is forbidden."""
    with tempfile.TemporaryDirectory() as name:
        for missing in ("", "sub"):
            refuse_unwritable(Path(name) / missing / "x.txt")
        assert not os.listdir(name)
        os.chmod(name, 0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(SdpnError, match=f"cannot write {name}/sub/x.txt: permission denied"):
                refuse_unwritable(Path(name) / "sub" / "x.txt")
        finally:
            os.seteuid(user)


def test_the_temporary_name_keeps_the_suffixes(tmp_path):
    with atomic_path(tmp_path / "cuts.jsonl.gz") as temporary:
        assert temporary.name.endswith(".jsonl.gz")
        temporary.write_text("")


def test_equal_records_give_equal_bytes(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl_gz(tmp_path / name, ({"id": f"ü{i}"} for i in range(3)))
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def _hold(directory, held, leave):
    with exclusive(directory):
        held.set()
        leave.wait(10)


def test_a_second_run_in_the_same_folder_says_so_and_stops(tmp_path):
    context = multiprocessing.get_context("fork")
    held, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, leave))
    other.start()
    assert held.wait(10)
    with pytest.raises(SdpnError, match="another run is writing into"), exclusive(tmp_path):
        pass
    leave.set()
    other.join()
    with exclusive(tmp_path):
        pass


def test_work_on_several_folders_keeps_out_its_like_alone(tmp_path):
    half = tmp_path / ".feats.partial-123.ark"
    half.write_text("half")
    with exclusive(tmp_path, "fbank"):
        with pytest.raises(SdpnError, match="another run is writing into"), exclusive(tmp_path, "fbank"):
            pass
        assert half.exists()
        with exclusive(tmp_path), exclusive(tmp_path, "xvectors"):
            assert not half.exists()


def test_leftovers_of_a_killed_run_are_removed_but_not_from_folders_locked_on_their_own(tmp_path):
    leftovers = [tmp_path / ".feats.partial-123.0001.ark", tmp_path / "done" / ".feats.partial-123.0001.json"]
    other = tmp_path / "train" / ".feats.partial-7.ark"
    for path in (*leftovers, other, tmp_path / "train" / ".lock"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with exclusive(tmp_path):
        assert not any(path.exists() for path in leftovers)
        assert other.exists()


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "exp").write_text("")
    with pytest.raises(SdpnError, match="a file is where a folder should be"), exclusive(tmp_path / "exp"):
        pass
    with pytest.raises(SdpnError, match="a file is where a folder should be"), exclusive(tmp_path / "exp" / "toy"):
        pass


def test_digests_tell_the_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
