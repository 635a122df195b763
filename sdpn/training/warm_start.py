"""A training that begins with an encoder that is there: an experiment's, a model folder's, an imported checkpoint's."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.models.digest import model_digest
from sdpn.models.folder import fbank_config, find_model, read_model
from sdpn.training.config import TrainConfig

_GENTLER = 0.25
"""Of the learning rate: the head and the prototypes are new, and would pull the encoder about."""


@dataclass(frozen=True)
class WarmStart:
    """An encoder to begin with.

    Attributes:
        directory: its model folder.
        encoder: in evaluation mode.
        network: the arguments of `build_encoder` that make one like it.
        digest: changes when the folder holds another network.
    """

    directory: Path
    encoder: nn.Module
    network: dict[str, Any]
    digest: str


def read_start(path: str | Path, index: FeatureIndex) -> WarmStart:
    """Read the encoder of an experiment or a model folder, to be trained on with the features of `index`.

    Raises:
        SdpnError: there is no model, or the features are others than it was trained on; the sentence has the line that
            makes them.
    """
    directory = find_model(path)
    encoder, config = read_model(directory)
    expected, found = fbank_config(directory, config).spectral(), index.config.spectral()
    wrong = [name for name in expected if expected[name] != found[name]]
    if wrong:
        differences = ", ".join(f"{name} {found[name]} where it was {expected[name]}" for name in wrong)
        options = " ".join(_as_option(name, expected[name]) for name in wrong)
        raise SdpnError(
            f"{index.directory} has other features than {directory} was trained on ({differences}): make a data folder "
            f"with `steps/make_fbank.py {options} DATA`"
        )
    return WarmStart(directory, encoder, dict(config["network"]), model_digest(directory))


def begin_with(start: WarmStart, config: TrainConfig, given: dict[str, Any]) -> tuple[TrainConfig, list[str]]:
    """The settings of a training that begins with an encoder: its network, and a gentler schedule.

    Args:
        given: the settings that the user gave on the command line.

    Returns:
        The settings, and a sentence for each one that the user might have expected otherwise.

    Raises:
        SdpnError: the user asks for another network than the encoder is.
    """
    known = {field.name for field in fields(config)}
    network = {name: setting for name, setting in start.network.items() if name in known}
    for name, setting in network.items():
        if given.get(name, setting) != setting:
            option = f"--{name.replace('_', '-')}"
            raise SdpnError(f"{option} is {given[name]}, but {start.directory} has {setting}: leave it out")
    config, sentences = replace(config, **network), [f"begins with {start.directory}"]
    if "lr" not in given:
        sentences.append(f"lr lowered from {config.lr:g} to {_GENTLER * config.lr:g} for it; --lr gives another")
        config = replace(config, lr=_GENTLER * config.lr)
    return config, sentences


def _as_option(name: str, setting: Any) -> str:
    name = name.replace("_", "-")
    return f"--{name} {setting}" if not isinstance(setting, bool) else f"--{name}" if setting else f"--no-{name}"
