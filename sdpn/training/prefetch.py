"""Batches of views made in the background, in the order of the steps."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sdpn.augment.views import ViewSampler
from sdpn.training.sampler import BatchSampler


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        step, epoch: counted from 0.
        utterances: (batch,) numbers in the feature index.
        teacher: (teacher_views, batch, teacher_frames, bins), on the device.
        student: (student_views, batch, student_frames, bins), on the device.
    """

    step: int
    epoch: int
    utterances: np.ndarray
    teacher: torch.Tensor | None
    student: torch.Tensor | None

    def without_views(self) -> "Batch":
        """The same, to be remembered without holding memory."""
        return dataclasses.replace(self, teacher=None, student=None)


class Prefetcher:
    """Makes the batches of the steps [first, last) in a thread, up to `depth` ahead.

    The views come from a numba kernel that leaves the interpreter free, so they are ready when the step before is
    done. `waited` counts the seconds in which that was not so.
    """

    def __init__(
        self,
        views: ViewSampler,
        batches: BatchSampler,
        first: int,
        last: int,
        device: torch.device,
        depth: int = 2,
    ):
        self._views, self._batches, self._device = views, batches, device
        self._steps = range(first, last)
        self._queue: queue.Queue = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="views", daemon=True)
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
            yield item

    def _work(self) -> None:
        try:
            for step in self._steps:
                if self._stopped.is_set():
                    return
                self._put(self._make(step))
        except BaseException as error:  # raised again where the batch is asked for
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.2)
                return

    def _make(self, step: int) -> Batch:
        epoch, utterances = self._batches.batch(step)
        views = self._views.views(epoch, utterances)
        teacher, student = torch.from_numpy(views.teacher), torch.from_numpy(views.student)
        if self._device.type == "cuda":
            teacher = teacher.pin_memory().to(self._device, non_blocking=True)
            student = student.pin_memory().to(self._device, non_blocking=True)
        return Batch(step, epoch, utterances, teacher, student)
