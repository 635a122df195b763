"""Vectors at the door of the back-end: one matrix of numbers that can be computed with."""

import numpy as np

from sdpn.errors import SdpnError


def as_matrix(vectors: np.ndarray, where: str, dimension: int | None = None) -> np.ndarray:
    """Return `vectors` as a float64 matrix (n_vectors, n_dimensions).

    Args:
        vectors: (n_vectors, n_dimensions).
        where: what the sentence of an error begins with, e.g. the name of a step.
        dimension: the dimension that the vectors must have, where it is known.

    Raises:
        SdpnError: there are no vectors, some hold NaN or infinity, or they have another dimension.
    """
    matrix = np.asarray(vectors, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise SdpnError(f"{where}: there are no vectors (the array's shape is {matrix.shape})")
    if dimension is not None and matrix.shape[1] != dimension:
        raise SdpnError(
            f"{where}: the vectors have {matrix.shape[1]} dimensions, but those it was fitted on had {dimension}"
        )
    if not np.isfinite(matrix.sum()):  # cheaper than one flag for each number, and wrong only on overflow
        broken = np.count_nonzero(~np.isfinite(matrix).all(axis=1))
        if broken:
            raise SdpnError(f"{where}: {broken} of {len(matrix)} vectors hold NaN or infinity")
    return matrix


def as_classes(classes: np.ndarray | None, where: str, count: int) -> np.ndarray:
    """Return the class of each of `count` vectors as integers 0 .. n_classes - 1.

    Raises:
        SdpnError: no classes are given, fewer than two, or each vector is a class of its own.
    """
    if classes is None or len(classes) != count:
        given = "none are given" if classes is None else f"{len(classes)} are given for {count} vectors"
        raise SdpnError(f"{where}: needs the class of every vector, but {given}")
    names, index = np.unique(classes, return_inverse=True)
    if len(names) < 2:
        raise SdpnError(f"{where}: needs vectors of at least two classes, but there is only {len(names)}")
    if len(names) == count:
        raise SdpnError(
            f"{where}: every one of the {count} vectors is a class of its own: nothing varies within a class"
        )
    return index


def class_means(vectors: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of vectors of each class (n_classes,), and their mean (n_classes, n_dimensions).

    Args:
        vectors: (n_vectors, n_dimensions).
        classes: (n_vectors,) integers 0 .. n_classes - 1, none of them empty.
    """
    counts = np.bincount(classes)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    sums = np.add.reduceat(vectors[np.argsort(classes, kind="stable")], starts, axis=0)
    return counts, sums / counts[:, None]


def within_scatter_is_zero(vectors: np.ndarray, classes: np.ndarray) -> bool:
    """Whether the vectors of every class are copies of one vector, up to rounding.

    Args:
        vectors: (n_vectors, n_dimensions).
        classes: (n_vectors,) integers 0 .. n_classes - 1.
    """
    first = np.zeros(classes.max() + 1, dtype=np.int64)
    first[classes[::-1]] = np.arange(len(classes))[::-1]  # written last: the first vector of each class
    negligible = 1e-12 * max(vectors.max(), -vectors.min())
    for start in range(0, len(vectors), 4096):  # most often the first few vectors settle it
        rows = slice(start, start + 4096)
        if np.abs(vectors[rows] - vectors[first[classes[rows]]]).max() > negligible:
            return False
    return True
