"""The settings of stages 3 and 4 that say how views are augmented, as conf/augment.yaml gives them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from sdpn.config import value

NOISE_KINDS = ("noise", "music", "babble")


@dataclass(frozen=True)
class BankConfig:
    """What stage 3 makes."""

    reverb_copies: int = value(1, "reverberated copies of the training set that stage 3 caches", at_least=0)
    max_rir_seconds: float = value(2.0, "longer room impulse responses are cut off there", above=0)
    babble_clips: int = value(200, "babble clips that stage 3 makes of training utterances", at_least=0)
    babble_seconds: float = value(6.0, "length of a babble clip", above=0)
    babble_talkers: tuple[int, int] = value((3, 7), "fewest and most talkers in a babble clip", at_least=1)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.babble_talkers[0] > self.babble_talkers[1]:
            raise ValueError(f"babble_talkers is {list(self.babble_talkers)}; expected the smaller number first")


@dataclass(frozen=True)
class ViewConfig:
    """Which student views are reverberated, which are noisy, and how much. SNRs are uniform between two ends, in dB."""

    p_clean: float = value(1 / 6, "share of student views with nothing added", at_least=0, at_most=1)
    p_both: float = value(
        1 / 3, "share with both reverberation and noise; the rest has one of them", at_least=0, at_most=1
    )
    p_reverb_of_one: float = value(
        1 / 4, "where it is one of them: reverberation rather than noise", at_least=0, at_most=1
    )
    noise_weights: tuple[float, float, float] = value((1.0, 1.0, 1.0), "how often noise, music, babble", at_least=0)
    noise_snr: tuple[float, float] = value((0.0, 15.0), "dB")
    music_snr: tuple[float, float] = value((5.0, 15.0), "dB")
    babble_snr: tuple[float, float] = value((13.0, 20.0), "dB")

    cross_term: tuple[float, float] = value(
        (0.63, 0.27),
        "deviation of the phase term between speech and noise, in the lowest and in the highest band",
        at_least=0,
        at_most=1,
    )
    p_mask: float = value(0.2, "share of student views with a time and a frequency mask", at_least=0, at_most=1)
    mask_frames: int = value(10, "longest time mask, frames", at_least=0)
    mask_bins: int = value(6, "widest frequency mask, bins", at_least=0)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.p_clean + self.p_both > 1 + 1e-9:
            raise ValueError(f"p_clean + p_both is {self.p_clean + self.p_both:g}; expected at most 1")
        for kind in NOISE_KINDS:
            low, high = self.snr(kind)
            if low > high:
                raise ValueError(f"{kind}_snr is [{low:g}, {high:g}]; expected the lower end first")
        if sum(self.noise_weights) <= 0:
            raise ValueError("noise_weights are all 0; expected at least one above 0")

    def snr(self, kind: str) -> tuple[float, float]:
        """The range of SNRs of a kind of noise, dB."""
        return {"noise": self.noise_snr, "music": self.music_snr, "babble": self.babble_snr}[kind]

    def noise_weight(self, kind: str) -> float:
        """How often a kind of noise is drawn, relative to the other kinds."""
        return self.noise_weights[NOISE_KINDS.index(kind)]


@dataclass(frozen=True)
class AugmentConfig(ViewConfig, BankConfig):
    """conf/augment.yaml: the settings of both stages."""

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        BankConfig.check(self)
        ViewConfig.check(self)

    def part(self, cls: type) -> dict[str, Any]:
        """The settings that are those of `cls`, one of the two, as a plain dictionary."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(cls)}
