"""Our feature files as storage types of Lhotse: readers and writers of arks and HDF5; `lhotse_io` brings them in."""

import os
import weakref
import zlib
from contextlib import ExitStack
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from sdpn.errors import SdpnError
from sdpn.features.ark import end_of_matrices
from sdpn.features.storage import (
    KIND_OF,
    KINDS,
    STORAGE_TYPES,
    Extent,
    Matrix,
    decode_columns,
    dequantize,
    quantize,
    scale,
    storage_key,
    stored_size,
)
from sdpn.features.writers import ArkWriter, contiguous
from sdpn.files import atomic_path, sentence


class _MmapReader(FeaturesReader):
    """Reads an utterance out of a memory-mapped file of the cache; the key says where, see `storage.storage_key`."""

    def __init__(self, storage_path: str, *args, **kwargs):
        self._path = str(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """Rows from the left offset up to the right one: (frames, bins) float32.

        Raises:
            SdpnError: the file is missing, is cut off, or holds other bytes than were written.
        """
        stored = _stored(self._path, _status(self._path), key)
        _, frames, bins, kind, minimum, step, _ = key.split(":")
        stop = int(frames) if right_offset_frames is None else min(right_offset_frames, int(frames))
        scale = float(minimum), float(step)
        if int(kind) not in KINDS:
            return decode_columns(stored, int(frames), int(bins), left_offset_frames, stop, scale)
        rows = stored.view(KINDS[int(kind)]).reshape(-1, int(bins))
        return dequantize(rows[left_offset_frames:stop], *scale)


def _status(path: str) -> tuple[int, int, int]:
    """What changes when a file is appended to or replaced: a map of it is then of another file."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise SdpnError(f"{path} cannot be read: {error.strerror.lower()}") from None
    return status.st_size, status.st_mtime_ns, status.st_ino


@lru_cache(maxsize=64)
def _open(path: str, status: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))


@lru_cache(maxsize=1024)
def _stored(path: str, status: tuple[int, int, int], key: str) -> np.ndarray:
    """The bytes of an utterance, verified."""
    offset, frames, bins, kind, _, _, crc = key.split(":")
    size = stored_size(int(frames), int(bins), int(kind))
    stored = _open(path, status)[int(offset) : int(offset) + size]
    if len(stored) != size or (int(crc) and zlib.crc32(stored) != int(crc)):
        raise SdpnError(f"{path} is damaged: it does not hold what was written; make it again")
    return stored


@register_reader
class ArkFeaturesReader(_MmapReader):
    """Reads from Kaldi arks."""

    name = STORAGE_TYPES["ark"]


@register_reader
class Hdf5FeaturesReader(_MmapReader):
    """Reads from HDF5."""

    name = STORAGE_TYPES["h5"]


class _Writer(FeaturesWriter):
    """What the two writers share: when a file is made, and when it takes the place of an older one.

    Maps of the older file stay whole in every case: a file is never cut short, but another takes its name. A writer
    that nobody closes is closed when it is collected.

    Args:
        storage_path: the file; the suffix of its kind is added where it is missing.
        compress: as in conf/fbank.yaml.
        mode: None writes aside, and the file is there as a whole when the writer is closed; if there is an error
            before, the older one stays. "w" replaces the older one at once and "a" goes on behind what it holds: with
            both of them, which `compute_and_store_features_batch` uses, every matrix is in the file as soon as it is
            written, so that a run that was killed can be gone on with.
    """

    suffix: str

    def __init__(self, storage_path: str | Path, compress: str = "16bit", mode: str | None = None):
        if compress not in KIND_OF:
            raise SdpnError(f"compress is {compress!r}, which is none of {', '.join(KIND_OF)}")
        if mode not in (None, "w", "a"):
            raise SdpnError(f"mode is {mode!r}: features are written anew ('w') or appended ('a')")
        path = Path(storage_path)
        self._path = path if path.suffix == self.suffix else path.with_name(path.name + self.suffix)
        self._compress, self._mode = compress, mode
        self._file, self._bins = None, 0
        self._opened = ExitStack()
        weakref.finalize(self, self._opened.close)

    @property
    def storage_path(self) -> str:
        return str(self._path)

    def write(self, key: str, value: np.ndarray) -> str:
        """Add the (frames, bins) features of an id; return the key to read them by.

        Raises:
            SdpnError: they are no finite matrix of floating point numbers, or of another number of bins than those
                before, or the file cannot be written or gone on with.
        """
        value = _features(key, value)
        if self._file is None:
            self._begin(value.shape[1])
        if self._bins not in (0, value.shape[1]):
            raise SdpnError(f"{key}: {value.shape[1]} bins where {self._path} has {self._bins}")
        self._bins = value.shape[1]
        extent = self._add(key, Matrix.of(value))
        if self._mode is not None:
            self._file.flush()
        return storage_key(extent, self._bins)

    def _begin(self, bins: int) -> None:
        if self._mode is None:
            self._file = self._opened.enter_context(
                self._open(self._opened.enter_context(atomic_path(self._path)), bins)
            )
            return
        if self._mode == "w" or not self._path.exists():
            with atomic_path(self._path) as temporary, self._open(temporary, bins):
                pass
        self._file = self._opened.enter_context(self._open_to_append(bins))

    def _open(self, path: Path, bins: int) -> Any:
        """A new file."""
        raise NotImplementedError

    def _open_to_append(self, bins: int) -> Any:
        """The file that is there; `_bins` becomes the number of bins of what it holds."""
        raise NotImplementedError

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def close(self) -> None:
        """Finish the file."""
        self._opened.close()


def _features(key: str, value: Any) -> np.ndarray:
    """(frames, bins) float32 of what a writer was given."""
    value = np.asarray(value)
    if value.ndim != 2 or not value.size or value.dtype.kind != "f":
        raise SdpnError(
            f"{key}: an array of {value.dtype} and of the shape {value.shape}, where features, (frames, bins) in "
            "floating point, are stored: choose another storage_type for it"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        value = value.astype(np.float32, copy=False)
    if not np.isfinite(value).all():
        raise SdpnError(f"{key}: the features are NaN or infinite")
    return value


@register_writer
class ArkFeatures(_Writer):
    """Writes features one after another into a Kaldi ark; see `_Writer` for the arguments."""

    name = STORAGE_TYPES["ark"]
    suffix = ".ark"

    def _open(self, path: Path, bins: int) -> ArkWriter:
        return ArkWriter(path, self._compress, bins, [], 0)

    def _open_to_append(self, bins: int) -> ArkWriter:
        end, self._bins = end_of_matrices(self._path)
        return ArkWriter(self._path, self._compress, self._bins or bins, [], 0, append_at=end)

    def _add(self, key: str, matrix: Matrix) -> Extent:
        if key != "".join(key.split()):
            raise SdpnError(f"'{key}' has white space in it, which no id in a Kaldi ark may have: use Hdf5Features")
        return self._file.write(key, matrix)


@register_writer
class Hdf5Features(_Writer):
    """Writes features into HDF5, one contiguous dataset for each, with `minimum` and `step` as its attributes.

    What is written under an id a second time is `<id>#2`, and so on: nothing in the file is ever overwritten. See
    `_Writer` for the arguments.
    """

    name = STORAGE_TYPES["h5"]
    suffix = ".h5"

    def _open(self, path: Path, bins: int) -> Any:
        import h5py

        # Such a file has no mark that it is being written, so that one whose writer was killed can be gone on with
        return h5py.File(path, "w", libver="earliest", locking=False)

    def _open_to_append(self, bins: int) -> Any:
        import h5py

        try:
            return h5py.File(self._path, "r+", libver="earliest", locking=False)
        except OSError as error:
            reason = sentence(error) or "it is no whole HDF5 file: remove it, or name another one"
            raise SdpnError(f"cannot append to {self._path}: {reason}") from None

    def _add(self, key: str, matrix: Matrix) -> Extent:
        kind = KIND_OF[self._compress]
        minimum, step = scale(matrix.lowest, matrix.highest, kind)
        (block,) = matrix.blocks
        stored = quantize(block, minimum, step, kind)
        dataset = contiguous(self._file, self._free_name(key), stored.shape, stored.dtype)
        dataset[...] = stored
        dataset.attrs["minimum"], dataset.attrs["step"] = minimum, step
        return Extent(dataset.id.get_offset(), matrix.rows, minimum, step, kind, zlib.crc32(stored))

    def _free_name(self, key: str) -> str:
        names = chain([key], (f"{key}#{number}" for number in count(2)))
        return next(name for name in names if name not in self._file)
