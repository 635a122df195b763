"""Feature matrices on disk: Kaldi arks and HDF5, in floating point or as integers with a scale.

Whatever the container, one utterance is a run of bytes, rows in order: float32, float16, or Kaldi's CM2 (16 bit) and
CM3 (8 bit), where an integer q stands for `minimum + q * step`. A writer says where each run begins, and readers slice
a memory map; so both containers read alike, and at equal precision they hold equal values. Writers take a matrix in
blocks, so that they need no more memory for hours of speech than for seconds.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

KINDS = {0: np.dtype("<f4"), 1: np.dtype("<u2"), 2: np.dtype("u1"), 3: np.dtype("<f2"), 5: np.dtype("<f8")}
"""The forms of a stored value whose rows lie in order, by the number that the index keeps."""

BY_COLUMNS = 4
"""The number of Kaldi's CM: 8 bits a value, column after column, each with percentiles of its own. It is only read."""

KIND_OF = {"none": 0, "16bit": 1, "8bit": 2, "float16": 3}
"""The number of the form that a setting of `compress` stands for."""

STEPS = {1: 65535, 2: 255}
"""The largest integer of the forms that have a scale."""

ARK_HEADER_BYTES = {0: 15, 1: 22, 2: 22}
"""From the "\\0B" that an scp points at to the first value."""

_CM_NAMES = {1: b"CM2 ", 2: b"CM3 "}


@dataclass(frozen=True)
class Extent:
    """Where one utterance lies in its file: `frames` rows from byte `offset` on, with the CRC-32 of those bytes.

    The power ratio is that of frontend.Features.
    """

    offset: int
    frames: int
    minimum: float
    step: float
    kind: int
    crc: int
    power_ratio: float = 1.0


@dataclass(frozen=True)
class Matrix:
    """A matrix of features that is given in blocks.

    Attributes:
        rows: how many there are.
        lowest, highest: of all its values.
        blocks: (n, bins) float32 arrays, together `rows` rows.
    """

    rows: int
    lowest: float
    highest: float
    blocks: Iterable[np.ndarray]

    @classmethod
    def of(cls, matrix: np.ndarray) -> "Matrix":
        """A whole one."""
        return cls(len(matrix), float(matrix.min()), float(matrix.max()), [matrix])


@lru_cache(maxsize=1)
def _kernels() -> Any:
    from sdpn.features import storage_kernels  # numba takes a while to import, and not every command needs it

    return storage_kernels


def scale(lowest: float, highest: float, kind: int) -> tuple[float, float]:
    """`minimum` and `step` of a stored form for values between `lowest` and `highest`, as Kaldi chooses them."""
    if kind not in STEPS:
        return 0.0, 1.0
    spread = highest - lowest if highest > lowest else 1.0 + abs(lowest)
    return lowest, float(np.float32(np.float32(spread) / np.float32(STEPS[kind])))


def quantize(block: np.ndarray, minimum: float, step: float, kind: int) -> np.ndarray:
    """A block in its stored form."""
    if kind not in STEPS:
        return np.ascontiguousarray(block, dtype=KINDS[kind])
    stored = np.empty(block.shape, dtype=KINDS[kind])
    _kernels().to_steps(
        np.ascontiguousarray(block, dtype=np.float32),
        np.float32(minimum),
        np.float32(1 / step),
        np.float32(STEPS[kind]),
        stored,
    )
    return stored


def dequantize(stored: np.ndarray, minimum: float, step: float, out: np.ndarray | None = None) -> np.ndarray:
    """float32 values of a stored form (rows, bins), a copy, or written to `out`."""
    values = np.empty(stored.shape, dtype=np.float32) if out is None else out
    if stored.dtype.kind == "f":
        values[:] = stored
    else:
        _kernels().from_steps(stored, np.float32(minimum), np.float32(step), values)
    return values


def stored_size(rows: int, bins: int, kind: int) -> int:
    """Bytes of a stored matrix."""
    return bins * (8 + rows) if kind == BY_COLUMNS else rows * bins * KINDS[kind].itemsize


def decode_columns(
    stored: np.ndarray, rows: int, bins: int, start: int, stop: int, scale: tuple[float, float]
) -> np.ndarray:
    """Rows [start, stop) of a matrix that Kaldi stored as CM: (stop - start, bins) float32.

    Each column has four percentiles (0, 25, 75 and 100) in 16 bits, on the scale of the whole matrix, and bytes that
    are linear between them: 0 to 64, 64 to 192, 192 to 255 (Kaldi, matrix/compressed-matrix.h).

    Args:
        stored: (bytes,) uint8, from the percentiles of the first column on.
        rows, bins: of the matrix.
        scale: minimum and step of the percentiles.
    """
    percentiles = stored[: 8 * bins].view("<u2").reshape(bins, 4).astype(np.float32) * np.float32(scale[1])
    percentiles += np.float32(scale[0])
    values = stored[8 * bins :].reshape(bins, rows)[:, start:stop].astype(np.float32)
    p0, p25, p75, p100 = (column[:, None] for column in percentiles.T)
    low = p0 + (p25 - p0) * values * np.float32(1 / 64)
    middle = p25 + (p75 - p25) * (values - 64) * np.float32(1 / 128)
    high = p75 + (p100 - p75) * (values - 192) * np.float32(1 / 63)
    return np.where(values <= 64, low, np.where(values <= 192, middle, high)).T


class Writer(Protocol):
    """Writes matrices to one file."""

    def write(self, name: str, matrix: Matrix) -> Extent: ...

    def __enter__(self) -> "Writer": ...

    def __exit__(self, *exc_info) -> None: ...


class ArkWriter:
    """Writes a Kaldi ark: float matrices, or compressed ones whose rows stay in order (CM2, CM3).

    Args:
        path: the file, made anew.
        compress: as in FbankConfig.
        num_bins: columns of every matrix.
        names, total_rows: of what is to come; not needed here.
        append_at: where to go on in a file that is there; what lies behind is cut off. None makes the file anew.
    """

    def __init__(
        self,
        path: Path,
        compress: str,
        num_bins: int,
        names: Sequence[str],
        total_rows: int,
        append_at: int | None = None,
    ):
        self._file = open(path, "wb" if append_at is None else "rb+")  # noqa: SIM115  (closed in __exit__)
        if append_at is not None:
            self._file.truncate(append_at)
            self._file.seek(append_at)
        self._kind, self._num_bins = KIND_OF[compress], num_bins

    def write(self, name: str, matrix: Matrix) -> Extent:
        """Append a matrix under its utterance id; return where it lies."""
        minimum, step = scale(matrix.lowest, matrix.highest, self._kind)
        self._file.write(name.encode() + b" \0B")
        if self._kind == 0:
            self._file.write(b"FM \4" + struct.pack("<i", matrix.rows) + b"\4" + struct.pack("<i", self._num_bins))
        else:
            spread = np.float32(step) * np.float32(STEPS[self._kind])
            header = struct.pack("<ffii", minimum, spread, matrix.rows, self._num_bins)
            self._file.write(_CM_NAMES[self._kind] + header)
        offset = self._file.tell()
        crc = _write_blocks(self._file.write, matrix, minimum, step, self._kind)
        return Extent(offset, matrix.rows, minimum, step, self._kind, crc)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def flush(self) -> None:
        """Hand what has been written to the system: it outlives this process."""
        self._file.flush()

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Hdf5Writer:
    """Writes one contiguous dataset `feats` (total_rows, bins) of a fixed size, utterance after utterance.

    Beside it stand `ids`, `first_row`, `num_rows`, `minimum` and `step`, one entry for every name, so that the file
    explains itself to whoever opens it with h5py; a name that nothing was written for keeps 0 rows. HDF5 lays out the
    file when it is opened, and the values go to their places past it: on a full disk HDF5 itself fails in ways that
    cannot be caught, and its own writing holds an interpreter's lock.

    Args:
        path: the file, made anew.
        compress: as in FbankConfig.
        num_bins: columns of every matrix.
        names: utterance ids of what may come.
        total_rows: rows that may come at most.
    """

    def __init__(self, path: Path, compress: str, num_bins: int, names: Sequence[str], total_rows: int):
        self._kind, self._rows_left = KIND_OF[compress], total_rows
        self._row_bytes = num_bins * KINDS[self._kind].itemsize
        encoded = [name.encode() for name in names]
        columns = {
            "ids": np.array(encoded, dtype=f"S{max(map(len, encoded))}"),
            "first_row": np.zeros(len(names), dtype=np.int64),
            "num_rows": np.zeros(len(names), dtype=np.int64),
            "minimum": np.zeros(len(names), dtype=np.float32),
            "step": np.ones(len(names), dtype=np.float32),
        }
        size = total_rows * self._row_bytes + sum(column.nbytes for column in columns.values())
        _reserve(path, size)
        shape = (max(total_rows, 1), num_bins)
        places = _lay_out(path, {**columns, "feats": np.broadcast_to(np.zeros(1, KINDS[self._kind]), shape)})
        self._feats, self._places, self._columns = places.pop("feats"), places, columns
        self._numbers = {name: number for number, name in enumerate(names)}
        self._rows = 0
        self._file = open(path, "rb+")  # noqa: SIM115  (closed in __exit__)
        os.posix_fallocate(self._file.fileno(), 0, self._feats + shape[0] * self._row_bytes)

    def write(self, name: str, matrix: Matrix) -> Extent:
        """Write the next matrix; return where it lies."""
        if matrix.rows > self._rows_left:
            raise ValueError(f"{matrix.rows} rows where {self._rows_left} are left")
        minimum, step = scale(matrix.lowest, matrix.highest, self._kind)
        number = self._numbers[name]
        self._columns["first_row"][number], self._columns["num_rows"][number] = self._rows, matrix.rows
        self._columns["minimum"][number], self._columns["step"][number] = minimum, step
        offset = self._feats + self._rows * self._row_bytes
        self._file.seek(offset)
        crc = _write_blocks(self._file.write, matrix, minimum, step, self._kind)
        self._rows += matrix.rows
        self._rows_left -= matrix.rows
        return Extent(offset, matrix.rows, minimum, step, self._kind, crc)

    def __enter__(self) -> "Hdf5Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if error is None:
                for name, column in self._columns.items():
                    self._file.seek(self._places[name])
                    self._file.write(column.tobytes())


WRITERS: dict[str, type] = {"ark": ArkWriter, "hdf5": Hdf5Writer}
SUFFIXES = {"ark": "ark", "hdf5": "h5"}


def _write_blocks(write, matrix: Matrix, minimum: float, step: float, kind: int) -> int:
    """Write the stored form of a matrix; return its CRC-32."""
    crc, rows = 0, 0
    for block in matrix.blocks:
        stored = quantize(block, minimum, step, kind).data.cast("B")
        crc = zlib.crc32(stored, crc)
        write(stored)
        rows += len(block)
    if rows != matrix.rows:
        raise ValueError(f"{rows} rows where {matrix.rows} were announced")
    return crc


def _reserve(path: Path, size: int) -> None:
    """Find out whether the disk has room for `size` bytes, by taking and leaving it; OSError where it has not."""
    with open(path, "wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, max(size, 1))


def _lay_out(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Make an HDF5 file of contiguous datasets like `arrays`, without values; return at which byte each begins."""
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        datasets = {name: contiguous(file, name, array.shape, array.dtype) for name, array in arrays.items()}
        return {name: dataset.id.get_offset() for name, dataset in datasets.items()}


def contiguous(file: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A new dataset of an open h5py.File, contiguous, of a fixed size, and with its place in the file given at once."""
    import h5py

    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    parents = h5py.h5p.create(h5py.h5p.LINK_CREATE)  # an id with a slash is a path in HDF5
    parents.set_create_intermediate_group(True)
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(np.dtype(dtype))
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=layout, lcpl=parents))
