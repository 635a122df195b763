"""Models of 3D-Speaker: the ECAPA-TDNN of an SDPN or RDINO checkpoint becomes a model folder of ours.

A checkpoint of speakerlab/bin/train_sdpn.py or train_rdino.py (github.com/modelscope/3D-Speaker) is a dictionary with
the state_dicts `student` and `teacher` beside the optimizer's. In them stand `module.backbone.*`, the ECAPA-TDNN with
SpeechBrain's names, and `module.head.*`, which has served its purpose after training. That network is ours with
`padding: reflect`; its input is the natural logarithm of the profile mel_3dspeaker, normalized over the utterance.
"""

import argparse
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sdpn
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.files import file_digest, sentence, write_text
from sdpn.models.folder import MORE_THAN_PLAIN, asked_for, write_model
from sdpn.models.registry import build_encoder

# Plain data that such checkpoints hold beside tensors: the learning rate came from a NumPy array. Nothing here can act
_HARMLESS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # as NumPy 1 names it
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
    argparse.Namespace,
]
_NOT_OF_THE_NETWORK = ("head.", "prototypes", "last_layer.")
_STEM, _ATTENTION, _EMBEDDING = "blocks.0.conv.conv.weight", "asp.tdnn.conv.conv.weight", "fc.conv.weight"
_NAMED_AT_MOST = 6


@dataclass(frozen=True)
class Imported:
    """What was made of a checkpoint.

    Attributes:
        directory: the model folder.
        network: the arguments of `build_encoder`.
        parameters: of the encoder.
        left_out: tensors of the projection head and prototypes.
        teacher: whether the file said that it is the teacher; else it is a bare state_dict.
    """

    directory: Path
    network: dict[str, Any]
    parameters: int
    left_out: int
    teacher: bool


def import_checkpoint(path: str | Path, directory: str | Path) -> Imported:
    """Write the encoder of a checkpoint as a model folder: weights.pt, config.yaml and a card, README.md.

    The folder is there as a whole or not at all. Nothing in the checkpoint is executed.

    Raises:
        SdpnError: the file is missing, damaged or needs more than plain data to be read, its tensors are not those of
            the network, or there is something in `directory` already.
    """
    path, directory = Path(path), Path(directory)
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise SdpnError(f"{directory} is there already: remove it, or name another folder with --out")
    tensors, left_out, teacher = _network_of(_load(path), path)
    encoder, network = convert(tensors, path)
    parameters = sum(weight.numel() for weight in encoder.parameters())
    imported = Imported(directory, network, parameters, left_out, teacher)
    partial = directory.absolute().with_name(f".{directory.name}.partial-{os.getpid()}")
    try:
        write_model(partial, encoder, network, FbankConfig.of_3dspeaker(network["num_bins"]).spectral())
        write_text(partial / "README.md", _card(path, imported))
        os.replace(partial, directory)
    except OSError as error:
        raise SdpnError(f"cannot write {directory}: {sentence(error) or error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return imported


def convert(tensors: Mapping[str, Tensor], source: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The encoder that `tensors`, named as in 3D-Speaker, belong to, and its settings, which their shapes tell.

    Args:
        source: the file, for messages.

    Raises:
        SdpnError: tensors are missing, left over, of another shape, or not finite; all of them in one sentence.
    """
    network = _settings(tensors, source)
    with torch.device("meta"):
        encoder = build_encoder(**network)
    layers = dict(_layers())
    theirs, shapes = {}, {}
    for name, ours in encoder.state_dict().items():
        layer, _, kind = name.rpartition(".")
        theirs[name] = f"{layers[layer]}.{kind}"
        linear = ours.ndim == 2  # there it is a convolution of one frame
        shapes[theirs[name]] = (*ours.shape, 1) if linear else tuple(ours.shape)
    counters = {name for name in shapes if name.endswith("num_batches_tracked")}  # which nobody reads
    wrong = []
    if _STEM in tensors:  # without it the sizes are a guess
        wrong = [
            f"{name} is {_by(tensors[name].shape)} where {_by(shape)} is expected"
            for name, shape in shapes.items()
            if name in tensors and name not in counters and tensors[name].shape != shape
        ]
    complaints = [
        _listed("missing", [name for name in shapes if name not in tensors and name not in counters]),
        _listed("left over", [name for name in tensors if name not in shapes]),
        _listed("of another shape", wrong),
    ]
    if any(complaints):
        raise SdpnError(
            f"{source} does not hold 3D-Speaker's ECAPA-TDNN as it is known here: {'; '.join(filter(None, complaints))}"
        )
    odd = [name for name in shapes if name not in counters and not _plain(tensors[name])]
    if odd:
        raise SdpnError(f"{source} holds tensors that are not plain floating-point numbers: {_listed('', odd).strip()}")
    state = {}
    for name, ours in encoder.state_dict().items():
        tensor = tensors.get(theirs[name], torch.zeros((), dtype=ours.dtype))
        state[name] = tensor.detach().to(ours.dtype).reshape(ours.shape).clone()
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise SdpnError(f"{source} holds weights that are not finite: the training that made it has failed")
    encoder.load_state_dict(state, assign=True)
    return encoder.eval(), network


def _settings(tensors: Mapping[str, Tensor], source: str | Path) -> dict[str, Any]:
    """The arguments of `build_encoder`; where a tensor is missing, those of 3D-Speaker's configuration."""

    def size(name: str, axis: int, usual: int) -> int:
        return tensors[name].shape[axis] if name in tensors and tensors[name].ndim == 3 else usual

    channels = size(_STEM, 0, 1024)
    if channels % 8 != 0:
        raise SdpnError(f"{source}: {_STEM} has {channels} channels; expected a multiple of 8")
    return {
        "network": "ecapa",
        "num_bins": size(_STEM, 1, 80),
        "channels": channels,
        "embedding_size": size(_EMBEDDING, 0, 512),
        "attention_channels": size(_ATTENTION, 0, 128),
        "global_context": size(_ATTENTION, 1, 9 * channels) != 3 * channels,
        "pooling": "attentive",
        "padding": "reflect",
        "input_norm": "instance",
    }


def _layers() -> Iterator[tuple[str, str]]:
    """The names of each layer: ours, 3D-Speaker's."""
    yield from _tdnn("stem", "blocks.0")
    for block in range(3):
        ours, theirs = f"blocks.{block}", f"blocks.{block + 1}"
        yield from _tdnn(f"{ours}.tdnn1", f"{theirs}.tdnn1")
        for group in range(7):
            yield from _tdnn(f"{ours}.res2.blocks.{group}", f"{theirs}.res2net_block.blocks.{group}")
        yield from _tdnn(f"{ours}.tdnn2", f"{theirs}.tdnn2")
        yield f"{ours}.excitation.down", f"{theirs}.se_block.conv1.conv"
        yield f"{ours}.excitation.up", f"{theirs}.se_block.conv2.conv"
    yield from _tdnn("aggregation", "mfa")
    yield "pooling.hidden", "asp.tdnn.conv.conv"
    yield "pooling.norm", "asp.tdnn.norm.norm"
    yield "pooling.weights", "asp.conv.conv"
    yield "pooling_norm", "asp_bn.norm"
    yield "embedding", "fc.conv"


def _tdnn(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.conv", f"{theirs}.conv.conv"
    yield f"{ours}.norm", f"{theirs}.norm.norm"


def _network_of(content: Any, path: Path) -> tuple[dict[str, Tensor], int, bool]:
    """The tensors of the ECAPA-TDNN, the number of those left out, and whether they are the teacher's."""
    teacher = isinstance(content, Mapping) and isinstance(content.get("teacher"), Mapping)
    if teacher:
        content = content["teacher"]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise SdpnError(
            f"{path} holds neither a teacher nor a state_dict: expected 3D-Speaker's SDPN or RDINO checkpoint"
        )
    named = {
        str(name).removeprefix("module.").removeprefix("backbone."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    kept = {name: tensor for name, tensor in named.items() if not name.startswith(_NOT_OF_THE_NETWORK)}
    return kept, len(named) - len(kept), teacher


def _load(path: Path) -> Any:
    """The content of a file of torch.save, as long as it is plain data."""
    if not path.is_file():
        raise SdpnError(f"{path}: there is no such file")
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways: pickle's, zip's, torch's
        asks = asked_for(error)
        if asks is None:
            raise SdpnError(f"{path} is no file of torch.save, or a damaged one: fetch it again") from error
        raise SdpnError(
            f"{path} asks for {asks}, {MORE_THAN_PLAIN}: it is not opened; save it again as a state_dict where you "
            "trust it"
        ) from error


def _plain(tensor: Tensor) -> bool:
    """Whether its numbers are there one by one: it is not sparse, quantized, complex, or a shape alone."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)


def _listed(what: str, names: Sequence[str]) -> str:
    """`missing 9 (a, b, ...)`; empty where there are none."""
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMED_AT_MOST else ""
    return f"{what} {len(names)} ({', '.join(names[:_NAMED_AT_MOST])}{more})"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape) or "a number"


def _card(path: Path, imported: Imported) -> str:
    network = imported.network
    whose = "the teacher's encoder" if imported.teacher else "the encoder"
    settings = "".join(f"{name}: {setting}\n" for name, setting in network.items())
    return f"""# A speaker encoder trained by 3D-Speaker (SDPN or RDINO)

Log-mel frames in, a {network["embedding_size"]}-dimensional embedding out; compare embeddings by cosine. ECAPA-TDNN
with {network["channels"]} channels, {imported.parameters / 1e6:.2f} million parameters: {whose} of a checkpoint.

- from {path.name} (SHA-256 begins {file_digest(path)}), converted on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}
  by sdpn {sdpn.__version__}; projection head and prototypes are left out ({imported.left_out} tensors)
- {network["num_bins"]} mel bins at 16000 Hz of samples in [-1, 1], as conf/fbank_3dspeaker.yaml makes them; all
  settings of the features stand in config.yaml
- what it was trained on and with which figures, the checkpoint does not say
- code and models: github.com/modelscope/3D-Speaker, whose licence holds for them; methods: arXiv 2308.02774 (SDPN),
  2211.04168 (RDINO)

`sdpn.models.folder.read_model` reads this folder: weights.pt is a plain state_dict (tensors only), config.yaml says
what network it belongs to.

## Settings

```
{settings}```
"""
