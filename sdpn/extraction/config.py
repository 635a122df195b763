"""The settings of stage 5, as conf/extraction.yaml gives them."""

from dataclasses import dataclass

from sdpn.config import value
from sdpn.extraction.baselines import ALL, baselines_of


@dataclass(frozen=True)
class ExtractionConfig:
    """conf/extraction.yaml."""

    views: int = value(5, "augmented views of each training utterance; 0: none", at_least=0, at_most=100)
    view_frames: int = value(400, "frames in each view", at_least=10)
    view_share: float = value(1.0, "share of the training utterances that views are made of", above=0, at_most=1)
    view_utterances: int = value(100_000, "views are made of so many utterances at most", at_least=1)
    baselines: str = value(ALL, f"whose vectors to make for comparison: none, or of {ALL}")

    def check(self) -> None:
        baselines_of(self.baselines)
