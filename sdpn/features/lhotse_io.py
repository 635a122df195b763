"""Our fbank and our files as Lhotse knows such things; import this module to register them.

    >>> import sdpn.features.lhotse_io as io
    >>> cuts = cuts.compute_and_store_features(io.FbankExtractor(), "feats", storage_type=io.ArkFeatures)
    >>> cuts[0].load_features().shape
    (512, 80)

With it, Lhotse also reads the cache of stage 2 through data/<set>/cuts_feats.jsonl.gz.
"""

import dataclasses
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.features.base import FeatureExtractor, register_extractor
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import ENERGY_FLOOR, Fbank
from sdpn.features.manifest import EXTRACTOR, STORAGE_TYPES, storage_key
from sdpn.features.storage import (
    KIND_OF,
    KINDS,
    ArkWriter,
    Extent,
    Matrix,
    contiguous,
    decode_columns,
    dequantize,
    quantize,
    scale,
    stored_size,
)


@dataclass
class FbankExtractorConfig:
    """The settings of `FbankExtractor`: those of FbankConfig that shape a frame, as keyword arguments of its names."""

    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, that `from_dict` reads."""
        return {"settings": dict(self.settings)}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "FbankExtractorConfig":
        """The reverse of `to_dict`."""
        return FbankExtractorConfig(**data)


@register_extractor
class FbankExtractor(FeatureExtractor):
    """The fbank of stage 2 as a Lhotse extractor; normalization and voice activity detection are stage 2's own."""

    name = EXTRACTOR
    config_type = FbankExtractorConfig

    def __init__(self, config: FbankExtractorConfig | None = None):
        super().__init__(config)
        settings = FbankConfig(**self.config.settings)
        settings.check()
        self._fbank = Fbank(settings)

    @property
    def frame_shift(self) -> float:
        """Seconds."""
        return self._fbank.config.frame_shift / 1000

    def feature_dim(self, sampling_rate: int) -> int:
        """The number of mel bins."""
        return self._fbank.config.num_mel_bins

    def extract(self, samples: np.ndarray, sampling_rate: int) -> np.ndarray:
        """(n_samples,) or (1, n_samples) -> (frames, num_mel_bins); ValueError for another sampling rate."""
        if sampling_rate != self._fbank.config.sampling_rate:
            raise ValueError(f"{sampling_rate} Hz where the fbank is for {self._fbank.config.sampling_rate} Hz")
        return self._fbank(np.asarray(samples).reshape(-1))

    @staticmethod
    def mix(features_a: np.ndarray, features_b: np.ndarray, energy_scaling_factor_b: float) -> np.ndarray:
        """Log-mel of the sum of two signals, their phases apart."""
        total = np.exp(features_a) + energy_scaling_factor_b * np.exp(features_b)
        return np.log(np.maximum(total, ENERGY_FLOOR))

    @staticmethod
    def compute_energy(features: np.ndarray) -> float:
        """Sum of the energies of all bands and frames."""
        return float(np.exp(features).sum())


class _MmapReader(FeaturesReader):
    """Reads an utterance out of a memory-mapped file of the cache; the key says where, see `manifest.storage_key`."""

    def __init__(self, storage_path: str, *args, **kwargs):
        self._path = str(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """Rows from the left offset up to the right one: (frames, bins) float32.

        Raises:
            SdpnError: the file is cut off or holds other bytes than were written.
        """
        stored = _stored(self._path, key)
        _, frames, bins, kind, minimum, step, _ = key.split(":")
        stop = int(frames) if right_offset_frames is None else min(right_offset_frames, int(frames))
        scale = float(minimum), float(step)
        if int(kind) not in KINDS:
            return decode_columns(stored, int(frames), int(bins), left_offset_frames, stop, scale)
        rows = stored.view(KINDS[int(kind)]).reshape(-1, int(bins))
        return dequantize(rows[left_offset_frames:stop], *scale)


@lru_cache(maxsize=64)
def _open(path: str, size: int, time: int) -> np.ndarray:
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))


@lru_cache(maxsize=1024)
def _stored(path: str, key: str) -> np.ndarray:
    """The bytes of an utterance, verified."""
    offset, frames, bins, kind, _, _, crc = key.split(":")
    status = Path(path).stat()
    size = stored_size(int(frames), int(bins), int(kind))
    stored = _open(path, status.st_size, status.st_mtime_ns)[int(offset) : int(offset) + size]
    if len(stored) != size or (int(crc) and zlib.crc32(stored) != int(crc)):
        raise SdpnError(f"{path} is damaged: it does not hold what was written; make it again")
    return stored


@register_reader
class ArkFeaturesReader(_MmapReader):
    """Reads from Kaldi arks."""

    name = STORAGE_TYPES["ark"]


@register_reader
class Hdf5FeaturesReader(_MmapReader):
    """Reads from HDF5."""

    name = STORAGE_TYPES["h5"]


class _Writer(FeaturesWriter):
    """What the two writers share: a file that is made with the first matrix."""

    suffix: str

    def __init__(self, storage_path: str | Path, compress: str = "16bit", **kwargs):
        path = Path(storage_path)
        self._path = path if path.suffix == self.suffix else path.with_name(path.name + self.suffix)
        self._compress, self._file, self._bins = compress, None, 0

    @property
    def storage_path(self) -> str:
        return str(self._path)

    def write(self, key: str, value: np.ndarray) -> str:
        """Add (frames, bins) under an id; return the key to read it by. ValueError for another number of bins."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._bins = value.shape[1]
            self._file = self._open()
        if value.shape[1] != self._bins:
            raise ValueError(f"{value.shape[1]} bins where the file has {self._bins}")
        return storage_key(self._add(key, Matrix.of(np.asarray(value, dtype=np.float32))), self._bins)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *args, **kwargs) -> None:
        self.close()

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()


@register_writer
class ArkFeatures(_Writer):
    """Writes features one after another into a Kaldi ark.

    Args:
        storage_path: the file; `.ark` is added where it is missing.
        compress: as in conf/fbank.yaml.
    """

    name = STORAGE_TYPES["ark"]
    suffix = ".ark"

    def _open(self) -> ArkWriter:
        return ArkWriter(self._path, self._compress, self._bins, [], 0)

    def _add(self, key: str, matrix: Matrix) -> Extent:
        return self._file.write(key, matrix)


@register_writer
class Hdf5Features(_Writer):
    """Writes features into HDF5, one contiguous dataset for each, with `minimum` and `step` as its attributes.

    Args:
        storage_path: the file; `.h5` is added where it is missing.
        compress: as in conf/fbank.yaml.
    """

    name = STORAGE_TYPES["h5"]
    suffix = ".h5"

    def _open(self):
        import h5py

        return h5py.File(self._path, "w", libver="latest")

    def _add(self, key: str, matrix: Matrix) -> Extent:
        kind = KIND_OF[self._compress]
        minimum, step = scale(matrix.lowest, matrix.highest, kind)
        (block,) = matrix.blocks
        stored = quantize(block, minimum, step, kind)
        dataset = contiguous(self._file, key, stored.shape, stored.dtype)
        dataset[...] = stored
        dataset.attrs["minimum"], dataset.attrs["step"] = minimum, step
        return Extent(dataset.id.get_offset(), matrix.rows, minimum, step, kind, zlib.crc32(stored))
