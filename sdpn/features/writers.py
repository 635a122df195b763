"""Writers of feature matrices: Kaldi arks and HDF5.

They take a matrix in blocks, so that they need no more memory for hours of speech than for seconds.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from sdpn.features.ark import MatrixHeader
from sdpn.features.storage import KIND_OF, KINDS, Extent, Matrix, quantize, scale


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
        header = MatrixHeader(self._kind, matrix.rows, self._num_bins, minimum, step)
        self._file.write(name.encode() + b" " + header.to_bytes())
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

    with h5py.File(path, "w", libver="latest", locking=False) as file:
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
