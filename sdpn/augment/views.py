"""The views of an utterance: clean global ones for the teacher, augmented local ones for the student.

Everything about a view (its crop, its copy, its noise) is a function of (seed, epoch, utterance id, view number), so
the views are the same for any number of workers and after any restart.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sdpn.augment.banks import Banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.kernels import render
from sdpn.augment.plan import Plan, Planner
from sdpn.augment.random import NORMALS
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import energy_weights, floor_of
from sdpn.features.index import FeatureIndex

# What decides how many points of the spectrum a band sums up, and so how far phases spread it
_OF_PHASES = ("profile", "sampling_rate", "num_mel_bins", "frame_length", "low_freq", "high_freq", "window_type")


@dataclass(frozen=True)
class Views:
    """The views of a batch, in log-mel.

    Attributes:
        teacher: (teacher_views, batch, teacher_frames, bins) float32.
        student: (student_views, batch, student_frames, bins) float32.
    """

    teacher: np.ndarray
    student: np.ndarray


class ViewSampler:
    """Draws the views of utterances from the feature cache.

    Args:
        index: features of the training set.
        banks: what stage 3 made; a kind that is absent is never drawn.
        config: how the student's views are augmented.
        seed: of the run.
        teacher_views, teacher_frames: number and length of the clean global views.
        student_views, student_frames: number and length of the augmented local views.
        threads: how many render a batch; they change nothing of it.

    An utterance shorter than a view is repeated.
    """

    def __init__(
        self,
        index: FeatureIndex,
        banks: Banks,
        config: ViewConfig,
        seed: int,
        teacher_views: int = 1,
        teacher_frames: int = 400,
        student_views: int = 4,
        student_frames: int = 200,
        threads: int = 1,
    ):
        self.index, self.banks, self.config, self.seed = index, banks, config, seed
        self.teacher_views, self.teacher_frames = teacher_views, teacher_frames
        self.student_views, self.student_frames = student_views, student_frames
        self.planner = Planner(index, banks, config, seed)
        self._threads = threads
        self._weights = energy_weights(index.config)
        self._deviations = deviations(config, index.num_bins)
        self._floor = np.float32(floor_of(index.config))

    def empty(self, batch: int) -> Views:
        """Views of a batch of utterances with nothing in them yet, to be filled any number of times."""
        bins = self.index.num_bins
        return Views(
            np.empty((self.teacher_views, batch, self.teacher_frames, bins), dtype=np.float32),
            np.empty((self.student_views, batch, self.student_frames, bins), dtype=np.float32),
        )

    def views(self, epoch: int, utterances: np.ndarray, out: Views | None = None) -> Views:
        """The views of a batch.

        Args:
            epoch: counted from 0; each epoch has views of its own.
            utterances: (batch,) numbers of utterances in the index.
            out: where to write them, see `empty`; new memory where None.
        """
        utterances = np.asarray(utterances)
        out = self.empty(len(utterances)) if out is None else out
        self.teacher(epoch, utterances, out.teacher)
        self.student(epoch, utterances, out.student)
        return out

    def teacher(self, epoch: int, utterances: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The teacher's views of a batch alone: (teacher_views, batch, teacher_frames, bins) float32; see `views`."""
        utterances = np.asarray(utterances)
        if out is None:
            shape = (self.teacher_views, len(utterances), self.teacher_frames, self.index.num_bins)
            out = np.empty(shape, dtype=np.float32)
        self._in_threads(self.teacher_plan(epoch, utterances), out)
        return out

    def student(self, epoch: int, utterances: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The student's views of a batch alone: (student_views, batch, student_frames, bins) float32; see `views`."""
        utterances = np.asarray(utterances)
        if out is None:
            shape = (self.student_views, len(utterances), self.student_frames, self.index.num_bins)
            out = np.empty(shape, dtype=np.float32)
        self._in_threads(self.student_plan(epoch, utterances), out)
        return out

    def teacher_plan(self, epoch: int, utterances: np.ndarray) -> Plan:
        """Where the teacher's views of a batch are cut."""
        views = range(self.teacher_views)
        return self.planner.plan(
            epoch, utterances, views, self.teacher_frames, False, self._length(self.teacher_frames)
        )

    def student_plan(self, epoch: int, utterances: np.ndarray) -> Plan:
        """What the student's views of a batch are made of."""
        views = range(self.teacher_views, self.teacher_views + self.student_views)
        augmented = self.config.augment != "off"
        return self.planner.plan(
            epoch, utterances, views, self.student_frames, augmented, self._length(self.student_frames)
        )

    def _length(self, frames: int) -> int:
        """Rows of the banks that a view of `frames` frames is cut from."""
        return frames

    def _render(self, views: np.ndarray, rooms: np.ndarray, out: np.ndarray) -> None:
        """Render views (n,) into `out` (n, frames, bins); `rooms` are for audio alone."""
        render(views, self._weights, self._deviations, NORMALS, self._floor, out)

    def _in_threads(self, plan: Plan, out: np.ndarray) -> None:
        views, rooms, flat = plan.views.reshape(-1), plan.rooms.reshape(-1), out.reshape(-1, *out.shape[2:])

        def part(first: int, last: int) -> None:
            self._render(views[first:last], rooms[first:last], flat[first:last])

        if self._threads == 1:
            part(0, len(views))
            return
        edges = np.linspace(0, len(views), self._threads + 1).astype(int)
        with ThreadPoolExecutor(self._threads) as pool:
            for done in [pool.submit(part, *pair) for pair in pairwise(edges)]:
                done.result()


def deviations(config: ViewConfig, num_bins: int) -> np.ndarray:
    """(bins,) float32 deviation of the phase term in each band, between the values that the configuration gives."""
    given = np.linspace(0, num_bins - 1, len(config.cross_term))
    return np.interp(np.arange(num_bins), given, config.cross_term).astype(np.float32)


def foreign_cross_term(config: ViewConfig, features: FbankConfig) -> str | None:
    """What to tell a user whose fbank is not the one that the default `cross_term` was estimated for; else None."""
    if config.augment != "mel" or config.cross_term != ViewConfig().cross_term:
        return None
    usual = FbankConfig()
    other = [name for name in _OF_PHASES if getattr(features, name) != getattr(usual, name)]
    if not other:
        return None
    settings = ", ".join(f"{name} {getattr(features, name)}" for name in other)
    return (
        f"cross_term is that of conf/fbank.yaml and these features have {settings}: estimate it with "
        "steps/estimate_cross_term.py --write, or noise is added less exactly"
    )
