import os
import signal
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
