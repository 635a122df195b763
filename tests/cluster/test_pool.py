import os
import signal

import pytest

from sdpn.cluster.pool import run_jobs
from sdpn.errors import SdpnError


def _square(number):
    return number * number


def _refuse(number):
    if number == 3:
        raise SdpnError("three is not allowed")
    return number


def _die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("nj", [1, 3])
def test_every_job_is_run_once(nj):
    assert sorted(run_jobs(_square, [(i,) for i in range(7)], nj)) == [i * i for i in range(7)]


@pytest.mark.parametrize("nj", [1, 2])
def test_the_first_error_is_raised(nj):
    with pytest.raises(SdpnError, match="three is not allowed"):
        list(run_jobs(_refuse, [(i,) for i in range(6)], nj))


def test_a_killed_worker_is_a_sentence():
    with pytest.raises(SdpnError, match="a worker process was killed"):
        list(run_jobs(_die, [(1,), (2,)], 2))
