import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.training.devices import choose_device


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(SdpnError, match="torch finds no GPU here"):
        choose_device(1)


def test_more_gpus_than_there_are_are_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(2) == torch.device("cuda", 0)
    with pytest.raises(SdpnError, match="--ngpu is 3 but torch finds only 2 here: use --ngpu 2"):
        choose_device(3)


def test_each_process_has_a_gpu_of_its_own_of_those_it_sees(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(1, local).index for local in range(2)] == [0, 1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # as Slurm shows them to a task
    assert choose_device(1, 1).index == 0
    assert [device.index for device in chosen] == [0, 1, 0]
