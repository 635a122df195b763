"""Augmented views of training utterances, from which back-ends learn what rooms and noises do to an x-vector."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdpn.augment.banks import Banks, open_banks
from sdpn.augment.config import ViewConfig
from sdpn.extraction.config import ExtractionConfig
from sdpn.features.index import FeatureIndex
from sdpn.files import digest

if TYPE_CHECKING:
    from sdpn.augment.views import ViewSampler

VIEWS = "views"
"""The folder of the x-vectors of views, in the folder of the training set's x-vectors."""

_EPOCH = (1 << 31) - 1  # which no training reaches: these views are none that the network was trained on
_UTTERANCES_AT_ONCE = 32  # whose views are in memory together


@dataclass(frozen=True)
class AugmentedViews:
    """What the views of a training set are made of.

    Attributes:
        data: the folder whose stage 3 has made the banks.
        augment: how views are augmented; of it `ViewConfig.for_back_ends` counts.
        config: how many there are, and how long.
        seed: of the run.
    """

    data: Path
    augment: ViewConfig
    config: ExtractionConfig
    seed: int

    def banks(self, index: FeatureIndex) -> Banks:
        """What stage 3 made for the training set.

        Raises:
            SdpnError: see `open_banks`.
        """
        return open_banks(self.data, index, self.augment.augment)

    def sampler(self, index: FeatureIndex) -> "ViewSampler":
        """A sampler whose student views are these."""
        from sdpn.augment.sampling import make_sampler

        counts = {"student_views": self.config.views, "student_frames": self.config.view_frames}
        return make_sampler(index, self.banks(index), self.augment.for_back_ends(), self.seed, **counts)

    def chosen(self, index: FeatureIndex) -> np.ndarray:
        """The numbers of the utterances that views are made of, rising: (n_chosen,).

        They have the smallest random keys, each a function of (seed, utterance id) alone: a sample that stays the same
        when the set grows, but for the new utterances in it.
        """
        from sdpn.augment.random import view_keys

        count = min(max(1, round(self.config.view_share * len(index))), self.config.view_utterances, len(index))
        keys = view_keys(self.seed, _EPOCH, index.keys, 0, 1)[0]
        return np.sort(np.argsort(keys, kind="stable")[:count])

    def augmentation(self) -> dict[str, Any]:
        """How views are augmented, as JSON has it."""
        augment = dataclasses.asdict(self.augment.for_back_ends())
        return {name: list(v) if isinstance(v, tuple) else v for name, v in augment.items()}

    def fingerprint(self, index: FeatureIndex) -> dict[str, Any]:
        """What the views depend on beside the features."""
        return {
            "banks": self.banks(index).fingerprint,
            "augment": digest(self.augmentation()),
            "seed": self.seed,
            **{name: value for name, value in dataclasses.asdict(self.config).items() if name.startswith("view")},
        }

    def rendered(self, index: FeatureIndex, utterances: list[int]) -> Iterator[np.ndarray]:
        """The views of some utterances, some at a time: (n_utterances * views, frames, bins) float32.

        All views of an utterance follow each other.
        """
        sampler = self.sampler(index)
        for first in range(0, len(utterances), _UTTERANCES_AT_ONCE):
            some = np.array(utterances[first : first + _UTTERANCES_AT_ONCE])
            views = sampler.student(_EPOCH, some)
            yield np.ascontiguousarray(views.swapaxes(0, 1)).reshape(-1, *views.shape[2:])


def view_names(utterance: str, count: int) -> list[str]:
    """The ids of the views of an utterance, e.g. `a-view1`, `a-view2`."""
    return [f"{utterance}-view{number}" for number in range(1, count + 1)]


def utterance_of(view: str) -> str:
    """The id of the utterance that a view is of."""
    return view.rpartition("-view")[0]
