"""An encoder as one file for use without this package: ONNX, or torch.export's own format.

Both take `features` (batch, frames, bins) float32, log-mel as the model's configuration says, and `lengths` (batch,)
int64, the frames of each utterance: what follows them is padding and changes nothing. Both give `embedding` (batch,
dimensions). Batch and frames may have any size; torch.export alone wants 9 frames at least, padding included.
"""

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sdpn
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.files import atomic_path
from sdpn.models.digest import model_digest
from sdpn.models.folder import fbank_config, read_model
from sdpn.models.onnx_model import Backend, properties_of

TOLERANCE = 1e-4  # of the embedding's coordinates, relative to their root mean square
DESCRIPTION = "sdpn.json"  # the metadata within a file of torch.export
_SHORTEST = 9  # ResNet34 halves frames three times, and a graph is not for one frame and several at once
_INPUTS, _OUTPUT = ("features", "lengths"), "embedding"


def export_torch(model: str | Path, out: str | Path, statistics: bool = False) -> float:
    """Write the encoder of a model folder for `torch.export.load`, with the metadata as its extra file `sdpn.json`.

    Example::

        described = {"sdpn.json": ""}
        encoder = torch.export.load("encoder.pt2", extra_files=described).module()
        embedding = encoder(features, lengths)

    Args:
        statistics: whether the statistics of the features stand beside the embedding; see WithStatistics.

    Returns:
        The largest difference to the encoder's own embeddings, on a padded batch of noise.

    Raises:
        SdpnError: the folder holds no model, or the file cannot be written.
    """
    encoder, config = read_model(model)
    encoder = WithStatistics(encoder) if statistics else encoder
    bins = fbank_config(model, config).num_mel_bins
    program = trace(encoder, bins)
    packed = io.BytesIO()
    with _quiet():
        torch.export.save(
            program, packed, extra_files={DESCRIPTION: json.dumps(metadata(config, statistics), indent=2)}
        )
        packed.seek(0)
        again = torch.export.load(packed).module()
    difference = compare(encoder, again, bins)
    _write(out, packed.getvalue())
    return difference


def export_onnx(
    model: str | Path,
    out: str | Path,
    statistics: bool = False,
    max_frames: int = 6000,
    backend: Backend | None = None,
) -> float:
    """Write the encoder of a model folder as ONNX, with all that `OnnxModel` needs among the file's properties.

    Args:
        max_frames: windows of longer recordings.
        backend: what is to compare voices, with its calibration.
        statistics: whether the statistics of the features stand beside the embedding; see WithStatistics.

    Returns:
        The largest difference between ONNX Runtime's embeddings and the encoder's own, on a padded batch of noise.

    Raises:
        SdpnError: the folder holds no model, ONNX is not installed, or the file cannot be written.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise SdpnError(f"ONNX needs {' and '.join(missing)}: run pip install onnx onnxscript onnxruntime")
    encoder, config = read_model(model)
    encoder = WithStatistics(encoder) if statistics else encoder
    bins = fbank_config(model, config).num_mel_bins
    more = properties_of(model_digest(Path(model)), max_frames, statistics, backend)
    packed = to_onnx(trace(encoder, bins), metadata(config, statistics) | more)
    difference = compare(encoder, onnx_encoder(packed), bins)
    _write(out, packed)
    return difference


class WithStatistics(nn.Module):
    """An encoder beside whose embedding stand mean and standard deviation over frames of every bin of the features.

    They are what `sdpn.extraction.extractor.fbank_statistics` gives: the system xvector+fbank-stats of the recipe.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, bins), (batch,) -> (batch, dimensions + 2 * bins)."""
        inside = (torch.arange(features.shape[1], device=features.device) < lengths[:, None])[..., None]
        count = lengths[:, None].to(features.dtype)
        mean = torch.where(inside, features, 0).sum(dim=1) / count
        offsets = torch.where(inside, features - mean[:, None], 0)
        deviation = (offsets.square().sum(dim=1) / count).sqrt()
        return torch.cat((self.encoder(features, lengths), mean, deviation), dim=1)


def trace(encoder: nn.Module, num_bins: int) -> torch.export.ExportedProgram:
    """The graph of an encoder, for any batch and any number of frames; the encoder is put into evaluation mode."""
    if not hasattr(torch.compiler, "is_exporting"):
        raise SdpnError(f"an export needs torch 2.7 or newer, this is {torch.__version__}")
    encoder.eval().requires_grad_(False)
    batch, frames = torch.export.Dim("batch", min=1), torch.export.Dim("frames", min=_SHORTEST)
    example = noise(num_bins, [47, 30, 23])
    shapes = {"features": {0: batch, 1: frames}, "lengths": {0: batch}}
    with _quiet(), torch.no_grad():
        program = torch.export.export(encoder, example, dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the package lies on this machine is nobody's business
    return program


def to_onnx(program: torch.export.ExportedProgram, properties: dict[str, str]) -> bytes:
    """A graph as an ONNX file with `properties` as its metadata."""
    with _quiet():
        exported = torch.onnx.export(program, dynamo=True, input_names=_INPUTS, output_names=[_OUTPUT], verbose=False)
    assert exported is not None  # None is for those who let it write a file
    converted = exported.model_proto
    sizes: dict[str, str] = {}
    for value in (*converted.graph.input, *converted.graph.output):
        for size, name in zip(value.type.tensor_type.shape.dim, ("batch", "frames"), strict=False):
            if size.dim_param:
                size.dim_param = sizes.setdefault(size.dim_param, name)
    del converted.graph.value_info[:]  # shapes in between, in terms of the old names; runtimes find them by themselves
    for node in converted.graph.node:
        del node.metadata_props[:]  # stack traces
    for key, text in properties.items():
        converted.metadata_props.add(key=key, value=text)
    return converted.SerializeToString()


def metadata(config: dict[str, Any], statistics: bool = False) -> dict[str, str]:
    """What a user has to know of a model folder's encoder: its inputs, `sampling_rate`, `features` and `network`.

    All of it is text, and the last two are JSON.

    Args:
        config: of the model folder.
        statistics: whether the statistics of the features stand beside the embedding.
    """
    beside = "the x-vector, then mean and standard deviation over frames of each bin" if statistics else "the x-vector"
    return {
        "output": f"embedding (batch, dimensions): {beside}",
        "inputs": "features (batch, frames, bins): log-mel as the JSON in `features` says; "
        "lengths (batch,): frames of each utterance, what follows is padding",
        "sampling_rate": str(FbankConfig(**config["features"]).sampling_rate),
        "features": json.dumps(config["features"]),
        "network": json.dumps(config["network"]),
        "sdpn": sdpn.__version__,
    }


def compare(encoder: nn.Module, exported: Callable[[Tensor, Tensor], Tensor], num_bins: int) -> float:
    """The largest difference between the embeddings of two encoders, relative to their root mean square.

    Raises:
        RuntimeError: it is above TOLERANCE.
    """
    features, lengths = noise(num_bins, [120, 77, 40, 9, 200])
    with torch.inference_mode():
        expected, found = encoder(features, lengths), exported(features, lengths)
    difference = float((found - expected).abs().max() / expected.square().mean().sqrt())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the exported encoder differs by {difference:g}, where {TOLERANCE:g} is allowed")
    return difference


def onnx_encoder(packed: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """An ONNX file as a function of features and lengths, computed by ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(packed, options, providers=["CPUExecutionProvider"])

    def embed(features: Tensor, lengths: Tensor) -> Tensor:
        feed = dict(zip(_INPUTS, (features.numpy(), lengths.numpy()), strict=True))
        return torch.from_numpy(session.run([_OUTPUT], feed)[0])

    return embed


def noise(num_bins: int, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """A padded batch for trying an encoder: (batch, longest, bins) with a random spectrum's tilt, and its lengths."""
    random = np.random.default_rng(0)
    features = random.standard_normal((len(lengths), max(lengths), num_bins)) - np.linspace(3, 9, num_bins)
    return torch.from_numpy(features.astype(np.float32)), torch.tensor(lengths)


def _write(path: str | Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's remarks about packages that play no part here from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
