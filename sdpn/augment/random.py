"""Random numbers by counter: a pure function of a key and a position, whatever was drawn before.

The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014):
its state after n steps is key + n * 0x9E3779B97F4A7C15, so any number of the stream is reached at once.
"""

import numba
import numpy as np
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)

NORMALS = ndtri((np.arange(4096) + 0.5) / 4096).astype(np.float32)
"""4096 equally likely values of a standard normal variable: 12 random bits choose one. (16 kB stay in the first-level
cache; it ends at 3.7 deviations, where what it is for is clipped anyway.)"""
NORMALS /= NORMALS.std()


@numba.njit(cache=True, inline="always")
def bits(key, position):
    """64 random bits: number `position` of the stream of `key` (both uint64)."""
    state = key + (position + np.uint64(1)) * _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


@numba.njit(cache=True)
def view_key(seed, epoch, utterance, view):
    """The key of one view: `utterance` is the 64-bit key of its id, the others are counted from 0."""
    key = bits(np.uint64(seed), np.uint64(epoch))
    key = bits(key ^ np.uint64(utterance), np.uint64(view))
    return key


@numba.njit(cache=True)
def view_keys(seed, epoch, utterances, first, count):
    """The keys of `count` views of each of the utterances, from view number `first` on: (count, n_utterances)."""
    keys = np.empty((count, len(utterances)), dtype=np.uint64)
    for view in range(count):
        for column in range(len(utterances)):
            keys[view, column] = view_key(seed, epoch, utterances[column], first + view)
    return keys


@numba.njit(cache=True)
def uniforms(keys, count, first=0):
    """Numbers `first`, `first` + 1, ... of the streams of `keys` (n,), uniform on [0, 1): (n, count) float64."""
    drawn = np.empty((len(keys), count))
    for row in range(len(keys)):
        for position in range(count):
            word = bits(keys[row], np.uint64(first + position))
            drawn[row, position] = (word >> np.uint64(11)) * (1.0 / 9007199254740992.0)
    return drawn
