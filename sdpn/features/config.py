"""The settings of stage 2, as conf/fbank.yaml gives them."""

from dataclasses import dataclass
from typing import Any

from sdpn.config import refuse_unknown_choices, value

PROFILES = ("kaldi", "mel_3dspeaker")
# What the published 3D-Speaker models were trained on; the other settings of a window and a filter follow from these
_FIXED_BY_3DSPEAKER: dict[str, Any] = {
    "frame_length": 25.0,
    "frame_shift": 10.0,
    "low_freq": 0.0,
    "high_freq": 0.0,
    "preemphasis_coefficient": 0.0,
    "remove_dc_offset": False,
    "window_type": "hanning",
    "snip_edges": False,
}


@dataclass(frozen=True)
class FbankConfig:
    """Log-mel filterbanks, and how they are stored. Names and meanings are Kaldi's."""

    profile: str = value(
        "kaldi", "whose definition: Kaldi's fbank, or torchaudio's MelSpectrogram as in 3D-Speaker", one_of=PROFILES
    )
    sampling_rate: int = value(16000, "Hz; cuts of another rate are refused", at_least=4000, at_most=768_000)
    num_mel_bins: int = value(80, "filters", at_least=8, at_most=256)
    frame_length: float = value(25.0, "ms", above=0)
    frame_shift: float = value(10.0, "ms", above=0)
    low_freq: float = value(20.0, "Hz, lower edge of the lowest filter", at_least=0)
    high_freq: float = value(-400.0, "Hz, upper edge of the highest filter; 0 or below: relative to Nyquist")
    preemphasis_coefficient: float = value(0.97, "0 = none", at_least=0, below=1)
    remove_dc_offset: bool = value(True, "subtract each frame's mean")
    window_type: str = value("povey", "", one_of=("povey", "hanning", "hamming", "blackman", "rectangular"))
    snip_edges: bool = value(False, "only frames that lie wholly inside the utterance")
    sample_scale: float = value(
        1.0, "amplitude of full scale; 32768 gives Kaldi's 16-bit integers", at_least=1, at_most=65536
    )

    vad: str = value("none", "energy: keep speech frames alone, as Kaldi's compute-vad", one_of=("none", "energy"))
    vad_energy_threshold: float = value(5.0, "log-energy of 16-bit samples; see compute-vad")
    vad_energy_mean_scale: float = value(0.5, "times the utterance's mean log-energy, added to that", at_least=0)
    vad_frames_context: int = value(0, "frames to each side that have a say", at_least=0)
    vad_proportion_threshold: float = value(0.6, "share of those that must be loud for speech", above=0, below=1)
    cmvn: str = value(
        "none",
        "cepstral normalization, as of Kaldi's apply-cmvn and apply-cmvn-sliding",
        one_of=("none", "mean", "mean-variance", "sliding"),
    )
    cmvn_window: int = value(300, "frames that the sliding mean is taken over", at_least=2)

    feats_type: str = value("ark", "how the cache is written: Kaldi ark or HDF5", one_of=("ark", "hdf5"))
    compress: str = value(
        "16bit",
        "none = float32; 16bit, 8bit = integers with a scale (Kaldi's CM2, CM3); float16 with hdf5",
        one_of=("none", "float16", "16bit", "8bit"),
    )
    shard_size: int | None = value(
        None, "utterances in one file of the cache; null: 200, or 1/500 of the set", at_least=1
    )

    def __post_init__(self) -> None:
        if self.profile != "waveform":  # of samples, which has none of the settings
            refuse_unknown_choices(self)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        nyquist = self.sampling_rate / 2
        if not self.low_freq < self.highest_freq <= nyquist:
            raise ValueError(
                f"high_freq is {self.high_freq:g}; with low_freq {self.low_freq:g} it must lie above that and at most "
                f"at {nyquist:g} Hz"
            )
        if self.frame_shift > self.frame_length:
            raise ValueError(f"frame_shift is {self.frame_shift:g}; expected at most frame_length")
        for name, fewest in (("frame_length", 2), ("frame_shift", 1)):
            milliseconds = getattr(self, name)
            if int(self.sampling_rate * 0.001 * milliseconds) < fewest:
                raise ValueError(
                    f"{name} is {milliseconds:g} ms; expected at least {fewest} samples of {self.sampling_rate} Hz"
                )
        if self.profile == "mel_3dspeaker":
            for name, fixed in _FIXED_BY_3DSPEAKER.items():
                if getattr(self, name) != fixed:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}; the profile mel_3dspeaker means {fixed}: begin with "
                        "conf/fbank_3dspeaker.yaml"
                    )
        if self.compress == "float16" and self.feats_type == "ark":
            raise ValueError("compress is float16, which Kaldi's arks do not know: choose 16bit, or feats_type hdf5")

    @classmethod
    def of_3dspeaker(cls, num_mel_bins: int = 80) -> "FbankConfig":
        """What 3D-Speaker's published SDPN and RDINO models were trained on, as conf/fbank_3dspeaker.yaml has it."""
        return cls(profile="mel_3dspeaker", num_mel_bins=num_mel_bins, **_FIXED_BY_3DSPEAKER)

    @property
    def highest_freq(self) -> float:
        """Hz, upper edge of the highest filter."""
        return self.high_freq if self.high_freq > 0 else self.sampling_rate / 2 + self.high_freq

    @property
    def row_seconds(self) -> float:
        """The time from one row of the cache to the next: a frame's shift, or a sample where audio is cached."""
        return 1 / self.sampling_rate if self.profile == "waveform" else self.frame_shift / 1000

    def spectral(self) -> dict:
        """The settings that shape the features themselves, without those of storage."""
        storage = {"feats_type", "compress", "shard_size"}
        return {name: setting for name, setting in vars(self).items() if name not in storage}
