"""k-means from a given start, and the many small clusters from which Ward's tree over a large corpus grows."""

import numba
import numpy as np

from sdpn.backend.threads import Each
from sdpn.backend.ward import WardTree

BLOCK = 2048  # vectors at a time
GROUP = 1000  # vectors in a group, about; the trees of the groups take n * GROUP * D * 4.4 operations
SAMPLE = 64  # vectors of a sample for each group


def k_means(
    X: np.ndarray, labels: np.ndarray, each: Each = map, max_iter: int = 300, budget: float = np.inf
) -> np.ndarray:
    """Lloyd's k-means from the clusters `labels`, until no vector changes its cluster.

    Only what can have changed is computed again: a vector whose centroid stands still is compared with the centroids
    that moved. So later iterations cost little, with the same result.

    Args:
        X: (n_vectors, n_dimensions) float32.
        labels: (n_vectors,) the start: integers 0 .. n_clusters - 1, each of them used.
        each: how blocks are worked on (`in_threads`).
        max_iter: iterations, at most.
        budget: no iteration is begun after this many multiplications.

    Returns:
        the cluster of each vector, integers without gaps.
    """
    labels = labels.astype(np.int64)
    counts, centroids = centroids_of(X, labels)
    sums = centroids * counts[:, None]
    closeness = np.empty(len(X), np.float32)  # x.c - |c|^2 / 2 with the own centroid: grows as the distance falls
    moved = np.ones(len(counts), dtype=bool)
    for _ in range(max_iter):
        centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        half = np.where(counts > 0, np.einsum("ij,ij->i", centroids, centroids) / 2, np.inf)  # an empty one stays so
        new = labels.copy()
        changed = np.flatnonzero(moved)

        def search(rows, candidates, whole, centroids=centroids, half=half, new=new):
            products = X[rows] @ centroids[candidates].T
            products -= half[candidates]
            best = products.argmax(axis=1)
            found = products[np.arange(len(rows)), best]
            better = np.ones(len(rows), dtype=bool) if whole else found > closeness[rows]
            new[rows[better]], closeness[rows[better]] = candidates[best[better]], found[better]

        own_moved = moved[labels]
        for whole, candidates in ((True, np.arange(len(counts))), (False, changed)):
            rows = np.flatnonzero(own_moved == whole)
            blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
            for _ in each(lambda rows, c=candidates, w=whole: search(rows, c, w), blocks):
                pass
            budget -= len(rows) * len(candidates) * X.shape[1]
        rows = np.flatnonzero(new != labels)
        moved = np.zeros(len(counts), dtype=bool)
        moved[labels[rows]] = moved[new[rows]] = True
        _move(X, rows, labels, new, counts, sums)
        labels = new
        if not len(rows) or budget <= 0:
            break
    return np.unique(labels, return_inverse=True)[1]


def small_clusters(X: np.ndarray, number: int, seed: int, each: Each = map) -> np.ndarray:
    """Divide `X` into many small clusters: Ward's trees of groups of vectors near to each other, all cut at one height.

    They are those of Ward's clustering of all vectors at the time when `number` clusters are left, but that the vectors
    of a cluster come from one group. The tree over the small clusters puts together what the groups divide.

    Args:
        X: (n_vectors, n_dimensions) float32.
        number: of small clusters, fewer than the vectors.
        seed: of the samples that the groups are made from.
        each: how the groups are worked on (`in_threads`).

    Returns:
        (n_vectors,) the small cluster of each vector, 0 .. number - 1.
    """
    groups = group(X, GROUP, np.random.default_rng([seed, 7]), each)
    trees = list(each(lambda rows: WardTree(X[rows]), groups))
    heights = np.concatenate([tree.heights_ for tree in trees])
    tree_of = np.repeat(np.arange(len(trees)), [len(tree.heights_) for tree in trees])
    steps = np.bincount(tree_of[np.argsort(heights, kind="stable")[: len(X) - number]], minlength=len(trees))
    labels = np.empty(len(X), np.int64)
    found = 0
    for rows, tree, done in zip(groups, trees, steps, strict=True):
        labels[rows] = tree.cut(len(rows) - done) + found
        found += len(rows) - done
    return labels


def group(X: np.ndarray, size: int, rng: np.random.Generator, each: Each = map) -> list[np.ndarray]:
    """Divide `X` into groups of about `size` vectors near to each other, none larger than 4 * `size`.

    The vectors of a group have the same nearest centroid; these come from a few iterations of k-means on a sample.

    Returns:
        the rows of each group, rising.
    """
    done, waiting = [], [np.arange(len(X))]
    while waiting:
        rows = waiting.pop()
        number = -(-len(rows) // size)
        sample = np.sort(rng.permutation(rows)[: SAMPLE * number])
        labels = nearest_centroid(X, sample, X[rng.choice(sample, number, replace=False)], each)
        labels = k_means(X[sample], np.unique(labels, return_inverse=True)[1], each, max_iter=5)
        centroids = centroids_of(X[sample], labels)[1].astype(np.float32)
        labels = nearest_centroid(X, rows, centroids, each)
        parts = np.split(rows[np.argsort(labels, kind="stable")], np.cumsum(np.bincount(labels))[:-1])
        for part in filter(len, parts):
            if len(part) <= 4 * size:
                done.append(part)
            elif len(part) < 0.9 * len(rows):
                waiting.append(part)
            else:  # k-means finds nothing to divide by, as among copies of one vector
                done += np.array_split(part, -(-len(part) // size))
    return done


def nearest_centroid(X: np.ndarray, rows: np.ndarray, centroids: np.ndarray, each: Each = map) -> np.ndarray:
    """The nearest of the centroids to each of `rows` of `X`: (n_rows,) int64."""
    half = np.einsum("ij,ij->i", centroids, centroids) / 2
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    return np.concatenate(list(each(lambda part: (X[part] @ centroids.T - half).argmax(axis=1), blocks)))


def centroids_of(X: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each cluster (n_clusters,), and its centroid (n_clusters, n_dimensions) float64.

    Args:
        X: (n_vectors, n_dimensions).
        labels: (n_vectors,) integers 0 .. n_clusters - 1, each of them used.
        weights: (n_vectors,); None for one each, so that the weights of clusters are counts.
    """
    total = np.bincount(labels, weights)
    sums = np.zeros((len(total), X.shape[1]))
    _add(X, labels, np.ones(len(X)) if weights is None else weights, sums)
    return total, sums / total[:, None]


@numba.njit(cache=True, nogil=True)
def _add(X, labels, weights, sums):
    """Add every vector, times its weight, to the sum of its cluster."""
    for row in range(len(X)):
        cluster, weight = labels[row], weights[row]
        for d in range(X.shape[1]):
            sums[cluster, d] += weight * X[row, d]


@numba.njit(cache=True, nogil=True)
def _move(X, rows, old, new, counts, sums):
    """Take the vectors of `rows` out of the sums of their old clusters and add them to those of their new ones."""
    for row in rows:
        before, after = old[row], new[row]
        for d in range(X.shape[1]):
            sums[before, d] -= X[row, d]
            sums[after, d] += X[row, d]
        counts[before] -= 1
        counts[after] += 1
