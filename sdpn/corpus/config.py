"""The settings of stage 1, as conf/cuts.yaml gives them."""

from dataclasses import dataclass

from sdpn.config import value


@dataclass(frozen=True)
class CutsConfig:
    """What the cuts of every set are made to be, and which training utterances are left out."""

    sampling_rate: int = value(16000, "Hz; recordings of another rate are resampled when they are read", at_least=4000)
    channel: int = value(0, "the channel used of recordings that have several", at_least=0)
    min_duration: float = value(1.0, "s; shorter training utterances are left out", at_least=0)
    max_duration: float = value(
        60.0, "s; longer training utterances (without feats.scp) and clips become several cuts", above=0
    )
    max_skipped: float = value(0.05, "share of a set that may be left out; more is an error", at_least=0, at_most=1)
    trim_silence: bool = value(False, "cut off what an energy detector hears no speech in at both ends of utterances")
    vad_energy_threshold: float = value(5.5, "a frame is speech whose log-energy (16-bit scale) is above this ...")
    vad_energy_mean_scale: float = value(0.5, "... plus this times the utterance's mean log-energy", at_least=0)
    vad_frames_context: int = value(2, "frames on each side of a frame that are heard with it", at_least=0)
    vad_proportion_threshold: float = value(
        0.12, "share of these that must be above, for the frame to be speech", above=0, at_most=1
    )
    vad_margin: float = value(0.1, "s kept at both ends", at_least=0)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.min_duration > self.max_duration / 2:
            raise ValueError(
                f"min_duration is {self.min_duration:g}; expected at most half of max_duration, which is "
                f"{self.max_duration:g}: longer utterances are cut into equal parts"
            )
