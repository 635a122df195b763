"""Which utterances a step sees."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class BatchSampler:
    """Each epoch takes the utterances in a random order of its own; what does not fill a last batch is left out.

    A batch is a function of (seed, step), so a training that goes on needs to know its step and nothing else.

    Attributes:
        num_utterances: that are taken.
        batch_size: utterances in a step.
        seed: of the run.
        chosen: the numbers of the utterances that are taken, where these are not all: (num_utterances,).

    There are at least as many utterances as a batch takes.
    """

    num_utterances: int
    batch_size: int
    seed: int
    chosen: np.ndarray | None = field(default=None, compare=False)

    @property
    def steps_per_epoch(self) -> int:
        return self.num_utterances // self.batch_size

    def batch(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch that `step` belongs to, and the (batch_size,) numbers of its utterances."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(self.num_utterances, self.seed, epoch)
        rows = order[position * self.batch_size : (position + 1) * self.batch_size]
        return epoch, rows if self.chosen is None else self.chosen[rows]


@lru_cache(maxsize=2)
def _order(num_utterances: int, seed: int, epoch: int) -> np.ndarray:
    key = np.array([seed, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(num_utterances)
