from pathlib import Path

import pytest

from sdpn.config import read
from sdpn.errors import SdpnError
from sdpn.models.frames import PADDINGS
from sdpn.models.input_norm import INPUT_NORMS
from sdpn.models.pooling import POOLINGS
from sdpn.models.registry import ENCODERS, build_encoder
from sdpn.training import config
from sdpn.training.config import TrainConfig, read_settings

CONF = Path(__file__).parents[2] / "conf" / "sdpn"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"chanels": 8}, "unknown key 'chanels'; allowed here: "),
        ({"network": "wav2vec"}, "'network' is 'wav2vec'; allowed: ecapa, resnet34, xvector"),
        ({"channels": 20}, "channels is 20; expected a multiple of 8"),
        ({"network": "resnet34", "padding": "reflect"}, "padding is reflect; network resnet34 knows zeros only"),
        ({"average_checkpoints": 4}, r"average_checkpoints is 4; expected at most keep_checkpoints \(3\)"),
        ({"accumulate": 5}, r"accumulate is 5; expected a number that divides batch_size \(384\)"),
        ({"epochs": 3}, r"warmup_epochs is 10; expected at most epochs \(3\)"),
        ({"precision": "float16"}, "'precision' is 'float16'; allowed: auto, float32, bfloat16"),
        ({"seed": 2**63}, "'seed' is 9223372036854775808; expected a whole number at least 0 and at most 9.2"),
        ({"lr": "high"}, "'lr' is 'high'; expected a number"),
        ({"input_norm": "cmvn"}, "'input_norm' is 'cmvn'; allowed: instance, mean, level, none"),
        ({"input_mean_share": 0.5}, "input_mean_share is 0.5; input_norm instance has none"),
    ],
)
def test_a_mistake_is_one_sentence(settings, sentence):
    with pytest.raises(SdpnError, match=sentence):
        read(None, TrainConfig, settings)


def test_every_network_has_its_usual_width():
    assert {name: read(None, TrainConfig, {"network": name}).width for name in ENCODERS} == config.USUAL_CHANNELS
    assert read(None, TrainConfig, {"network": "resnet34", "channels": 64}).width == 64


@pytest.mark.parametrize("network", ENCODERS)
def test_a_configuration_describes_a_network_that_can_be_built(network):
    settings = read(None, TrainConfig, {"network": network, "channels": 8}).network_settings(num_bins=20)
    assert build_encoder(**settings).embedding_size == 512


def test_the_choices_are_those_of_the_networks():
    assert config.POOLINGS == POOLINGS
    assert config.PADDINGS == PADDINGS
    assert config.INPUT_NORMS == INPUT_NORMS


@pytest.mark.parametrize("name", ["paper", "frobenius", "reference"])
def test_the_published_settings_normalize_their_input_as_published(name):
    assert read_settings(CONF / f"{name}.yaml").train.input_norm == "instance"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_training_that_is_offered_can_be_read(path):
    read_settings(path)
