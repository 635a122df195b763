"""x-vectors of whole utterances: cached features in, embeddings out, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from sdpn.features.index import FeatureIndex

_ROUND = 16  # batches are padded to a multiple of it, which convolutions of one frame like


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
        encoder: (batch, frames, bins) and lengths (batch,) -> (batch, dimensions), see sdpn.models.
        device: where the encoder is.
        max_frames: a longer utterance is cut into windows of equal length, at most so long; its x-vector is the mean
            of theirs, weighted by duration.
        batch_frames: frames in a batch, padding included, so that memory is bounded; a longer window is alone.
    """

    def __init__(self, encoder: nn.Module, device: torch.device, max_frames: int = 6000, batch_frames: int = 4000):
        self.encoder, self.device = encoder, device
        self.max_frames, self.batch_frames = max_frames, batch_frames

    @torch.inference_mode()
    def extract(
        self, index: FeatureIndex, utterances: Sequence[int], advance: Callable[[int], None] = lambda count: None
    ) -> np.ndarray:
        """The x-vectors of `utterances` of an index: (n_utterances, dimensions) float32, in their order.

        Args:
            advance: told after each batch how many of its windows were the first of their utterance.
        """
        rows = {utterance: row for row, utterance in enumerate(utterances)}
        windows = [window for one in utterances for window in windows_of(one, index.frames[one], self.max_frames)]
        sums = None
        for batch in batches_of(windows, self.batch_frames):
            embeddings = self._embed(index, batch).astype(np.float64)
            if sums is None:
                sums = np.zeros((len(utterances), embeddings.shape[1]))
            for window, embedding in zip(batch, embeddings, strict=True):
                sums[rows[window.utterance]] += embedding * window.frames
            advance(sum(window.start == 0 for window in batch))
        frames = np.asarray(index.frames[list(utterances)], dtype=np.float64)
        return (sums / frames[:, None]).astype(np.float32)

    def _embed(self, index: FeatureIndex, batch: Sequence[Window]) -> np.ndarray:
        longest = max(window.frames for window in batch)
        features = np.zeros((len(batch), -(-longest // _ROUND) * _ROUND, index.num_bins), dtype=np.float32)
        for row, window in zip(features, batch, strict=True):
            row[: window.frames] = index.read(window.utterance, window.start, window.stop)
        lengths = torch.tensor([window.frames for window in batch])
        embeddings = self.encoder(torch.from_numpy(features).to(self.device), lengths.to(self.device))
        return embeddings.cpu().numpy()


def windows_of(utterance: int, frames: int, max_frames: int) -> list[Window]:
    """Cut an utterance into the fewest windows of at most `max_frames`, equal in length to a frame."""
    count = -(-int(frames) // max_frames)
    edges = [int(frames) * piece // count for piece in range(count + 1)]
    return [Window(utterance, start, stop) for start, stop in pairwise(edges)]


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


def fbank_statistics(index: FeatureIndex, utterances: Sequence[int]) -> np.ndarray:
    """Mean and standard deviation over frames of the cached fbank: (n_utterances, 2 * bins) float32, a baseline."""
    vectors = np.empty((len(utterances), 2 * index.num_bins), dtype=np.float32)
    for row, utterance in zip(vectors, utterances, strict=True):
        features = index.read(utterance).astype(np.float64)
        row[: index.num_bins] = features.mean(axis=0)
        row[index.num_bins :] = features.std(axis=0)
    return vectors
