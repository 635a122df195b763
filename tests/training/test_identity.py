import pytest
import yaml

from sdpn.errors import SdpnError
from sdpn.training.sitting import claim, training_work

SETTINGS = {"lr": 0.1, "epochs": 3, "log_every": 10, "augment": {"p_mask": 0.2}, "inputs": {"features": "a1"}}


def begin(exp):
    """What a training has saved after a while."""
    claim(exp, SETTINGS)
    (exp / "checkpoints").mkdir()
    (exp / "checkpoints" / "step-000000001.pt").write_bytes(b"")


def test_the_settings_are_written_and_read_back(tmp_path):
    claim(tmp_path, SETTINGS)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == SETTINGS


def test_the_same_settings_go_on(tmp_path):
    begin(tmp_path)
    claim(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 0.3}, "lr was 0.1, is 0.3"),
        ({"augment": {"p_mask": 0.5}}, "augment.p_mask was 0.2, is 0.5"),
        ({"inputs": {"features": "b2"}}, "the features were made anew or stored in another form"),
        ({"lr": 0.3, "epochs": 4}, "lr was 0.1, is 0.3; epochs was 3, is 4"),
    ],
)
def test_other_settings_are_refused_and_what_differs_is_named(changed, words, tmp_path):
    begin(tmp_path)
    with pytest.raises(SdpnError, match="holds another training: ") as refusal:
        claim(tmp_path, SETTINGS | changed)
    assert words in str(refusal.value)
    assert f"choose another experiment folder, or remove {tmp_path} to train anew" in str(refusal.value)


def test_what_decides_only_what_is_watched_may_change(tmp_path):
    begin(tmp_path)
    claim(tmp_path, SETTINGS | {"log_every": 99, "compile": True})
    work = training_work(tmp_path, SETTINGS)
    work.finish([])
    assert training_work(tmp_path, SETTINGS | {"log_every": 99, "compile": True}).stale_reason() is None


def test_when_checkpoints_are_taken_decides_a_mean_of_them(tmp_path):
    averaged = SETTINGS | {"average_checkpoints": 2, "checkpoint_every": 10}
    claim(tmp_path, averaged)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000000001.pt").write_bytes(b"")
    with pytest.raises(SdpnError, match="checkpoint_every was 10, is 20"):
        claim(tmp_path, averaged | {"checkpoint_every": 20})


def test_a_folder_where_nothing_was_saved_yet_may_be_claimed_by_another(tmp_path):
    claim(tmp_path, SETTINGS)
    claim(tmp_path, SETTINGS | {"lr": 0.3})
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["lr"] == 0.3


@pytest.mark.parametrize("content", [None, "", "a: [", "- 1"])
def test_a_training_whose_settings_are_lost_is_not_taken_up(content, tmp_path):
    begin(tmp_path)
    (tmp_path / "config.yaml").unlink()
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(SdpnError, match="missing or unreadable"):
        claim(tmp_path, SETTINGS)
