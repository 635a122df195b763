"""The settings of stage 2, as conf/fbank.yaml gives them."""

from dataclasses import dataclass

from sdpn.config import value


@dataclass(frozen=True)
class FbankConfig:
    """Log-mel filterbanks by Kaldi's definition, and how they are stored. Names and meanings are Kaldi's."""

    sampling_rate: int = value(16000, "Hz; cuts of another rate are refused", at_least=4000)
    num_mel_bins: int = value(80, "filters", at_least=8, at_most=256)
    frame_length: float = value(25.0, "ms", above=0)
    frame_shift: float = value(10.0, "ms", above=0)
    low_freq: float = value(20.0, "Hz, lower edge of the lowest filter", at_least=0)
    high_freq: float = value(-400.0, "Hz, upper edge of the highest filter; 0 or below: relative to Nyquist")
    preemphasis_coefficient: float = value(0.97, "0 = none", at_least=0, below=1)
    remove_dc_offset: bool = value(True, "subtract each frame's mean")
    window_type: str = value("povey", "", one_of=("povey", "hanning", "hamming", "blackman", "rectangular"))
    snip_edges: bool = value(False, "only frames that lie wholly inside the utterance")
    sample_scale: float = value(1.0, "amplitude of full scale; 32768 gives Kaldi's 16-bit integers", above=0)
    feats_type: str = value("ark", "how the cache is written: Kaldi ark or HDF5", one_of=("ark", "hdf5"))
    compress: str = value("16bit", "none = float32; 16bit, 8bit = Kaldi's CM2, CM3", one_of=("none", "16bit", "8bit"))
    shard_size: int = value(200, "utterances in one file of the cache, whatever --nj is", at_least=1)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        nyquist = self.sampling_rate / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not self.low_freq < high <= nyquist:
            raise ValueError(
                f"high_freq is {self.high_freq:g}; with low_freq {self.low_freq:g} it must lie above that and at most "
                f"at {nyquist:g} Hz"
            )
        if self.frame_shift > self.frame_length:
            raise ValueError(f"frame_shift is {self.frame_shift:g}; expected at most frame_length")

    def spectral(self) -> dict:
        """The settings that shape the features themselves, without those of storage."""
        storage = {"feats_type", "compress", "shard_size"}
        return {name: setting for name, setting in vars(self).items() if name not in storage}
