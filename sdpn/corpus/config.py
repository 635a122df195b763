"""The settings of stage 1, as conf/cuts.yaml gives them."""

from dataclasses import dataclass

from sdpn.config import value


@dataclass(frozen=True)
class CutsConfig:
    """What the cuts of every set are made to be, and which training utterances are left out."""

    sampling_rate: int = value(16000, "Hz; recordings of another rate are resampled when they are read", at_least=4000)
    channel: int = value(0, "the channel used of recordings that have several", at_least=0)
    min_duration: float = value(1.0, "s; shorter training utterances are left out", at_least=0)
    max_duration: float = value(3600.0, "s; longer training utterances are left out", above=0)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.min_duration > self.max_duration:
            raise ValueError(
                f"min_duration is {self.min_duration:g}; expected at most max_duration, which is {self.max_duration:g}"
            )
