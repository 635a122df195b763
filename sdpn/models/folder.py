"""A model folder: an encoder's weights and, beside them, what is needed to use it."""

import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sdpn.config import build, parse_yaml
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.files import atomic_path, write_text

if TYPE_CHECKING:
    import torch
    from torch import nn

CHECKSUMS = "SHA256SUMS"
"""The file of a model folder by which it checks itself; `sha256sum -c` reads it, too."""

MORE_THAN_PLAIN = "which is more than tensors, numbers and text, and could run any code"


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and text with torch.save, atomically.

    By way of memory: torch does not say why a file could not be written.

    Raises:
        SdpnError: the disk is full, or the folder may not be written.
    """
    import torch  # here: exported models are found and described without it

    packed = io.BytesIO()
    torch.save(content, packed)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def write_model(
    directory: str | Path, encoder: "nn.Module", network: dict[str, Any], features: dict[str, Any]
) -> list[Path]:
    """Write `weights.pt`, a plain state_dict, `config.yaml`, and the checksums of both; return their paths.

    Args:
        network: the arguments of `build_encoder`.
        features: the settings of the fbank that the encoder was trained on.
    """
    directory = Path(directory)
    weights, config = directory / "weights.pt", directory / "config.yaml"
    save_tensors(weights, {name: tensor.cpu() for name, tensor in encoder.state_dict().items()})
    write_text(config, yaml.safe_dump({"network": network, "features": features}, sort_keys=False))
    checksums = directory / CHECKSUMS
    write_text(checksums, "".join(f"{_sha256(path)}  {path.name}\n" for path in (weights, config)))
    return [weights, config, checksums]


def _sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def refuse_damaged(directory: Path) -> None:
    """Make sure that weights and configuration are what was written; a folder without checksums is let pass.

    Raises:
        SdpnError: they are not.
    """
    checksums = directory / CHECKSUMS
    if not checksums.exists():  # as earlier versions wrote it, or other people
        return
    found = {f"{_sha256(directory / name)}  {name}" for name in ("weights.pt", "config.yaml")}
    try:
        expected = set(checksums.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        expected = set()
    if changed := sorted(line.split("  ")[1] for line in found - expected):
        raise SdpnError(
            f"{directory} is damaged: {' and '.join(changed)} is not what {CHECKSUMS} says: run stage 4 again, which "
            f"writes it anew from the last checkpoint (remove {CHECKSUMS} if you have changed it yourself)"
        )


def find_model(path: str | Path) -> Path:
    """Return the model that `path` means: a model folder, the folder `model` of an experiment, or an .onnx file.

    Example::

        find_model("exp/toy")  # exp/toy/model
        find_model("exp/toy/model")  # the same

    Raises:
        SdpnError: neither holds a model.
    """
    path = Path(path)
    if is_exported(path):
        if not path.is_file():
            raise SdpnError(f"{path}: there is no such file")
        return path
    for directory in (path, path / "model"):
        if _holds_model(directory):
            return directory
    if not path.exists():
        raise SdpnError(f"{path} does not exist: name an experiment (exp/<name>) or a model folder")
    raise SdpnError(f"{path} holds no model: there is no weights.pt with a config.yaml in it, nor in {path / 'model'}")


def read_model(directory: str | Path, device: "torch.device | str" = "cpu") -> "tuple[nn.Module, dict[str, Any]]":
    """The encoder of a model folder, in evaluation mode, and the folder's configuration.

    Nothing in the folder is executed: the weights are read as tensors only.

    Raises:
        SdpnError: the folder holds no model, a damaged one, or one that cannot be read.
    """
    import torch  # here: see save_tensors

    from sdpn.models.registry import build_encoder

    directory = Path(directory)
    if not _holds_model(directory):
        raise SdpnError(f"{directory} holds no model: run stage 4 first")
    refuse_damaged(directory)
    try:
        config = parse_yaml((directory / "config.yaml").read_text(encoding="utf-8"))
        encoder = build_encoder(**config["network"])
        encoder.load_state_dict(torch.load(directory / "weights.pt", map_location="cpu", weights_only=True))
    except PermissionError as error:
        raise SdpnError(f"{error.filename}: permission denied") from None
    except Exception as error:  # a damaged file fails in many ways: YAML's, pickle's, zip's, torch's
        reason = f"it asks for {asks}, {MORE_THAN_PLAIN}" if (asks := asked_for(error)) else sentence_of(error)
        raise SdpnError(f"{directory} holds no readable model ({reason}): remove it and run stage 4 again") from error
    if not all(torch.isfinite(tensor).all() for tensor in encoder.state_dict().values()):
        raise SdpnError(f"{directory} holds weights that are not finite: the training that made it has failed")
    return encoder.to(device).eval(), config


def fbank_config(directory: str | Path, config: dict[str, Any]) -> FbankConfig:
    """The features of a model folder, of which `config` is the configuration.

    Raises:
        SdpnError: there is a setting that is not allowed, or the network takes another number of bins.
    """
    path = Path(directory) / "config.yaml"
    features = config.get("features") if isinstance(config, dict) else None
    if not isinstance(features, dict):
        raise SdpnError(f"{path}: its features cannot be computed: expected settings below 'features'")
    try:
        made = build(FbankConfig, features, str(path))
    except SdpnError as error:
        raise SdpnError(f"{path}: its features cannot be computed: {str(error).removeprefix(f'{path}: ')}") from None
    bins = config["network"].get("num_bins", 80)
    if made.num_mel_bins != bins:
        raise SdpnError(f"{path}: its features have {made.num_mel_bins} bins, and its network takes {bins}")
    return made


def asked_for(error: Exception) -> str | None:
    """What a file of torch.save asks for beside plain data, of the error with which torch refused it; else None."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else None


def sentence_of(error: Exception) -> str:
    """What an error says, in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def is_exported(path: Path) -> bool:
    """Return whether a path names an exported model rather than a folder."""
    return path.suffix == ".onnx"


def describe_model(directory: str | Path) -> list[str]:
    """What a model is in plain words, a line for each thing.

    Raises:
        SdpnError: the folder holds no model, or one that cannot be read.
    """
    encoder, config = read_model(directory)
    network, features = dict(config["network"]), config.get("features") or {}
    parameters = sum(weight.numel() for weight in encoder.parameters())
    sizes = ", ".join(f"{name} {value}" for name, value in network.items() if name != "network")
    return [
        f"{directory}: {network['network']}, {parameters / 1e6:.1f} million parameters",
        f"network: {sizes}",
        "features: " + ", ".join(f"{name} {value}" for name, value in features.items()),
    ]


def _holds_model(directory: Path) -> bool:
    return (directory / "weights.pt").exists() and (directory / "config.yaml").exists()
