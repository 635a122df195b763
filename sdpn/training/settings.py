"""The settings of a training from a file: one of conf/sdpn/, or the config.yaml of an experiment, to make it again."""

from pathlib import Path
from typing import Any, NamedTuple

from sdpn import config
from sdpn.errors import SdpnError
from sdpn.training.config import TrainConfig

RECORDED = ("augment", "inputs")  # what config.yaml holds beside the settings of TrainConfig


class Settings(NamedTuple):
    """What a file says of a training.

    Attributes:
        train: the settings themselves.
        augment: how the experiment augmented views, settings of ViewConfig by name; empty for a file of conf/sdpn/.
        inputs: the fingerprints of the features and banks that it was trained on; empty likewise.
        init: the model that it began with; None where it began from scratch.
    """

    train: TrainConfig
    augment: dict[str, Any]
    inputs: dict[str, Any]
    init: str | None = None


def read_settings(path: str | Path, given: dict[str, Any] | None = None) -> Settings:
    """Read `path` (YAML), with the settings `given` in the place of the file's.

    Raises:
        SdpnError: see `config.read`.
    """
    tree = config.read_tree(path)
    augment, inputs = (tree.pop(name, {}) for name in RECORDED)
    init = tree.pop("init", None)
    for name, found in zip(RECORDED, (augment, inputs), strict=True):
        if not isinstance(found, dict):
            raise SdpnError(f"{path}: '{name}' is '{found}', but in the config.yaml of an experiment it holds settings")
    if augment:  # an older version did not equalize, and did not say so
        augment = {"p_equalize": 0.0, **augment}
    return Settings(config.build(TrainConfig, {**tree, **(given or {})}, str(path)), augment, inputs, init)
