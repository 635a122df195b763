"""Feature matrices on disk: Kaldi arks (through kaldiio) and HDF5, in float32 or quantized to 16 or 8 bits.

Whatever the container, one utterance is a run of bytes, rows in order: float32, or Kaldi's CM2 (16 bit) and CM3
(8 bit), where an integer q stands for `minimum + q * step`. A writer says where each run begins, and readers slice a
memory map; so both containers read alike, and at equal precision they hold equal values.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import h5py
import kaldiio
import numpy as np
from kaldiio.compression_header import GlobalHeader, kOneByteAuto, kTwoByteAuto

KINDS = (np.dtype("<f4"), np.dtype("<u2"), np.dtype("u1"))
"""The forms of a stored value, by the number that the index keeps."""

_METHODS = {"none": None, "16bit": kTwoByteAuto, "8bit": kOneByteAuto}
_KIND_OF = {"none": 0, "16bit": 1, "8bit": 2}


@dataclass(frozen=True)
class Extent:
    """Where one utterance lies in its file: `frames` rows from byte `offset` on."""

    offset: int
    frames: int
    minimum: float
    step: float
    kind: int


def dequantize(stored: np.ndarray, minimum: float, step: float) -> np.ndarray:
    """float32 values of stored integers; a float32 array is returned as a copy."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    values = stored.astype(np.float32)
    values *= np.float32(step)
    values += np.float32(minimum)
    return values


class Writer(Protocol):
    """Writes matrices to one file."""

    def write(self, name: str, matrix: np.ndarray) -> Extent: ...

    def __enter__(self) -> "Writer": ...

    def __exit__(self, *exc_info) -> None: ...


class ArkWriter:
    """Writes a Kaldi ark. `matrix` is (frames, bins) float32."""

    def __init__(self, path: Path, compress: str, num_bins: int, total_frames: int):
        self._file = open(path, "wb")  # noqa: SIM115  (closed in __exit__)
        self._method, self._kind, self._num_bins = _METHODS[compress], _KIND_OF[compress], num_bins

    def write(self, name: str, matrix: np.ndarray) -> Extent:
        kaldiio.save_ark(self._file, {name: matrix}, compression_method=self._method)
        offset = self._file.tell() - matrix.size * KINDS[self._kind].itemsize
        minimum, step = _scale(matrix, self._method)
        return Extent(offset, len(matrix), minimum, step, self._kind)

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class Hdf5Writer:
    """Writes one contiguous dataset `feats` (total_frames, bins) of a fixed size, utterance after utterance.

    Beside it stand `ids`, `first_row`, `num_rows`, `minimum` and `step`, one entry an utterance, so that the file
    explains itself to whoever opens it with h5py. The file is made in memory and written in one piece at the end: on
    a full disk HDF5 itself fails in ways that cannot be caught.
    """

    def __init__(self, path: Path, compress: str, num_bins: int, total_frames: int):
        self._method, self._kind = _METHODS[compress], _KIND_OF[compress]
        self._path = path
        self._file = h5py.File(path, "w", libver="latest", driver="core", backing_store=False)
        # Early allocation gives the dataset its place in the file now, so that its byte offset is known
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)
        space = h5py.h5s.create_simple((max(total_frames, 1), num_bins))
        identifier = h5py.h5d.create(self._file.id, b"feats", h5py.h5t.py_create(KINDS[self._kind]), space, dcpl=layout)
        self._feats = h5py.Dataset(identifier)
        self._row_bytes = num_bins * KINDS[self._kind].itemsize
        self._rows = 0
        self._written: list[tuple[str, int, Extent]] = []

    def write(self, name: str, matrix: np.ndarray) -> Extent:
        first, last = self._rows, self._rows + len(matrix)
        if self._method is None:
            self._feats[first:last] = matrix
        else:
            self._feats[first:last] = GlobalHeader.compute(matrix, self._method).float_to_uint(matrix)
        minimum, step = _scale(matrix, self._method)
        offset = self._feats.id.get_offset() + first * self._row_bytes
        extent = Extent(offset, len(matrix), minimum, step, self._kind)
        self._written.append((name, first, extent))
        self._rows = last
        return extent

    def __enter__(self) -> "Hdf5Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            written = self._written
            columns = {
                "ids": np.array([name.encode() for name, _, _ in written], dtype=h5py.string_dtype()),
                "first_row": np.array([first for _, first, _ in written], dtype=np.int64),
                "num_rows": np.array([extent.frames for _, _, extent in written], dtype=np.int64),
                "minimum": np.array([extent.minimum for _, _, extent in written], dtype=np.float32),
                "step": np.array([extent.step for _, _, extent in written], dtype=np.float32),
            }
            for column, content in columns.items():
                self._file.create_dataset(column, data=content, track_times=False)
            self._file.flush()
            self._path.write_bytes(self._file.id.get_file_image())
        self._file.close()


WRITERS: dict[str, type] = {"ark": ArkWriter, "hdf5": Hdf5Writer}
SUFFIXES = {"ark": "ark", "hdf5": "h5"}


def _scale(matrix: np.ndarray, method: int | None) -> tuple[float, float]:
    if method is None:
        return 0.0, 1.0
    header = GlobalHeader.compute(matrix, method)
    return float(header.min_value), float(header.range / header.c)
