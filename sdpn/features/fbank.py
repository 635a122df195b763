"""Log-mel filterbanks by Kaldi's definition, computed by Lhotse."""

import math
import warnings

import numpy as np

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig

ENERGY_FLOOR = float(np.finfo(np.float32).eps)
"""The floor under a band's energy before the logarithm, as in Kaldi."""


class Fbank:
    """Computes the fbank of one utterance at a time.

    Agrees with Kaldi's compute-fbank-feats (dither 0) and kaldi-native-fbank to 1e-3 in the logarithm, for samples
    of the same scale.

    Example::

        >>> fbank = Fbank(FbankConfig())
        >>> fbank(np.zeros(16000, dtype=np.float32)).shape
        (100, 80)
    """

    def __init__(self, config: FbankConfig):
        from lhotse import Fbank as LhotseFbank
        from lhotse import FbankConfig as LhotseFbankConfig

        self.config = config
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lhotse warns of snip_edges, which it only needs for its own durations
            self._extractor = LhotseFbank(
                LhotseFbankConfig(
                    sampling_rate=config.sampling_rate,
                    num_filters=config.num_mel_bins,
                    frame_length=config.frame_length / 1000,
                    frame_shift=config.frame_shift / 1000,
                    low_freq=config.low_freq,
                    high_freq=config.high_freq,
                    preemph_coeff=config.preemphasis_coefficient,
                    remove_dc_offset=config.remove_dc_offset,
                    window_type=config.window_type,
                    snip_edges=config.snip_edges,
                    dither=0.0,
                    energy_floor=ENERGY_FLOOR,
                    torchaudio_compatible_mel_scale=True,
                )
            )

    def num_frames(self, num_samples: int) -> int:
        """The number of frames of an utterance of `num_samples`."""
        shift = round(self.config.sampling_rate * self.config.frame_shift / 1000)
        length = round(self.config.sampling_rate * self.config.frame_length / 1000)
        if self.config.snip_edges:
            return max(0, (num_samples - length) // shift + 1)
        return (num_samples + shift // 2) // shift

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Compute log-mel energies.

        Args:
            samples: (n_samples,) float, full scale at 1.

        Returns:
            (n_frames, num_mel_bins) float32, natural logarithm.

        Raises:
            SdpnError: samples are NaN or infinite, or make up less than one frame.
        """
        if not np.isfinite(samples).all():
            raise SdpnError("samples are NaN or infinite")
        length = math.ceil(self.config.sampling_rate * self.config.frame_length / 1000)
        if len(samples) < length:
            raise SdpnError(f"{len(samples)} samples are shorter than one frame ({length})")
        scaled = np.asarray(samples, dtype=np.float32) * np.float32(self.config.sample_scale)
        return self._extractor.extract(scaled, self.config.sampling_rate)


def band_centres(config: FbankConfig) -> np.ndarray:
    """Centre frequencies of the mel filters in Hz, (num_mel_bins,); Kaldi's mel scale, 1127 ln(1 + f / 700)."""
    nyquist = config.sampling_rate / 2
    high = config.high_freq if config.high_freq > 0 else nyquist + config.high_freq
    edges = 1127 * np.log1p(np.array([config.low_freq, high]) / 700)
    centres = np.linspace(edges[0], edges[1], config.num_mel_bins + 2)[1:-1]
    return 700 * np.expm1(centres / 1127)
