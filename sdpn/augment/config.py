"""The settings of stages 3 and 4 that say how views are augmented, as conf/augment.yaml gives them."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from sdpn.config import refuse_unknown_choices, value

NOISE_KINDS = ("noise", "music", "babble")
MODES = ("mel", "waveform", "off")
_MODE_HELP = "mel: noise is added to cached fbank; waveform: to cached audio, exactly and slowly; off: crops alone"


@dataclass(frozen=True)
class BankConfig:
    """What stage 3 makes."""

    augment: str = value("mel", _MODE_HELP, one_of=MODES)
    reverb_copies: int = value(1, "reverberated copies of the training set that stage 3 caches", at_least=0)
    speeds: str = value(
        "1.0", "speeds at which stage 3 caches the training set, separated by commas; an epoch takes one an utterance"
    )
    max_rir_seconds: float = value(2.0, "longer room impulse responses are cut off there", at_least=0.05)
    babble_clips: int = value(200, "babble clips that stage 3 makes of training utterances", at_least=0)
    babble_seconds: float = value(6.0, "length of a babble clip", above=0)
    babble_talkers: tuple[int, int] = value((3, 7), "fewest and most talkers in a babble clip", at_least=1)

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.babble_talkers[0] > self.babble_talkers[1]:
            raise ValueError(f"babble_talkers is {list(self.babble_talkers)}; expected the smaller number first")
        try:
            speeds = self.speed_factors
        except ValueError:
            speeds = ()
        names = {f"{speed:g}" for speed in speeds}  # of the folders that they are cached in
        if not speeds or len(names) < len(speeds) or not all(0.5 <= speed <= 2 for speed in speeds):
            raise ValueError(
                f"speeds is {self.speeds!r}; expected different numbers between 0.5 and 2, as in '0.9, 1.0, 1.1'"
            )

    @property
    def speed_factors(self) -> tuple[float, ...]:
        """The speeds as numbers."""
        return tuple(float(speed) for speed in self.speeds.split(","))


@dataclass(frozen=True)
class ViewConfig:
    """Which student views are reverberated, which are noisy, and how much. SNRs are uniform between two ends, in dB."""

    augment: str = value("mel", _MODE_HELP, one_of=MODES)
    p_clean: float = value(0.16666667, "share of student views with nothing added", at_least=0, at_most=1)
    p_both: float = value(
        0.33333333, "share with both reverberation and noise; the rest has one of them", at_least=0, at_most=1
    )
    p_reverb_of_one: float = value(
        1 / 4, "where it is one of them: reverberation rather than noise", at_least=0, at_most=1
    )
    noise_weights: tuple[float, float, float] = value((1.0, 1.0, 1.0), "how often noise, music, babble", at_least=0)
    noise_snr: tuple[float, float] = value((0.0, 15.0), "dB", at_least=-50, at_most=100)
    music_snr: tuple[float, float] = value((5.0, 15.0), "dB", at_least=-50, at_most=100)
    babble_snr: tuple[float, float] = value((13.0, 20.0), "dB", at_least=-50, at_most=100)

    cross_term: tuple[float, ...] = value(
        (0.666, 0.554, 0.509, 0.471, 0.445, 0.405, 0.375, 0.352, 0.338),
        "deviation of the phase term between speech and noise, at evenly spaced bands from the lowest to the highest",
        at_least=0,
        at_most=1,
    )
    p_mask: float = value(0.2, "share of student views with a time and a frequency mask", at_least=0, at_most=1)
    mask_frames: int = value(10, "longest time mask, frames", at_least=0)
    mask_bins: int = value(6, "widest frequency mask, bins", at_least=0)

    p_equalize: float = value(
        1.0, "share of student views whose bins are raised and lowered by a random smooth curve", at_least=0, at_most=1
    )
    equalize_strength: float = value(
        0.5, "neper of energy (1: 4.3 dB), deviation of the broadest of the curve's cosines", at_least=0
    )
    level: tuple[float, float] = value((0.0, 0.0), "dB by which a student view is louder, uniform")
    p_band_limit: float = value(0.2, "share of student views limited to a telephone's band", at_least=0, at_most=1)
    band_limit_low: tuple[float, float] = value((100.0, 400.0), "Hz, where such a band begins, uniform", at_least=0)
    band_limit_high: tuple[float, float] = value((3000.0, 3800.0), "Hz, where it ends", at_least=0)
    band_limit_loss: float = value(40.0, "dB, attenuation outside it", at_least=0)
    p_codec: float = value(0.0, "share of student views with the noise of a codec", at_least=0, at_most=1)
    codec_snr: tuple[float, float] = value((10.0, 25.0), "dB in every band, uniform", at_least=-50, at_most=100)

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.p_clean + self.p_both > 1 + 1e-9:
            raise ValueError(f"p_clean + p_both is {self.p_clean + self.p_both:g}; expected at most 1")
        ranges = ("noise_snr", "music_snr", "babble_snr", "level", "band_limit_low", "band_limit_high", "codec_snr")
        for name in ranges:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low:g}, {high:g}]; expected the lower end first")
        if self.band_limit_low[1] >= self.band_limit_high[0]:
            raise ValueError(f"band_limit_low is {list(self.band_limit_low)}; expected it to end below band_limit_high")
        if len(self.cross_term) < 2:
            raise ValueError(f"cross_term is {list(self.cross_term)}; expected at least two values, lowest band first")
        if sum(self.noise_weights) <= 0:
            raise ValueError("noise_weights are all 0; expected at least one above 0")

    def for_back_ends(self) -> "ViewConfig":
        """Return the settings of the views that back-ends learn from: rooms and noises, and nothing that disguises.

        Masks, equalization and band limits teach a network what not to rely on; a back-end takes them for what tells
        the recordings of one speaker apart. On held-out speakers it was better without.
        """
        return replace(self, p_mask=0.0, p_equalize=0.0, p_band_limit=0.0)

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

    def recorded(self) -> dict[str, Any]:
        """How views are augmented, as the config.yaml of an experiment has it."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self.part(ViewConfig).items()}
