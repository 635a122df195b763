import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sdpn.cluster.launch import launch


def run(code, count=2):
    return launch([sys.executable, "-c", code], count)


def test_each_process_is_told_its_rank(tmp_path):
    code = f"""
import os
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"]
open({str(tmp_path)!r} + "/" + os.environ["RANK"], "w").write(" ".join(os.environ[name] for name in names))
"""
    assert run(code) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["0 0 2 127.0.0.1", "1 1 2 127.0.0.1"]


def test_the_status_is_that_of_the_processes():
    assert run("raise SystemExit(85)") == 85


def test_one_that_fails_ends_the_others(monkeypatch):
    monkeypatch.setattr("sdpn.cluster.launch._GRACE", 0.2)
    assert run("import os, time; time.sleep(60) if os.environ['RANK'] == '0' else os._exit(3)") == 3


def test_one_that_is_killed_has_a_shells_status(monkeypatch):
    monkeypatch.setattr("sdpn.cluster.launch._GRACE", 0.2)
    assert run("import os, time; time.sleep(60) if os.environ['RANK'] == '1' else os.kill(os.getpid(), 9)") == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on(number, tmp_path):
    code = f"""
import os, pathlib, signal, time
signal.signal({int(number)}, lambda *_: os._exit(85))
pathlib.Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
time.sleep(60)
"""

    def send():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    assert run(code) == 85
    sender.join()


def signalled(number, code, count, ready):
    """The status of launching `code` where `number` comes once `ready` holds."""

    def send():
        while not ready():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    status = run(code, count)
    sender.join()
    return status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 85), (signal.SIGUSR1, 85), (signal.SIGINT, 130)])
def test_processes_that_die_of_the_signal_before_they_can_hear_it_were_stopped_by_it(number, status, tmp_path):
    code = f"""
import os, pathlib, signal, time
signal.signal({int(number)}, signal.SIG_DFL)
pathlib.Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
time.sleep(60)
"""
    assert signalled(number, code, 2, lambda: len(list(tmp_path.iterdir())) == 2) == status


def test_a_process_killed_by_a_signal_that_was_not_passed_on_has_a_shells_status():
    assert run("import os; os.kill(os.getpid(), 15)") == 143


def test_one_that_does_not_hear_the_signal_is_ended_after_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr("sdpn.cluster.launch._GRACE", 0.2)
    code = f"""
import os, pathlib, signal, time
first = os.environ["RANK"] == "0"
signal.signal(signal.SIGTERM, (lambda *_: os._exit(85)) if first else signal.SIG_IGN)
pathlib.Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
time.sleep(60)
"""
    begin = time.monotonic()
    assert signalled(signal.SIGTERM, code, 2, lambda: len(list(tmp_path.iterdir())) == 2) == 85
    assert time.monotonic() - begin < 30


def test_one_that_fails_for_want_of_a_stopped_one_was_stopped_too(tmp_path):
    code = f"""
import os, pathlib, signal, time
here = pathlib.Path({str(tmp_path)!r})
if os.environ["RANK"] == "0":
    signal.signal(signal.SIGTERM, lambda *_: ((here / "left").touch(), os._exit(85)))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / os.environ["RANK"]).touch()
while not (here / "left").exists():
    time.sleep(0.01)
raise SystemExit(1)
"""
    assert signalled(signal.SIGTERM, code, 2, lambda: len(list(tmp_path.iterdir())) == 2) == 85


def test_a_signal_that_comes_while_processes_are_begun_reaches_all(monkeypatch, tmp_path):
    begin, begun = subprocess.Popen, []

    def begin_and_signal(*arguments, **settings):
        begun.append(begin(*arguments, **settings))
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return begun[-1]

    monkeypatch.setattr("sdpn.cluster.launch.subprocess.Popen", begin_and_signal)
    started = time.monotonic()
    assert run("import time; time.sleep(60)", count=3) == 85
    assert time.monotonic() - started < 15
