"""x-vectors of recordings: audio in, embeddings out, without a cache and without the recipe."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sdpn.audio.channels import OneChannel
from sdpn.console import Progress, warn
from sdpn.errors import SdpnError
from sdpn.extraction.extractor import Extractor, Held, windows_of
from sdpn.features.fbank import Fbank
from sdpn.features.frontend import features_of
from sdpn.features.storage import Matrix
from sdpn.models.folder import fbank_config, read_model

_FRAMES_AT_ONCE = 40_000  # of recordings whose features wait in memory to be embedded together
_FILES_PER_JOB = 100


class Embedded(NamedTuple):
    """What became of a recording: its x-vector (D,) and the frames it was made from, or why there is none.

    `note` says what is to be known of it besides: which of several channels was taken.
    """

    vector: np.ndarray | None
    num_frames: int = 0
    reason: str = ""
    note: str = ""


class Embedder:
    """The network of a model folder with its front-end: recording -> x-vector.

    Args:
        model: the model folder.
        device: where the network computes.
        max_frames: longer recordings go in windows; see Extractor.
        statistics: whether mean and deviation of the fbank stand beside each x-vector, as in the system
            xvector+fbank-stats of the recipe.

    Attributes:
        sampling_rate: Hz, of the features; any other rate is resampled to it.
        dimension: of the vectors, statistics included.
        statistics: as above.
        frame_seconds: what a frame stands for.

    Raises:
        SdpnError: there is no model in the folder, or one that cannot be read.
    """

    def __init__(
        self,
        model: str | Path,
        device: str | torch.device = "cpu",
        max_frames: int = 6000,
        statistics: bool = False,
    ):
        encoder, config = read_model(model, device)
        self.model = Path(model)
        try:
            self.fbank = Fbank(fbank_config(model, config))
        except (SdpnError, ValueError) as error:
            where = f"{Path(model) / 'config.yaml'}: "
            raise SdpnError(where + str(error).removeprefix(where)) from None
        self.sampling_rate = self.fbank.config.sampling_rate
        self.frame_seconds = self.fbank.config.frame_shift / 1000
        self.statistics = statistics
        self._num_statistics = 2 * self.fbank.config.num_mel_bins if statistics else 0
        size: Any = encoder.embedding_size  # a module's attributes are tensors or modules to a type checker
        self.dimension: int = size + self._num_statistics
        self.extractor = Extractor(encoder, torch.device(device), max_frames, statistics=statistics)

    def embed(
        self, audio: str | Path | np.ndarray, sampling_rate: int | None = None, channel: int | str | None = None
    ) -> np.ndarray:
        """The x-vector of one recording: (D,) float32.

        Args:
            audio: a file that the recipe reads; or (n_samples,) samples, floating point with full scale at 1 or int16.
            sampling_rate: Hz, of the samples; None for a file, which says it.
            channel: of a file: its number, from 1, or "mean". None takes the first, and warns where others differ.

        Raises:
            SdpnError: it cannot be read, is silent or shorter than a frame, or the samples are no recording.
        """
        if isinstance(audio, np.ndarray):
            vector, _ = self._vector(self._features([self._resampled(audio, sampling_rate)]))
            return vector
        (found,) = self.embed_files([audio], channel)
        if found.vector is None:
            raise SdpnError(found.reason)
        if found.note:
            warn(found.note)
        return found.vector

    def embed_files(self, paths: Iterable[str | Path], channel: int | str | None = None) -> Iterator[Embedded]:
        """Embed files, those of similar length together; what became of each, in their order. None of them raises.

        Args:
            channel: see `embed`.
        """
        waiting: list[Embedded | tuple[np.ndarray, str]] = []
        frames = 0
        for path in paths:
            sound = None
            try:
                sound = OneChannel(path, self.sampling_rate, channel)
                matrix = self._features(sound.blocks())
                note = sound.note and f"{path}: {sound.note}"
                if matrix.rows > self.extractor.max_frames:
                    waiting.append(Embedded(*self._vector(matrix), note=note))
                else:
                    waiting.append((np.concatenate(list(matrix.blocks)), note))
                    frames += matrix.rows
            except SdpnError as error:
                also = f" ({sound.note})" if sound and sound.note else ""
                waiting.append(Embedded(None, 0, f"{path}: {str(error).replace(f'{path}: ', '')}{also}"))
            if frames > _FRAMES_AT_ONCE:
                yield from self._together(waiting)
                waiting, frames = [], 0
        yield from self._together(waiting)

    def _together(self, waiting: list[Embedded | tuple[np.ndarray, str]]) -> Iterator[Embedded]:
        """The waiting features embedded, with their notes; what is embedded already passes."""
        matrices = [one[0] for one in waiting if not isinstance(one, Embedded)]
        made = iter(self.extractor.extract(Held(matrices), range(len(matrices))) if matrices else ())
        for one in waiting:
            yield one if isinstance(one, Embedded) else Embedded(next(made), len(one[0]), note=one[1])

    def _features(self, blocks: Iterable[np.ndarray]) -> Matrix:
        return features_of(blocks, self.fbank, Path(tempfile.gettempdir())).matrix

    def _vector(self, matrix: Matrix) -> tuple[np.ndarray, int]:
        """The x-vector of features that come in blocks, window by window, and the number of frames."""
        total, squares = np.zeros(self.dimension), np.zeros(self._num_statistics // 2)
        for window in cut_into_windows(matrix, self.extractor.max_frames):
            vector = self.extractor.extract(Held([window]), [0])[0].astype(np.float64)
            total += vector * len(window)
            if self.statistics:
                squares += self._squares(vector) * len(window)
        vector = total / matrix.rows
        if self.statistics:  # the deviation over all windows, which is not the mean of theirs
            bins = self._num_statistics // 2
            vector[-bins:] = np.sqrt(np.maximum(squares / matrix.rows - vector[-2 * bins : -bins] ** 2, 0))
        return vector.astype(np.float32), matrix.rows

    def _squares(self, vector: np.ndarray) -> np.ndarray:
        """The mean squares of the bins (bins,), by their means and deviations at the end of a vector."""
        means, deviations = vector[-self._num_statistics :].reshape(2, -1)
        return means**2 + deviations**2

    def _resampled(self, samples: np.ndarray, rate: int | None) -> np.ndarray:
        if rate is None:
            raise SdpnError("samples need their sampling rate: embed(samples, sampling_rate)")
        if samples.ndim != 1 or samples.dtype.kind not in "fi" or not samples.size:
            raise SdpnError(
                f"expected (n_samples,) floating-point or int16 samples, got shape {samples.shape}, {samples.dtype}"
            )
        if samples.dtype.kind == "i":
            if samples.dtype != np.int16:
                raise SdpnError(f"integer samples are taken as int16, but these are {samples.dtype}")
            samples = samples / np.float32(32768)
        if rate == self.sampling_rate:
            return samples.astype(np.float32)
        import soxr

        return soxr.resample(samples.astype(np.float32), rate, self.sampling_rate, quality="HQ")


def cut_into_windows(matrix: Matrix, max_frames: int) -> Iterator[np.ndarray]:
    """The windows of a matrix that comes in blocks, as `windows_of` says; at most one of them is held at a time."""
    edges = [(window.start, window.stop) for window in windows_of(0, matrix.rows, max_frames)]
    held, begin = np.empty((0, 0), dtype=np.float32), 0
    blocks = iter(matrix.blocks)
    for start, stop in edges:
        held, begin = held[start - begin :], start
        while len(held) < stop - start:
            block = next(blocks)
            held = np.concatenate((held, block)) if len(held) else block
        yield held[: stop - start]


def embed_all(
    model: Path,
    paths: Sequence[str],
    run: Callable[..., Iterable],
    device: str = "cpu",
    statistics: bool = False,
    channel: int | str | None = None,
) -> list[Embedded]:
    """Embed many files, in jobs of some each: what became of each, in their order.

    Args:
        channel: see `Embedder.embed`.
        run: yields `function(*job)` for every job, in any order.
        statistics: see Embedder.
    """
    edges = [*range(0, len(paths), _FILES_PER_JOB), len(paths)]
    jobs = [
        (number, model, paths[start:stop], device, statistics, channel)
        for number, (start, stop) in enumerate(pairwise(edges))
    ]
    found: list[list[Embedded]] = [[] for _ in jobs]
    with Progress("x-vectors", len(paths), "recordings") as progress:
        for number, part in run(_embed_job, jobs):
            found[number] = part
            progress.advance(len(part))
    return [one for part in found for one in part]


def _embed_job(
    number: int, model: Path, paths: Sequence[str], device: str, statistics: bool, channel: int | str | None
) -> tuple[int, list[Embedded]]:
    return number, list(_embedder(model, device, statistics).embed_files(paths, channel))


@lru_cache(maxsize=1)
def _embedder(model: Path, device: str, statistics: bool) -> Embedder:
    return Embedder(model, device, statistics=statistics)
