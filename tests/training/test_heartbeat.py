"""Ranks on real processes: one that hangs, and one that is asked to stop while another hangs."""

import signal
import socket
import subprocess
import sys
import time

import pytest

RANK = """
import signal, sys
import torch.distributed as dist
from sdpn.training import heartbeat

heartbeat.BEAT, heartbeat.SILENT, heartbeat.DEAF = 0.1, float(sys.argv[3]), float(sys.argv[4])
signal.signal(signal.SIGUSR1, lambda *_: None)
rank, port = int(sys.argv[1]), int(sys.argv[2])
if rank == 0:
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
with heartbeat.heartbeats(rank, 2, "127.0.0.1", port):
    print("watched", flush=True)
    if sys.argv[5] == "in C":
        import ctypes

        ctypes.CDLL(None).pause()  # as in a collective: no handler of Python's runs
    sys.stdin.read()
"""


@pytest.fixture
def ranks():
    """Start two ranks: a function of SILENT, DEAF and where they wait."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start(silent: float, deaf: float, waiting: str) -> list[subprocess.Popen]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        for rank in range(2):
            words = [sys.executable, "-c", RANK, str(rank), str(port), str(silent), str(deaf), waiting]
            started.append(subprocess.Popen(words, text=True, **pipes))
        for process in started:
            assert process.stdout.readline() == "watched\n"
        return started

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_rank_that_hangs_makes_the_others_leave_with_the_status_that_asks_for_another_start(ranks):
    first, second = ranks(2.0, 60.0, "in Python")
    time.sleep(0.5)  # for a few signs of life
    second.send_signal(signal.SIGSTOP)
    assert first.wait(60) == 85
    assert "heard nothing of rank 1" in first.stderr.read()


def test_a_rank_that_waits_in_vain_hears_that_it_is_to_stop(ranks):
    first, second = ranks(600.0, 0.5, "in C")
    for process in (first, second):
        process.send_signal(signal.SIGUSR1)
    assert (first.wait(60), second.wait(60)) == (85, 85)
    assert "was asked to stop" in first.stderr.read()


def test_ranks_that_end_leave_in_peace(ranks):
    for process in ranks(600.0, 600.0, "in Python"):
        process.communicate(timeout=60)
        assert process.returncode == 0
