"""The stored forms of feature matrices: floating point, or integers with a scale.

Whatever the container, one utterance is a run of bytes, rows in order: float32, float16, or Kaldi's CM2 (16 bit) and
CM3 (8 bit), where an integer q stands for `minimum + q * step`. A writer (`writers.py`) says where each run begins, and
readers slice a memory map; so all containers read alike, and at equal precision they hold equal values.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

KINDS: dict[int, np.dtype] = {
    0: np.dtype("<f4"),
    1: np.dtype("<u2"),
    2: np.dtype("u1"),
    3: np.dtype("<f2"),
    5: np.dtype("<f8"),
}
"""The forms of a stored value whose rows lie in order, by the number that the index keeps."""

BY_COLUMNS = 4
"""The number of Kaldi's CM: 8 bits a value, column after column, each with percentiles of its own. It is only read."""

KIND_OF = {"none": 0, "16bit": 1, "8bit": 2, "float16": 3}
"""The number of the form that a setting of `compress` stands for."""

STEPS = {1: 65535, 2: 255}
"""The largest integer of the forms that have a scale."""


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
    from sdpn.features.kernels import to_steps  # numba takes a while to import, and not every command needs it

    stored = np.empty(block.shape, dtype=KINDS[kind])
    to_steps(
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
        return values
    from sdpn.features.kernels import from_steps

    from_steps(stored, np.float32(minimum), np.float32(step), values)
    return values


def is_finite(values: np.ndarray) -> bool:
    """Return whether values are finite as float32, which doubles are read as."""
    with np.errstate(over="ignore"):
        flat = values.reshape(-1).astype(np.float32, copy=False)
        # NaN and infinity come through a sum of squares, which takes an eighth of the time; so do too large numbers
        return bool(np.isfinite(flat.dot(flat)) or np.isfinite(flat).all())


STORAGE_TYPES = {"ark": "sdpn_ark", "h5": "sdpn_hdf5"}
"""Lhotse's name for the storage, by the ending of the file; `lhotse_io` registers its readers."""


def storage_key(extent: Extent, bins: int) -> str:
    """The key under which `lhotse_io`'s readers find an utterance: offset:frames:bins:kind:minimum:step:crc."""
    scale = f"{extent.minimum!r}:{extent.step!r}"
    return f"{extent.offset}:{extent.frames}:{bins}:{extent.kind}:{scale}:{extent.crc}"


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
