"""x-vectors of whole utterances: cached features in, embeddings out, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

_ROUND = 16  # batches are padded to a multiple of it, which convolutions of one frame like


class Features(Protocol):
    """Features of utterances by their numbers, as a FeatureIndex holds them on disk and `Held` in memory.

    Attributes:
        num_bins: of every utterance.
        frames: (n_utterances,), the frames of each.
    """

    num_bins: int
    frames: np.ndarray

    def read(self, utterance: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of an utterance: (stop - start, num_bins) float32."""


class Held:
    """Features in memory: a list of (frames, num_bins) float32."""

    def __init__(self, matrices: Sequence[np.ndarray]):
        self.matrices = matrices
        self.num_bins = matrices[0].shape[1]
        self.frames = np.array([len(matrix) for matrix in matrices])

    def read(self, utterance: int, start: int, stop: int) -> np.ndarray:
        return self.matrices[utterance][start:stop]


@dataclass(frozen=True)
class Window:
    """A stretch of an utterance that is embedded at once: frames [start, stop) of utterance number `utterance`."""

    utterance: int
    start: int
    stop: int

    @property
    def frames(self) -> int:
        return self.stop - self.start


class Extractor:
    """Embeds whole utterances with an encoder in evaluation mode.

    Args:
        encoder: (batch, frames, bins) and lengths (batch,) -> (batch, dimensions), see sdpn.models: a module of torch,
            or a function of arrays such as an ONNX model's.
        device: where the module is; None for a function of arrays.
        max_frames: a longer utterance is cut into windows of equal length, at most so long; its x-vector is the mean
            of theirs, weighted by duration.
        batch_frames: frames in a batch, padding included, so that memory is bounded; a longer window is alone.
        crops: 0, or so many crops of `crop_frames`, evenly spread over the utterance, whose mean is its x-vector, as
            some evaluations do; an utterance of fewer frames is embedded whole.
        statistics: whether the statistics of the fbank (`fbank_statistics`) stand beside each x-vector.
    """

    def __init__(
        self,
        encoder: "nn.Module | Callable[[np.ndarray, np.ndarray], np.ndarray]",
        device: "torch.device | str | None",
        max_frames: int = 6000,
        batch_frames: int = 4000,
        crops: int = 0,
        crop_frames: int = 400,
        statistics: bool = False,
    ):
        self.encoder: Any = encoder
        self.device = device
        self.max_frames, self.batch_frames = max_frames, batch_frames
        self.crops, self.crop_frames = crops, crop_frames
        self.statistics = statistics

    def extract(self, features: Features, utterances: Sequence[int]) -> np.ndarray:
        """The x-vectors of `utterances` of `features`: (n_utterances, dimensions) float32, in their order."""
        rows = {utterance: row for row, utterance in enumerate(utterances)}
        windows = [window for one in utterances for window in self.windows(one, int(features.frames[one]))]
        sums, weights = np.zeros((len(utterances), 0)), np.zeros((len(utterances), 1))
        for batch in batches_of(windows, self.batch_frames):
            embeddings = self._embed(features, batch).astype(np.float64)
            if not sums.shape[1]:  # the first batch tells the dimension
                sums = np.zeros((len(utterances), embeddings.shape[1]))
            for window, embedding in zip(batch, embeddings, strict=True):
                sums[rows[window.utterance]] += embedding * window.frames
                weights[rows[window.utterance]] += window.frames
        xvectors = (sums / weights).astype(np.float32)
        return np.hstack((xvectors, fbank_statistics(features, utterances))) if self.statistics else xvectors

    def windows(self, utterance: int, frames: int) -> list[Window]:
        """What of an utterance is embedded: all of it, in windows where it is long, or crops."""
        if self.crops and frames > self.crop_frames:
            return crops_of(utterance, frames, self.crops, self.crop_frames)
        return windows_of(utterance, frames, self.max_frames)

    def _embed(self, features: Features, batch: Sequence[Window]) -> np.ndarray:
        longest = max(window.frames for window in batch)
        padded = np.zeros((len(batch), -(-longest // _ROUND) * _ROUND, features.num_bins), dtype=np.float32)
        for row, window in zip(padded, batch, strict=True):
            row[: window.frames] = features.read(window.utterance, window.start, window.stop)
        lengths = np.array([window.frames for window in batch])
        if self.device is None:
            return self.encoder(padded, lengths)
        import torch  # here: an exported model is used without it

        with torch.inference_mode():
            views, counts = torch.from_numpy(padded), torch.from_numpy(lengths)
            return self.encoder(views.to(self.device), counts.to(self.device)).cpu().numpy()


def windows_of(utterance: int, frames: int, max_frames: int) -> list[Window]:
    """Cut an utterance into the fewest windows of at most `max_frames`, equal in length to a frame."""
    count = -(-int(frames) // max_frames)
    edges = [int(frames) * piece // count for piece in range(count + 1)]
    return [Window(utterance, start, stop) for start, stop in pairwise(edges)]


def crops_of(utterance: int, frames: int, count: int, length: int) -> list[Window]:
    """`count` crops of `length` frames, the first at the beginning and the last at the end; one is in the middle."""
    last = frames - length
    starts = [last // 2] if count == 1 else [last * crop // (count - 1) for crop in range(count)]
    return [Window(utterance, start, start + length) for start in starts]


def batches_of(windows: Sequence[Window], batch_frames: int) -> Iterator[list[Window]]:
    """Windows of similar length together, each batch at most `batch_frames` with its padding, or one window alone."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda one: (one.frames, one.utterance, one.start)):
        padded = -(-window.frames // _ROUND) * _ROUND
        if batch and (len(batch) + 1) * padded > batch_frames:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def fbank_statistics(features: Features, utterances: Sequence[int]) -> np.ndarray:
    """Mean and standard deviation over frames of the cached fbank: (n_utterances, 2 * bins) float32, a baseline."""
    vectors = np.empty((len(utterances), 2 * features.num_bins), dtype=np.float32)
    for row, utterance in zip(vectors, utterances, strict=True):
        matrix = features.read(utterance, 0, int(features.frames[utterance])).astype(np.float64)
        row[: features.num_bins] = matrix.mean(axis=0)
        row[features.num_bins :] = matrix.std(axis=0)
    return vectors
