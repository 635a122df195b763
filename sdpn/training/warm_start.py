"""A training that begins with an encoder that is there: an experiment's, a model folder's, an imported checkpoint's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.models.digest import model_digest
from sdpn.models.folder import fbank_config, find_model, read_model


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
        options = " ".join(f"--{name.replace('_', '-')} {expected[name]}" for name in wrong)
        raise SdpnError(
            f"{index.directory} has other features than {directory} was trained on ({differences}): make a data folder "
            f"with `steps/make_fbank.py {options} DATA`"
        )
    return WarmStart(directory, encoder, dict(config["network"]), model_digest(directory))
