"""x-vectors of recordings: audio in, embeddings out, without a cache and without the recipe."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sdpn.audio.channels import OneChannel
from sdpn.console import Progress, warn
from sdpn.errors import SdpnError
from sdpn.extraction.extractor import Extractor, Held, windows_of
from sdpn.features.fbank import Fbank
from sdpn.features.frontend import features_of
from sdpn.features.storage import Matrix
from sdpn.models.digest import model_digest
from sdpn.models.folder import fbank_config, is_exported, read_model
from sdpn.models.onnx_model import OnnxModel

if TYPE_CHECKING:
    import torch

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
        model: the model folder, or a file that `sdpn export onnx` wrote, which needs no torch.
        device: where the network computes; the CPU for an exported one.
        max_frames: longer recordings go in windows; see Extractor. An exported model says it itself.
        statistics: whether mean and deviation of the fbank stand beside each x-vector, as in the system
            xvector+fbank-stats of the recipe.

    Attributes:
        sampling_rate: Hz, of the features; any other rate is resampled to it.
        dimension: of the vectors, statistics included.
        statistics: as above.
        frame_seconds: what a frame stands for.
        exported: the file of `sdpn export onnx`, None for a model folder.

    Raises:
        SdpnError: there is no model in the folder, or one that cannot be read.
    """

    def __init__(
        self,
        model: str | Path,
        device: "str | torch.device" = "cpu",
        max_frames: int = 6000,
        statistics: bool = False,
    ):
        self.model = Path(model)
        self.exported: OnnxModel | None = None
        if is_exported(self.model):
            self._open_exported(str(device), statistics)
        else:
            self._open_folder(device, max_frames, statistics)

    def _open_exported(self, device: str, statistics: bool) -> None:
        if device != "cpu":
            raise SdpnError(f"--device is '{device}': an exported model computes on the CPU")
        self.exported = made = OnnxModel(self.model)
        if statistics and not made.statistics:
            raise SdpnError(f"{self.model} has no statistics of the fbank: export it with --with-statistics")
        self._describe(Fbank(made.features), made.statistics, made.dimension)
        self.extractor = Extractor(made, None, made.max_frames)

    def _open_folder(self, device: "str | torch.device", max_frames: int, statistics: bool) -> None:
        encoder, config = read_model(self.model, device)
        try:
            fbank = Fbank(fbank_config(self.model, config))
        except (SdpnError, ValueError) as error:
            where = f"{self.model / 'config.yaml'}: "
            raise SdpnError(where + str(error).removeprefix(where)) from None
        size: Any = encoder.embedding_size  # a module's attributes are tensors or modules to a type checker
        dimension = size + (2 * fbank.config.num_mel_bins if statistics else 0)
        self._describe(fbank, statistics, dimension)
        self.extractor = Extractor(encoder, device, max_frames, statistics=statistics)

    def _describe(self, fbank: Fbank, statistics: bool, dimension: int) -> None:
        self.fbank, self.statistics, self.dimension = fbank, statistics, dimension
        self.sampling_rate = fbank.config.sampling_rate
        self.frame_seconds = fbank.config.frame_shift / 1000
        self._num_statistics = 2 * fbank.config.num_mel_bins if statistics else 0

    @cached_property
    def digest(self) -> str:
        """What tells networks apart: vectors of two cannot be compared."""
        return self.exported.digest if self.exported else model_digest(self.model)

    def embed(self, audio: Any, sampling_rate: int | None = None, channel: int | str | None = None) -> np.ndarray:
        """Return the x-vector of a recording, (D,) float32, or of each of a list of them, (n, D).

        Several threads may call this at once. The first call compiles kernels, unless an earlier process has.

        Args:
            audio: a file that the recipe reads; (n_samples,) samples as a NumPy array or a tensor of torch, floating
                point with full scale at 1, or int16; or a list of these, of which those of similar length are embedded
                together.
            sampling_rate: Hz, of the samples; None for files, which say it.
            channel: of a file: its number, from 1, or "mean". None takes the first, and warns if others differ.

        Raises:
            SdpnError: it is none of these, cannot be read, is silent or shorter than a frame.
        """
        if isinstance(audio, (list, tuple)):
            return self._embed_list(audio, sampling_rate, channel)
        if not isinstance(audio, (str, os.PathLike)):
            vector, _ = self._vector(self._features([self._resampled(_array(audio), sampling_rate)]))
            return vector
        (found,) = self.embed_files([os.fspath(audio)], channel)
        if found.vector is None:
            raise SdpnError(found.reason)
        if found.note:
            warn(found.note)
        return found.vector

    def _embed_list(
        self, recordings: Sequence[Any], sampling_rate: int | None, channel: int | str | None
    ) -> np.ndarray:
        """Embed a list of recordings: (n, D). Raises SdpnError for the first that cannot be used, with its number."""
        waiting: list[Embedded | tuple[np.ndarray, str]] = []
        for number, recording in enumerate(recordings):
            if isinstance(recording, (str, os.PathLike)):
                waiting += self._opened(os.fspath(recording), channel)
                continue
            try:
                matrix = self._features([self._resampled(_array(recording), sampling_rate)])
            except SdpnError as error:
                raise SdpnError(f"recording {number} of the list: {error}") from None
            long = matrix.rows > self.extractor.max_frames
            waiting.append(Embedded(*self._vector(matrix)) if long else (np.concatenate(list(matrix.blocks)), ""))
        vectors = []
        for found in self._together(waiting):
            if found.vector is None:
                raise SdpnError(found.reason)
            if found.note:
                warn(found.note)
            vectors.append(found.vector)
        return np.stack(vectors) if vectors else np.empty((0, self.dimension), dtype=np.float32)

    def embed_files(self, paths: Iterable[str | Path], channel: int | str | None = None) -> Iterator[Embedded]:
        """Embed files, those of similar length together; what became of each, in their order. None of them raises.

        Args:
            channel: see `embed`.
        """
        waiting: list[Embedded | tuple[np.ndarray, str]] = []
        frames = 0
        for path in paths:
            waiting += self._opened(path, channel)
            frames += 0 if isinstance(waiting[-1], Embedded) else len(waiting[-1][0])
            if frames > _FRAMES_AT_ONCE:
                yield from self._together(waiting)
                waiting, frames = [], 0
        yield from self._together(waiting)

    def _opened(self, path: str | Path, channel: int | str | None) -> "list[Embedded | tuple[np.ndarray, str]]":
        """Return, as a list of one, the features of a file with a note; a long one is embedded already."""
        sound = None
        try:
            sound = OneChannel(path, self.sampling_rate, channel)
            matrix = self._features(sound.blocks())
            note = sound.note and f"{path}: {sound.note}"
            if matrix.rows > self.extractor.max_frames:
                return [Embedded(*self._vector(matrix), note=note)]
            return [(np.concatenate(list(matrix.blocks)), note)]
        except SdpnError as error:
            also = f" ({sound.note})" if sound and sound.note else ""
            return [Embedded(None, 0, f"{path}: {str(error).replace(f'{path}: ', '')}{also}")]

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


def _array(samples: Any) -> np.ndarray:
    """Return samples as an array; those of torch are copied from where they are.

    Raises:
        SdpnError: they are neither an array nor a tensor.
    """
    if hasattr(samples, "detach"):  # a tensor of torch, which need not be installed
        samples = samples.detach().cpu().numpy()
    if not isinstance(samples, np.ndarray):
        raise SdpnError(
            "expected a file, samples (a NumPy array or a tensor of torch), or a list of these, got "
            f"{type(samples).__name__}"
        )
    return samples


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
