import pickle

import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.models.folder import read_model, write_model
from sdpn.models.registry import build_encoder

NETWORK = {"network": "ecapa", "num_bins": 10, "channels": 8, "embedding_size": 4}


def test_a_model_reads_back_as_written_in_evaluation_mode(tmp_path):
    encoder = build_encoder(**NETWORK)
    encoder(torch.randn(3, 20, 10))
    write_model(tmp_path, encoder, NETWORK, {"num_mel_bins": 10})
    again, config = read_model(tmp_path)
    assert config == {"network": NETWORK, "features": {"num_mel_bins": 10}}
    assert not again.training
    features = torch.randn(2, 30, 10)
    torch.testing.assert_close(again(features), encoder.eval()(features), rtol=0, atol=0)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    encoder = build_encoder(**NETWORK)
    for name in ("a", "b"):
        write_model(tmp_path / name, encoder, NETWORK, {})
    assert (tmp_path / "a" / "weights.pt").read_bytes() == (tmp_path / "b" / "weights.pt").read_bytes()


def test_a_folder_without_a_model_says_which_stage_makes_it(tmp_path):
    with pytest.raises(SdpnError, match="run stage 4 first"):
        read_model(tmp_path)


def test_a_cut_off_file_is_a_sentence(tmp_path):
    weights, _ = write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SdpnError, match="no readable model"):
        read_model(tmp_path)


def test_nothing_in_a_model_is_executed(tmp_path):
    class Mischief:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    weights, _ = write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    weights.write_bytes(pickle.dumps(Mischief(), protocol=2))
    with pytest.raises(SdpnError, match="no readable model"):
        read_model(tmp_path)
    assert not (tmp_path / "executed").exists()
