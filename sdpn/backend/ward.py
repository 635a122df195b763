"""Ward's agglomerative clustering of weighted points, exact, in memory that grows with the points alone."""

import numba
import numpy as np

from sdpn.backend.threads import Each

BLOCK = 256  # rows of the distance matrix at a time


class WardTree:
    """Ward's tree over points that stand for several vectors each, to be cut at any number of clusters.

    Every step joins the two clusters whose joining raises the sum of squared distances to the centroids least,

        d(i, j) = w_i w_j / (w_i + w_j) ||c_i - c_j||^2,

    w being the vectors of a cluster and c its centroid (Ward, J. Am. Stat. Assoc. 58, 1963; `ward.D2` of Murtagh &
    Legendre, Journal of Classification 31, 2014, for weights 1). So the tree over the centroids of small clusters goes
    on exactly where the tree over their vectors would go on from these clusters.

    All pairs that are each other's nearest are joined at once: d is reducible, so that joining one pair makes no other
    cluster nearer to anything, and the tree is the one of joining pair by pair (Murtagh, Computer Journal 26, 1983).
    Distances are computed from the centroids when they are needed, in single precision, and not kept: the distance
    matrix of 48,000 points alone would take 9 GiB.

    Args:
        points: (n_points, n_dimensions).
        weights: (n_points,), how many vectors each stands for; None for one each.
        each: what applies a function to the blocks of the distance matrix (`in_threads`); `map` for one by one.

    Attributes:
        merges_: (n_points - 1, 2) int64, the nodes joined at each step, by rising height: a point 0 .. n_points - 1, or
            n_points + t for what step t made.
        heights_: (n_points - 1,) float64, the rise of the sum of squares at each step.
    """

    def __init__(self, points: np.ndarray, weights: np.ndarray | None = None, each: Each = map):
        n_points = len(points)
        centroids = np.array(points, dtype=np.float64)
        weights = np.ones(n_points) if weights is None else np.array(weights, dtype=np.float64)
        nodes = np.arange(n_points)  # the node of each cluster that is left
        merges, heights = [], []
        height_of = np.zeros(2 * n_points)
        nearest, distance = np.zeros(n_points, np.int64), np.zeros(n_points, np.float32)
        stale = np.ones(n_points, dtype=bool)  # clusters whose nearest one must be looked for
        made = n_points
        while len(nodes) > 1:
            _find_nearest(np.flatnonzero(stale), centroids, weights, nearest, distance, each)
            own = np.arange(len(nodes))
            first = own[(nearest[nearest] == own) & (own < nearest)]
            if not len(first):  # rounding has made a ring of three or more at one distance
                first = np.array([np.argmin(distance)])
            second = nearest[first]
            both = weights[first] + weights[second]
            share = (weights[second] / both)[:, None]
            difference = centroids[second] - centroids[first]
            height = weights[first] * weights[second] / both * np.einsum("ij,ij->i", difference, difference)
            # Rounding may put a step a little below those that made its parts, which would not be a tree
            height = np.maximum(height, np.maximum(height_of[nodes[first]], height_of[nodes[second]]))
            merges.append(np.column_stack((nodes[first], nodes[second])))
            heights.append(height)
            centroids[first] += share * difference
            weights[first] = both
            nodes[first] = made + np.arange(len(first))
            height_of[nodes[first]] = height
            made += len(first)
            gone = np.zeros(len(nodes), dtype=bool)
            gone[first] = gone[second] = True
            stale = gone[nearest]  # of a pair each is the other's nearest, so this holds for the joined ones too
            stale[first] = True
            gone[first] = False
            index = np.cumsum(~gone) - 1
            nearest = index[nearest]
            nodes, weights, centroids = nodes[~gone], weights[~gone], centroids[~gone]
            nearest, distance, stale = nearest[~gone], distance[~gone], stale[~gone]
        self.n_points = n_points
        self.merges_ = np.concatenate(merges) if merges else np.zeros((0, 2), np.int64)
        self.heights_ = np.concatenate(heights) if heights else np.zeros(0)
        order = np.argsort(self.heights_, kind="stable")  # parts were made before what they are part of
        number = np.arange(2 * n_points - 1)
        number[n_points + order] = n_points + np.arange(len(order))
        self.merges_, self.heights_ = number[self.merges_[order]], self.heights_[order]

    def cut(self, number: int) -> np.ndarray:
        """The cluster of each point where `number` clusters are left: (n_points,) integers 0 .. number - 1."""
        return _labels(self.merges_[: self.n_points - number], self.n_points)


def _find_nearest(
    rows: np.ndarray,
    centroids: np.ndarray,
    weights: np.ndarray,
    nearest: np.ndarray,
    distance: np.ndarray,
    each: Each,
) -> None:
    """Write the nearest other cluster of each of `rows`, and its distance, into `nearest` and `distance`."""
    single, w = centroids.astype(np.float32), weights.astype(np.float32)
    squares = np.einsum("ij,ij->i", single, single)

    def search(part: np.ndarray) -> None:
        _nearest_of(part, single[part] @ single.T, squares, w, nearest, distance)

    for _ in each(search, [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]):
        pass


@numba.njit(cache=True, nogil=True, fastmath=True)
def _nearest_of(rows, products, squares, weights, nearest, distance):
    """For each row of scalar products: the first cluster at the least distance d. `products` is overwritten."""
    for i in range(len(rows)):
        row, d = rows[i], products[i]
        square, weight = squares[row], weights[row]
        for j in range(len(d)):
            d[j] = (square + squares[j] - 2 * d[j]) * (weight * weights[j] / (weight + weights[j]))
        d[row] = np.float32(3e38)
        least = d[0]
        for j in range(len(d)):  # apart from the search for its index, this loop is done 16 numbers at a time
            least = min(least, d[j])
        for j in range(len(d)):
            if d[j] == least:
                nearest[row], distance[row] = j, least
                break


@numba.njit(cache=True, nogil=True)
def _labels(merges, n_points):
    """The cluster of each point after `merges`, numbered by their first points."""
    root = np.arange(n_points + len(merges))
    for t in range(len(merges) - 1, -1, -1):  # from the last step down, so that every root is known already
        for side in range(2):
            root[merges[t, side]] = root[n_points + t]
    number = np.full(len(root), -1)
    labels = np.empty(n_points, np.int64)
    found = 0
    for i in range(n_points):
        if number[root[i]] < 0:
            number[root[i]] = found
            found += 1
        labels[i] = number[root[i]]
    return labels
