import pytest
import yaml

from sdpn import config
from sdpn.errors import SdpnError
from sdpn.training.config import TrainConfig, read_settings


def test_the_config_of_an_experiment_is_read_with_what_it_records(tmp_path):
    path = tmp_path / "config.yaml"
    recorded = {
        "augment": {"augment": "off", "p_mask": 0.25, "p_equalize": 0.5},
        "inputs": {"features": "f", "banks": "b"},
    }
    path.write_text(yaml.safe_dump({**config.to_dict(TrainConfig(seed=7)), **recorded}))
    found = read_settings(path, {"epochs": 30})
    assert (found.train.seed, found.train.epochs) == (7, 30)
    assert (found.augment, found.inputs) == (recorded["augment"], recorded["inputs"])


def test_an_experiment_that_does_not_speak_of_equalization_had_none(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump({**config.to_dict(TrainConfig()), "augment": {"augment": "mel"}, "inputs": {"banks": "b"}})
    )
    assert read_settings(path).augment == {"augment": "mel", "p_equalize": 0.0}
    path.write_text(yaml.safe_dump(config.to_dict(TrainConfig())))
    assert read_settings(path).augment == {}  # a file of conf/sdpn: conf/augment.yaml says it
    path.write_text("augment:\n  p_both: 0.5\n")  # but for what it says itself
    assert read_settings(path).augment == {"p_both": 0.5}


def test_what_is_neither_a_setting_nor_recorded_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("augment: mel\n")
    with pytest.raises(SdpnError, match="'augment' is 'mel', where settings are expected below it"):
        read_settings(path)
    path.write_text("augment:\n  p_noise: 3\n")
    with pytest.raises(SdpnError, match=f"{path}: unknown key 'augment.p_noise'"):
        read_settings(path)
    path.write_text("epoch: 3\n")
    with pytest.raises(SdpnError, match="unknown key 'epoch'"):
        read_settings(path)
