"""From the samples of an utterance to the matrix that is cached: fbank, then normalization, then the speech frames."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.audio.vad import speech_frames
from sdpn.errors import Reason, UnusableError
from sdpn.features.cmvn import sliding_mean, utterance_statistics
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank, Frames, floor_of
from sdpn.features.storage import Matrix

_FRAMES_IN_MEMORY = 120_000  # 20 minutes; what is longer goes through a file
_FRAMES_AT_ONCE = 8192
_FULL_SCALE = 0.999
_CLIPPED_SHARE = 0.01
_BARELY = 1e-3  # above the floor, as a logarithm: rounding


@dataclass(frozen=True)
class Features:
    """The features of an utterance.

    Attributes:
        matrix: what is to be stored.
        power_ratio: mean square of the samples, divided by its estimate from the mel bands; 1 for white noise.
        notes: what is remarkable about the audio, in a few words each.
    """

    matrix: Matrix
    power_ratio: float = 1.0
    notes: list[Reason] = field(default_factory=list)


class FrameStore:
    """Rows appended in blocks, and read back by their numbers; in memory while they are few, else in a file.

    Args:
        num_bins: columns.
        directory: where the file is made; it has no name there and goes with the store.

    Attributes:
        count: how many rows there are.
        at_once: how many it is good to read in one go.
    """

    def __init__(self, num_bins: int, directory: Path):
        self.count = self.at_once = 0
        self._bins, self._directory = num_bins, directory
        self._blocks: list[np.ndarray] = []
        self._file = None

    def append(self, block: np.ndarray) -> None:
        """Add (n, num_bins) float32 rows."""
        self.count = self.at_once = self.count + len(block)
        if self.count <= _FRAMES_IN_MEMORY:
            self._blocks.append(block)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  (closed with the store)
        for one in (*self._blocks, block):
            self._file.write(np.ascontiguousarray(one).data)
        self._blocks, self.at_once = [], _FRAMES_AT_ONCE

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop)."""
        if self._file is None:
            if len(self._blocks) > 1:
                self._blocks = [np.concatenate(self._blocks)]
            return self._blocks[0][start:stop]
        self._file.flush()
        self._file.seek(start * self._bins * 4)
        data = self._file.read((stop - start) * self._bins * 4)
        return np.frombuffer(data, dtype=np.float32).reshape(-1, self._bins)


def features_of(blocks: Iterable[np.ndarray], fbank: Fbank, directory: Path) -> Features:
    """Compute what is cached of one utterance.

    Args:
        blocks: (n,) float32 arrays of consecutive samples, full scale at 1.
        fbank: how; it carries the configuration.
        directory: where a long utterance's features may be kept meanwhile.

    Raises:
        UnusableError: the samples are not finite, do not make up a frame, or are silence to the fbank.
    """
    samples = Samples()
    frames = fbank.stream(samples.watch(blocks))
    return assemble(frames, samples, fbank.config, directory)


def assemble(frames: Iterable[Frames], samples: "Samples", config: FbankConfig, directory: Path) -> Features:
    """The utterance that consecutive frames make up; see `features_of`."""
    store = FrameStore(config.num_mel_bins, directory)
    energies, told, loudest = [], 0.0, -np.inf
    for some in frames:
        store.append(some.fbank)
        energies.append(some.energy)
        told += float(some.power.sum(dtype=np.float64))
        loudest = max(loudest, float(some.fbank.max()))
    energy = np.concatenate(energies) if energies else np.zeros(0, dtype=np.float32)
    if not energy.any():
        raise UnusableError("it is silent", "all its samples are equal")
    if loudest < np.log(floor_of(config)) + _BARELY or told <= 0:
        raise UnusableError("it is silent", "no band rises above the floor of the fbank")
    speech = speech_frames(energy, config, config.sample_scale) if config.vad == "energy" else None
    if speech is not None and not speech.any():
        raise UnusableError("the voice activity detection finds no speech in it")
    mean_square, clipped = samples.squares / samples.seen, samples.clipped / samples.seen
    notes = [Reason("clipped", f"{100 * clipped:.1f} % of the samples are at full scale")]
    matrix = _normalized(store, speech, config)
    return Features(matrix, mean_square * len(energy) / told, notes if clipped > _CLIPPED_SHARE else [])


class Samples:
    """What there is to know of the samples of an utterance, gathered as they pass.

    Attributes:
        seen: how many there are.
        clipped: how many of them are at full scale.
        squares: the sum of their squares, full scale at 1.
    """

    def __init__(self) -> None:
        self.clipped = self.seen = 0
        self.squares = 0.0

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks."""
        for block in blocks:
            self.clipped += int(np.count_nonzero(block >= _FULL_SCALE) + np.count_nonzero(block <= -_FULL_SCALE))
            self.seen += len(block)
            with np.errstate(over="ignore", invalid="ignore"):  # such samples are refused by who is given them
                self.squares += float(np.dot(block, block))
            yield block


def _normalized(store: FrameStore, speech: np.ndarray | None, config: FbankConfig) -> Matrix:
    """The stored rows normalized over all of them, without those that are not speech."""
    count, at_once = store.count, store.at_once
    mean, deviation = np.zeros(1), np.ones(1)
    if config.cmvn in ("mean", "mean-variance"):
        mean, deviation = utterance_statistics(store.rows, count)
        if config.cmvn == "mean":
            deviation = np.ones(1)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            block = store.rows(start, stop)
            if config.cmvn == "sliding":
                block = (block - sliding_mean(store.rows, count, start, stop, config.cmvn_window)).astype(np.float32)
            elif config.cmvn != "none":
                block = ((block - mean) / deviation).astype(np.float32)
            yield block if speech is None else block[speech[start:stop]]

    rows = count if speech is None else int(speech.sum())
    if at_once == count:
        whole = next(blocks())
        return Matrix(rows, float(whole.min()), float(whole.max()), [whole])
    ends = [(block.min(), block.max()) for block in blocks() if len(block)]
    return Matrix(rows, float(min(low for low, _ in ends)), float(max(high for _, high in ends)), blocks())
