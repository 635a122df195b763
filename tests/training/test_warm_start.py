import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.models.folder import read_model, write_model
from sdpn.training.fit import fit
from sdpn.training.trainer import Trainer
from sdpn.training.warm_start import begin_with, read_start
from tests.training.test_fit import lines

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny, prepared_data, tmp_path):
    """The folder of a model with other sizes than the tiny training's."""
    index = FeatureIndex.open(prepared_data / "train")
    config = tiny(channels=16, embedding_size=12)
    encoder = Trainer(config, index.num_bins, 3, CPU).student.encoder
    write_model(tmp_path / "model", encoder, config.network_settings(index.num_bins), index.config.spectral())
    return tmp_path / "model"


def test_a_training_begins_with_the_encoder_and_takes_its_network(model, tiny, crops, prepared_data, tmp_path):
    start = read_start(model, FeatureIndex.open(prepared_data / "train"))
    config, sentences = begin_with(start, tiny(), {})
    assert (config.channels, config.embedding_size) == (16, 12)
    assert config.lr == 0.25 * tiny().lr
    assert any("lr lowered from 0.1 to 0.025" in sentence for sentence in sentences)
    trainer = Trainer(config, 20, 3, CPU, encoder=start.encoder)
    for network in (trainer.student, trainer.teacher):
        for name, tensor in start.encoder.state_dict().items():
            assert torch.equal(network.encoder.state_dict()[name], tensor)
    outputs = fit(config, crops(config), tmp_path / "exp", CPU, start=start)
    assert not (tmp_path / "exp" / "systems").exists()  # what it began with is no untrained network
    assert all(path.exists() for path in outputs)
    assert read_model(tmp_path / "exp" / "model")[1]["network"] == start.network
    assert lines(tmp_path / "exp")[-1]["step"] == 12


def test_a_rate_that_is_given_stays_and_another_network_is_refused(model, tiny, prepared_data):
    start = read_start(model, FeatureIndex.open(prepared_data / "train"))
    assert begin_with(start, tiny(lr=0.3), {"lr": 0.3})[0].lr == 0.3
    with pytest.raises(SdpnError, match=r"--channels is 32, but .* has 16: leave it out"):
        begin_with(start, tiny(channels=32), {"channels": 32})


def test_other_features_are_refused_with_the_line_that_makes_them(model, prepared_data, tmp_path):
    index = FeatureIndex.open(prepared_data / "train")
    encoder, config = read_model(model)
    other = config["features"] | {"low_freq": 40.0, "snip_edges": True}
    write_model(tmp_path / "other", encoder, config["network"], other)
    with pytest.raises(SdpnError, match=r"`steps/make_fbank.py --low-freq 40.0 --snip-edges DATA`"):
        read_start(tmp_path / "other", index)
