"""Quantized features, written and read: the loops that every stored value passes through."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def to_steps(block, minimum, per_step, most, stored):
    """Write round((block - minimum) * per_step), limited to [0, most].

    Args:
        block: (rows, bins) float32.
        minimum, per_step, most: float32.
        stored: (rows, bins) uint8 or uint16, written.
    """
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            steps = (block[i, j] - minimum) * per_step + np.float32(0.5)
            stored[i, j] = np.int32(min(max(steps, np.float32(0)), most))


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def from_steps(stored, minimum, step, values):
    """Write minimum + stored * step.

    Args:
        stored: (rows, bins), any number type.
        minimum, step: float32.
        values: (rows, bins) float32, written.
    """
    for i in range(stored.shape[0]):
        for j in range(stored.shape[1]):
            values[i, j] = np.float32(stored[i, j]) * step + minimum
