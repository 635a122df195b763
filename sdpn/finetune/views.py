"""The views of stage 8: augmented crops by the sampler of stage 4, longer ones in the large-margin phase."""

from collections.abc import Callable

import numpy as np

from sdpn.augment.views import Views, ViewSampler
from sdpn.finetune.config import FineTuneConfig


class Crops:
    """One augmented crop of each utterance, and clean views for label correction.

    Args:
        sampler: makes a ViewSampler of given `teacher_frames` and `student_frames`, one view of each.
        config: of the fine-tuning.
    """

    def __init__(self, sampler: Callable[..., ViewSampler], config: FineTuneConfig):
        self.config = config
        lengths = (config.frames, config.large_margin_frames)
        self._main, self._large_margin = (
            sampler(teacher_views=1, teacher_frames=config.correction_frames, student_views=1, student_frames=frames)
            for frames in lengths
        )
        self.index = self._main.index

    def views(self, epoch: int, utterances: np.ndarray) -> Views:
        """The crops of a batch as the student's views; there are no teacher's."""
        sampler = self._main if epoch < self.config.epochs else self._large_margin
        crops = sampler.student(epoch, utterances)
        return Views(np.empty((0, *crops.shape[1:]), dtype=np.float32), crops)

    def clean(self, epoch: int, utterances: np.ndarray) -> np.ndarray:
        """Clean views: (batch, correction_frames, bins) float32."""
        return self._main.teacher(epoch, utterances)[0]
