"""An exported model: the ONNX file that `sdpn export onnx` writes, computed by ONNX Runtime, without torch."""

import base64
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.config import build
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig

BACKEND, CALIBRATION, MODEL, MAX_FRAMES, STATISTICS = "backend", "calibration", "model", "max_frames", "statistics"
"""Keys of the file's metadata, beside those that `sdpn.models.export.metadata` describes."""


class Backend(NamedTuple):
    """The back-end that an exported model carries.

    Attributes:
        name: as the experiment has it, e.g. "cosine".
        file: its HDF5 file, as `sdpn.backend.chain_file.save_chain` writes it.
        calibration: weight and offset that make its scores log-likelihood ratios; None without any.
    """

    name: str
    file: bytes
    calibration: tuple[float, float] | None


class OnnxModel:
    """An encoder with all that is needed to use it.

    Args:
        path: the file.

    Attributes:
        features: settings of the fbank that it takes.
        max_frames: longer recordings are cut into equal windows of at most so many frames, and the embedding is their
            mean, weighted by frames.
        statistics: whether mean and deviation of each bin of the fbank stand beside the embedding.
        dimension: of the embedding, with the statistics.
        digest: tells models apart, as `sdpn.models.folder.model_digest` of the folder it was exported from.
        backend: what it carries to compare voices with; None for none.

    Raises:
        SdpnError: ONNX Runtime is not installed, or the file is damaged or from elsewhere.
    """

    def __init__(self, path: Path):
        try:
            import onnxruntime  # here: it is an extra, and takes 0.2 s to import
        except ImportError:
            raise SdpnError(f"{path}: an ONNX model needs ONNX Runtime: run pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            told = self._session.get_modelmeta().custom_metadata_map
            self.features = build(FbankConfig, json.loads(told["features"]), str(path))
            self.max_frames, self.statistics = int(told[MAX_FRAMES]), told[STATISTICS] == "true"
            self.dimension, self.digest = int(self._session.get_outputs()[0].shape[1]), told[MODEL]
            self.backend = _backend(told)
        except SdpnError:
            raise
        except KeyError as error:
            raise SdpnError(f"{path} does not say its {error}: export it again with `sdpn export onnx`") from None
        except Exception as error:  # ONNX Runtime has many exceptions for a damaged file, of no common class
            reason = " ".join(str(error).split())[:120]
            raise SdpnError(f"{path} is no ONNX model of sdpn, or is damaged: {reason}") from None

    def __call__(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Embed a padded batch: (batch, frames, bins) float32, (batch,) -> (batch, dimension) float32."""
        feed = {"features": features, "lengths": lengths.astype(np.int64)}
        (embeddings,) = self._session.run(["embedding"], feed)
        return embeddings


def properties_of(digest: str, max_frames: int, statistics: bool, backend: Backend | None) -> dict[str, str]:
    """Return the metadata that `OnnxModel` reads, all of it text."""
    told = {MODEL: digest, MAX_FRAMES: str(max_frames), STATISTICS: "true" if statistics else "false"}
    if backend is not None:
        packed = base64.b64encode(backend.file).decode("ascii")
        told[BACKEND] = json.dumps({"name": backend.name, "hdf5": packed})
        if backend.calibration is not None:
            weight, offset = backend.calibration
            told[CALIBRATION] = json.dumps({"backend": backend.name, "weight": weight, "offset": offset})
    return told


def _backend(told: dict[str, str]) -> Backend | None:
    if BACKEND not in told:
        return None
    made = json.loads(told[BACKEND])
    calibration = None
    if CALIBRATION in told:
        found = json.loads(told[CALIBRATION])
        calibration = (float(found["weight"]), float(found["offset"]))
    return Backend(str(made["name"]), base64.b64decode(made["hdf5"]), calibration)


def opened(backend: Backend) -> io.BytesIO:
    """Return the HDF5 file of a back-end, to be read."""
    return io.BytesIO(backend.file)
