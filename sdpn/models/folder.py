"""A model folder: an encoder's weights and, beside them, what is needed to use it."""

import io
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from sdpn.errors import SdpnError
from sdpn.files import atomic_path, write_text
from sdpn.models.registry import build_encoder


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and text with torch.save, atomically.

    By way of memory: torch does not say why a file could not be written.

    Raises:
        SdpnError: the disk is full, or the folder may not be written.
    """
    packed = io.BytesIO()
    torch.save(content, packed)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def write_model(
    directory: str | Path, encoder: nn.Module, network: dict[str, Any], features: dict[str, Any]
) -> list[Path]:
    """Write `weights.pt`, a plain state_dict, and `config.yaml`; return their paths.

    Args:
        network: the arguments of `build_encoder`.
        features: the settings of the fbank that the encoder was trained on.
    """
    directory = Path(directory)
    weights, config = directory / "weights.pt", directory / "config.yaml"
    save_tensors(weights, {name: tensor.cpu() for name, tensor in encoder.state_dict().items()})
    write_text(config, yaml.safe_dump({"network": network, "features": features}, sort_keys=False))
    return [weights, config]


def find_model(path: str | Path) -> Path:
    """The model folder that `path` means: itself, or the folder `model` of an experiment.

    Example::

        find_model("exp/toy")  # exp/toy/model
        find_model("exp/toy/model")  # the same

    Raises:
        SdpnError: neither holds a model.
    """
    path = Path(path)
    for directory in (path, path / "model"):
        if _holds_model(directory):
            return directory
    if not path.exists():
        raise SdpnError(f"{path} does not exist: name an experiment (exp/<name>) or a model folder")
    raise SdpnError(f"{path} holds no model: there is no weights.pt with a config.yaml in it, nor in {path / 'model'}")


def read_model(directory: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The encoder of a model folder, in evaluation mode, and the folder's configuration.

    Nothing in the folder is executed: the weights are read as tensors only.

    Raises:
        SdpnError: the folder holds no model, or one that cannot be read.
    """
    directory = Path(directory)
    if not _holds_model(directory):
        raise SdpnError(f"{directory} holds no model: run stage 4 first")
    try:
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
        encoder = build_encoder(**config["network"])
        encoder.load_state_dict(torch.load(directory / "weights.pt", map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file fails in many ways: YAML's, pickle's, zip's, torch's
        reason = " ".join(str(error).split())[:200]
        raise SdpnError(f"{directory} holds no readable model ({reason}): remove it and run stage 4 again") from error
    return encoder.to(device).eval(), config


def _holds_model(directory: Path) -> bool:
    return (directory / "weights.pt").exists() and (directory / "config.yaml").exists()
