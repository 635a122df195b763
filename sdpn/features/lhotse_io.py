"""Our fbank and our files as Lhotse knows such things; import this module to register them.

    >>> import sdpn.features.lhotse_io as io
    >>> cuts = cuts.compute_and_store_features(io.FbankExtractor(), "feats", storage_type=io.ArkFeatures)
    >>> cuts[0].load_features().shape
    (512, 80)

With it, Lhotse also reads the cache of stage 2 through data/<set>/cuts_feats.jsonl.gz.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lhotse.features.base import FeatureExtractor, register_extractor

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import ENERGY_FLOOR, Fbank
from sdpn.features.lhotse_storage import ArkFeatures, ArkFeaturesReader, Hdf5Features, Hdf5FeaturesReader
from sdpn.features.sets import EXTRACTOR

__all__ = [
    "ArkFeatures",
    "ArkFeaturesReader",
    "FbankExtractor",
    "FbankExtractorConfig",
    "Hdf5Features",
    "Hdf5FeaturesReader",
]

_NOT_FLOAT = "samples are {}, where floating point numbers are expected, full scale at 1: divide 16-bit ones by 32768"


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

    def extract(self, samples: np.ndarray | torch.Tensor, sampling_rate: int) -> np.ndarray | torch.Tensor:
        """Compute the fbank of one recording of one channel.

        Args:
            samples: (n_samples,) or (1, n_samples), floating point, full scale at 1; a tensor may be on any device.
            sampling_rate: Hz.

        Returns:
            (frames, num_mel_bins) float32; a tensor, on the CPU, where a tensor was given.

        Raises:
            SdpnError: the samples are of several channels or recordings, no floating point numbers, of another
                sampling rate, not finite, or less than one frame.
        """
        if sampling_rate != self._fbank.config.sampling_rate:
            raise SdpnError(
                f"{sampling_rate} Hz where the fbank is for {self._fbank.config.sampling_rate} Hz: resample the cuts, "
                "or give the extractor another sampling_rate"
            )
        fbank = self._fbank(_one_channel(samples))
        return torch.from_numpy(fbank) if isinstance(samples, torch.Tensor) else fbank

    def extract_batch(self, samples: Any, sampling_rate: int, lengths: Any = None) -> Any:
        """Compute the fbank of several recordings: that of each alone, whatever it is padded with.

        Args:
            samples: a list of what `extract` takes, or one array or tensor of (batch, n_samples), (n_samples,) or
                (batch, 1, n_samples).
            sampling_rate: Hz.
            lengths: (batch,) numbers of samples before the padding, where there is one.

        Returns:
            As Lhotse's extractors: one matrix where one array of one recording was given; (batch, frames, bins) where
            all have as many frames; else a list of matrices.

        Raises:
            SdpnError: as `extract`.
        """
        parts = [samples] if getattr(samples, "ndim", 2) == 1 else list(samples)
        if lengths is not None:
            parts = [part[..., : int(length)] for part, length in zip(parts, lengths, strict=True)]
        found = [self.extract(part, sampling_rate) for part in parts]
        tensors = any(isinstance(matrix, torch.Tensor) for matrix in found)
        if tensors:
            found = [torch.as_tensor(matrix) for matrix in found]
        if len(found) == 1:
            return found if lengths is not None or isinstance(samples, list | tuple) else found[0]
        if len({matrix.shape for matrix in found}) > 1:
            return found
        return torch.stack(found) if tensors else np.stack(found)

    @staticmethod
    def mix(features_a: np.ndarray, features_b: np.ndarray, energy_scaling_factor_b: float) -> np.ndarray:
        """Log-mel of the sum of two signals, their phases apart."""
        total = np.exp(features_a) + energy_scaling_factor_b * np.exp(features_b)
        return np.log(np.maximum(total, ENERGY_FLOOR))

    @staticmethod
    def compute_energy(features: np.ndarray) -> float:
        """Sum of the energies of all bands and frames."""
        return float(np.exp(features).sum())


def _one_channel(samples: Any) -> np.ndarray:
    """(n_samples,) float32 of what `FbankExtractor.extract` takes."""
    if isinstance(samples, torch.Tensor):
        if not samples.is_floating_point():
            raise SdpnError(_NOT_FLOAT.format(str(samples.dtype).removeprefix("torch.")))
        samples = samples.detach().cpu().float().numpy()  # NumPy has no bfloat16
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise SdpnError(_NOT_FLOAT.format(samples.dtype))
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and len(samples) != 1):
        raise SdpnError(
            f"samples of the shape {samples.shape} where one channel of one recording is expected, (n_samples,) or "
            "(1, n_samples): choose a channel, or give several recordings to extract_batch"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return np.ascontiguousarray(samples.reshape(-1), dtype=np.float32)
