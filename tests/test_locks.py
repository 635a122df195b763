import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdpn import locks
from sdpn.errors import SdpnError
from sdpn.files import atomic_path, exclusive
from sdpn.locks import Holder, is_held, partial_name, remove_partial

HOLD = """
import sys, time, fcntl, errno
from pathlib import Path
from sdpn.files import exclusive
if sys.argv[2] == "none":
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")
    fcntl.flock = refuse
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["kernel", "none"])
def flock(request, monkeypatch):
    """A file system with locks of the kernel's, and one without."""
    if request.param == "none":

        def refuse(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


@pytest.fixture
def holding(tmp_path, flock):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), flock]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_it_is_said_who_holds_a_folder_and_since_when(tmp_path, holding):
    sentence = rf"another run .* \(process {holding.pid} on .*, since 2\d\d\d-"
    with pytest.raises(SdpnError, match=sentence), exclusive(tmp_path):
        pass
    assert is_held(tmp_path / ".lock")


def test_a_dead_holder_holds_nothing(tmp_path, holding, flock, capfd):
    holding.kill()
    holding.wait()
    assert not is_held(tmp_path / ".lock")
    with exclusive(tmp_path):
        pass
    said = capfd.readouterr().out
    assert (f"process {holding.pid}" in said and "it is dead" in said) == (flock == "none")
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_a_folder_is_free_when_its_holder_has_ended(tmp_path, holding):
    holding.communicate("")
    with exclusive(tmp_path):
        pass


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A lock file that a process of another machine has made, on a file system without locks of the kernel's."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / ".lock.holder"
    path.write_text(json.dumps({"host": "node9", "job": "17", "pid": 4, "begun": 1, "since": 1e9}))
    return path


def test_the_holder_on_another_machine_is_named_with_its_job(tmp_path, elsewhere):
    with pytest.raises(SdpnError, match="process 4 of the Slurm job 17 on node9"), exclusive(tmp_path):
        pass
    assert elsewhere.exists()


def test_one_on_another_machine_without_a_sign_of_life_is_dead(tmp_path, elsewhere, capsys):
    os.utime(elsewhere, (time.time() - locks.DEAD - 60,) * 2)
    with exclusive(tmp_path):
        assert Holder.read(elsewhere).pid == os.getpid()
    assert "taken from process 4 of the Slurm job 17 on node9" in capsys.readouterr().out


def test_a_holder_shows_signs_of_life(tmp_path, elsewhere, monkeypatch):
    elsewhere.unlink()
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with exclusive(tmp_path):
        os.utime(elsewhere, (1.0, 1.0))
        limit = time.monotonic() + 20
        while elsewhere.stat().st_mtime == 1.0 and time.monotonic() < limit:
            time.sleep(0.01)
        assert elsewhere.stat().st_mtime > 1.0


def test_only_what_dead_processes_have_left_is_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = partial_name(tmp_path / "feats.ark")
    ended = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{dead.pid}."))
    other = mine.with_name(f".feats.partial-node9-17-{dead.pid}.ark")
    old = mine.with_name(f".feats.partial-node9-18-{dead.pid}.ark")
    for path in (mine, ended, other, old):
        path.write_text("half")
    os.utime(old, (1.0, 1.0))
    remove_partial(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, other}


def test_a_temporary_name_keeps_the_suffixes(tmp_path):
    with atomic_path(tmp_path / "cuts.jsonl.gz") as temporary:
        assert temporary.name.startswith(".cuts.partial-") and temporary.name.endswith(".jsonl.gz")
        temporary.write_text("whole")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["cuts.jsonl.gz"]
