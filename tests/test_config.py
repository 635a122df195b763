from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sdpn import config
from sdpn.augment.config import AugmentConfig
from sdpn.backend.config import BackendConfig
from sdpn.corpus.config import CutsConfig
from sdpn.errors import SdpnError
from sdpn.extraction.config import ExtractionConfig
from sdpn.features.config import FbankConfig
from sdpn.training.config import TrainConfig, read_settings

NEWER = ("p_equalize", "p_band_limit")
"""Keys whose default is what experiments did that were recorded before there were such keys."""
CONF = Path(__file__).parents[1] / "conf"


@dataclass(frozen=True)
class Room:
    width: float = config.value(3.0, above=0)


@dataclass(frozen=True)
class Example:
    epochs: int = config.value(10, "how long", at_least=1)
    rate: float = config.value(0.1, above=0, at_most=1)
    kind: str = config.value("a", one_of=("a", "b"))
    snr: tuple[float, float] = config.value((0.0, 15.0))
    limit: int | None = config.value(None)
    room: Room = field(default_factory=Room)

    def check(self) -> None:
        if self.snr[0] > self.snr[1]:
            raise ValueError("snr is reversed")


def read(tmp_path, text, **overrides):
    path = tmp_path / "example.yaml"
    path.write_text(text)
    return config.read(path, Example, overrides)


def test_values_come_from_the_file_then_from_the_command_line(tmp_path):
    example = read(tmp_path, "epochs: 3\nrate: 1e-3\nsnr: [5, 10]\nroom:\n  width: 2\n", epochs=7, kind=None)
    assert example == Example(epochs=7, rate=1e-3, snr=(5.0, 10.0), room=Room(2.0))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch: 3", "unknown key 'epoch'; allowed here: epochs, kind, limit, rate, room, snr"),
        ("room: {size: 3}", "unknown key 'room.size'"),
        ("epochs: 2.5", "'epochs' is 2.5; expected a whole number at least 1"),
        ("epochs: true", "'epochs' is True; expected a whole number"),
        ("epochs: 0", "'epochs' is 0; expected a whole number at least 1"),
        ("rate: .nan", "'rate' is nan; expected a number above 0 and at most 1"),
        ("snr: [-.inf, 1]", "'snr[0]' is -inf; expected"),
        ("rate: fast", "'rate' is 'fast'; expected a number"),
        ("kind: c", "'kind' is 'c'; allowed: a, b"),
        ("snr: [1]", "'snr' is [1]; expected a list of 2 values, each a number"),
        ("snr: [9, 1]", "snr is reversed"),
        ("room: {width: -1}", "'room.width' is -1.0; expected a number above 0"),
        ("limit: x", "'limit' is 'x'; expected a whole number or null"),
        ("- a list", "expected `key: value` lines"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_key_and_what_is_allowed(tmp_path, text, sentence):
    with pytest.raises(SdpnError) as error:
        read(tmp_path, text)
    assert sentence in str(error.value)
    assert "example.yaml" in str(error.value)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    assert read(tmp_path, "\ufeffepochs: 5\r\nkind: b\r\n") == Example(epochs=5, kind="b")


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="there is no such configuration file"):
        config.read(tmp_path / "none.yaml", Example)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cuts", CutsConfig),
        ("fbank", FbankConfig),
        ("augment", AugmentConfig),
        ("backend", BackendConfig),
        ("extraction", ExtractionConfig),
    ],
)
def test_a_key_that_is_left_away_has_the_value_of_the_file_in_conf(name, kind):
    read = config.read(CONF / f"{name}.yaml", kind, {})
    newer = {key: getattr(read, key) for key in NEWER if hasattr(read, key)}
    assert read == replace(kind(), **newer)


def test_a_key_of_a_training_that_is_left_away_has_the_paper_s_value():
    paper = read_settings(CONF / "sdpn/paper.yaml").train
    assert paper == TrainConfig(channels=paper.channels)
    assert paper.channels == TrainConfig().width


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrainConfig(clip="globl"), "clip is 'globl'; allowed: global, tensor"),
        (lambda: BackendConfig(cohort="speakers"), "cohort is 'speakers'; allowed: utterances, clusters"),
        (lambda: FbankConfig(vad="webrtc"), "vad is 'webrtc'; allowed: none, energy"),
        (lambda: AugmentConfig(augment="wave"), "augment is 'wave'; allowed: "),
    ],
)
def test_a_configuration_made_by_hand_knows_no_other_choices_either(make, sentence):
    with pytest.raises(SdpnError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
            "aliases",
        ),
        ("a: &a [*a]", "aliases"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_yaml_that_stands_for_more_than_it_says_is_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(SdpnError, match=rf"bomb\.yaml: not valid YAML: .*{sentence}"):
        config.read_tree(path)
