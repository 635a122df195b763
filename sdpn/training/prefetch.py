"""Which utterances a step sees, and batches of their views, made in the background in the order of the steps."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from sdpn.augment.views import Views
from sdpn.features.index import FeatureIndex
from sdpn.training.ranks import Ranks


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


class ViewSource(Protocol):
    """Whatever draws the views of utterances, as ViewSampler does.

    Attributes:
        index: features of the training set.
    """

    index: FeatureIndex

    def views(self, epoch: int, utterances: np.ndarray) -> Views:
        """The views of utterances (batch,), numbers in the index, in an epoch, a function of both."""


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        step, epoch: counted from 0.
        position: of the step in its epoch, from 0.
        utterances: (batch,) numbers in the feature index, of the whole step.
        teacher: (teacher_views, share, teacher_frames, bins), of this rank's share of them, on the device.
        student: (student_views, share, student_frames, bins).
    """

    step: int
    epoch: int
    position: int
    utterances: np.ndarray
    teacher: torch.Tensor | None
    student: torch.Tensor | None

    def without_views(self) -> "Batch":
        """The same, to be remembered without holding memory."""
        return dataclasses.replace(self, teacher=None, student=None)


class Prefetcher:
    """Makes the batches of the steps [first, last) in a thread, up to `depth` ahead.

    The views come from a numba kernel that leaves the interpreter free, so they are ready when the step before is
    done. `waited` counts the seconds in which that was not so. A GPU gets them from pinned memory through a stream of
    their own, beside its computations.
    """

    def __init__(
        self,
        views: ViewSource,
        batches: BatchSampler,
        first: int,
        last: int,
        device: torch.device,
        ranks: Ranks | None = None,
        depth: int = 2,
    ):
        self._views, self._batches, self._device, self._ranks = views, batches, device, ranks or Ranks()
        self._steps = range(first, last)
        self._queue: queue.Queue = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="views", daemon=True)
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.waited = 0.0

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        for _ in self._steps:
            start = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - start
            if isinstance(item, BaseException):
                raise item
            batch, copied = item
            if copied is not None:
                computing = torch.cuda.current_stream(self._device)
                computing.wait_event(copied)
                for views in (batch.teacher, batch.student):  # allocated on one stream, used on the other
                    views.record_stream(computing)
            yield batch

    def _work(self) -> None:
        try:
            for step in self._steps:
                if self._stopped.is_set():
                    return
                self._put(self._make(step))
        except BaseException as error:  # raised again where the batch is asked for
            self._put(error)

    def _put(self, item: tuple | BaseException) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.2)
                return

    def _make(self, step: int) -> tuple[Batch, "torch.cuda.Event | None"]:
        """The batch of a step, and what says that it has arrived on the GPU."""
        epoch, utterances = self._batches.batch(step)
        views = self._views.views(epoch, self._ranks.share(utterances))
        teacher, student, copied = torch.from_numpy(views.teacher), torch.from_numpy(views.student), None
        if self._copies is not None:
            with torch.cuda.stream(self._copies):
                teacher = teacher.pin_memory().to(self._device, non_blocking=True)
                student = student.pin_memory().to(self._device, non_blocking=True)
                copied = self._copies.record_event()
        return Batch(step, epoch, step % self._batches.steps_per_epoch, utterances, teacher, student), copied
