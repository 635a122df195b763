"""Pseudo-speakers: classes of unlabelled training x-vectors, so that LDA and PLDA need no speaker labels."""

import numpy as np
from threadpoolctl import threadpool_limits

from sdpn.backend.transforms import LengthNorm, MeanSubtract
from sdpn.backend.vectors import as_matrix, class_means
from sdpn.errors import SdpnError

REFINEMENTS = 5  # times that the search for the number of clusters halves its steps about the best
LARGEST_TREE = 8000  # vectors in Ward's tree: its distances take 8 * n^2 / 2 bytes
LARGEST_SEARCH = 50_000  # vectors among which clusters are looked for; more are then assigned in mini-batches


class PseudoSpeakers:
    """Cluster x-vectors by their directions: k-means, then agglomerative merging of the centroids where asked for.

    The vectors have their mean subtracted and their length normalized first. k-means starts from the centroids of
    Ward's agglomerative clustering cut at the same number of clusters: with as many clusters as there are speakers, a
    random start (k-means++) splits some speakers and joins others, and stays there. Above LARGEST_TREE vectors the tree
    grows from the centroids of that many small clusters. Clusters of fewer than `min_size` vectors are dropped in the
    end: they say little about how a speaker varies.

    Where the number of clusters is not given it is chosen by the mean silhouette about the centroids,

        s = (b - a) / max(a, b),

    a being the distance of a vector to the centroid of the other members of its cluster (s = 0 where there are none)
    and b the distance to the nearest other centroid. Leaving the vector itself out of a keeps s from growing with
    the number of clusters alone. (Rousseeuw, J. Comput. Appl. Math. 20, 1987; the form with centroids: Hruschka et
    al., 2004.) The search starts from many clusters of about `min_size` vectors, halves their number until the
    silhouette has passed a peak, and then looks about it in finer and finer steps. So it finds the finest structure of
    the data, the speakers, where two genders or two corpora may give a higher peak at far fewer clusters. All its runs
    of k-means, about fifteen, start from the same tree.

    Of more than LARGEST_SEARCH vectors, a random sample of that many is clustered so, and its centroids are where
    mini-batch k-means over all vectors starts (Sculley, Web-scale k-means clustering, WWW 2010).

    Args:
        n_clusters: of k-means; None for the rule.
        merge_to: merge the centroids to this many classes (average linkage of cosine distances); None for no merging.
        min_size: the smallest cluster kept.
        seed: of samples and of the small clusters from which a large tree grows; equal seeds give equal classes.

    Attributes:
        labels_: (n_vectors,) the class of each vector, 0 .. n_classes_ - 1 in the order of first appearance, or -1.
        n_classes_: how many classes are left.
        silhouettes_: the mean silhouette of each number of clusters that the rule tried; empty where it was given.
        note_: what was clustered to what, in one line.
    """

    def __init__(self, n_clusters: int | None = None, merge_to: int | None = None, min_size: int = 4, seed: int = 0):
        self.n_clusters = n_clusters
        self.merge_to = merge_to
        self.min_size = min_size
        self.seed = seed

    def fit(self, X: np.ndarray) -> "PseudoSpeakers":
        """Cluster `X` (n_vectors, n_dimensions).

        Raises:
            SdpnError: more clusters are asked for than can be made, or fewer than two are left.
        """
        X = _directions(X)
        most = min(len(X), LARGEST_TREE)
        if self.n_clusters is not None and self.n_clusters > most:
            raise SdpnError(
                f"pseudo-speakers: {self.n_clusters} clusters asked for, but at most {most} can be made "
                f"of {len(X)} vectors"
            )
        self.silhouettes_: dict[int, float] = {}
        searched, max_iter = X, 300
        if len(X) > LARGEST_SEARCH:
            chosen = np.random.default_rng([self.seed, 7]).choice(len(X), LARGEST_SEARCH, replace=False)
            searched, max_iter = X[np.sort(chosen)], 20  # the mini-batches do the rest
        tree = WardTree(searched, self.seed)
        if self.n_clusters is None:
            labels = self._choose(searched, tree, max_iter)
        else:
            labels = k_means(searched, tree.cut(self.n_clusters), max_iter)
        if searched is not X:
            labels = mini_batch_k_means(X, class_means(searched, labels)[1], self.seed)
        found = labels.max() + 1
        if self.merge_to is not None and self.merge_to < found:
            labels = merge(X, labels, self.merge_to)
        self.labels_, self.n_classes_ = drop_small(labels, self.min_size)
        if self.n_classes_ < 2:
            raise SdpnError(
                f"pseudo-speakers: {found} clusters of {len(X)} vectors leave {self.n_classes_} of at least "
                f"{self.min_size} vectors: ask for fewer clusters (clusters) or keep smaller ones (min_cluster_size)"
            )
        merged = f", merged to {self.merge_to}" if labels.max() + 1 < found else ""
        dropped = np.count_nonzero(self.labels_ < 0)
        self.note_ = (
            f"{len(X)} vectors in {found} clusters{merged}: {self.n_classes_} pseudo-speakers, "
            f"{dropped} vectors in clusters of fewer than {self.min_size} left out"
        )
        return self

    def _choose(self, X: np.ndarray, tree: "WardTree", max_iter: int) -> np.ndarray:
        """The labels of the number of clusters at the first peak of the silhouette, coming from many clusters."""
        labels: dict[int, np.ndarray] = {}
        tried = self.silhouettes_

        def attempt(number: int) -> float:
            labels[number] = k_means(X, tree.cut(number), max_iter)
            tried[number] = silhouette(X, labels[number])
            return tried[number]

        largest = min(max(2, len(X) // max(self.min_size, 2)), LARGEST_TREE)
        number = largest
        while number >= 2 and attempt(number) >= 0.9 * max(tried.values()) - 0.01:
            number = round(number / 2)
        ratio = 2.0
        for _ in range(REFINEMENTS):
            ratio **= 0.5
            best = max(tried, key=tried.__getitem__)
            for number in (round(best / ratio), round(best * ratio)):
                if 2 <= number <= largest and number not in tried:
                    attempt(number)
        return labels[max(tried, key=tried.__getitem__)]


class WardTree:
    """Ward's agglomerative clustering of the rows of `X`, to be cut at any number of clusters.

    Attributes:
        leaves_: (n_leaves, n_dimensions), `X` itself or the centroids of LARGEST_TREE small clusters of it.
        linkage_: scipy's linkage matrix.
    """

    def __init__(self, X: np.ndarray, seed: int):
        from scipy.cluster.hierarchy import linkage
        from sklearn.cluster import KMeans

        self.leaves_ = X
        if len(X) > LARGEST_TREE:
            with threadpool_limits(1):
                small = KMeans(LARGEST_TREE, init="random", n_init=1, max_iter=5, random_state=seed)
                self.leaves_ = small.fit(X.astype(np.float32)).cluster_centers_.astype(np.float64)
        self.linkage_ = linkage(self.leaves_, "ward")

    def cut(self, number: int) -> np.ndarray:
        """The centroids of `number` clusters: (number, n_dimensions), or fewer where merges are tied."""
        from scipy.cluster.hierarchy import fcluster

        labels = np.unique(fcluster(self.linkage_, number, "maxclust"), return_inverse=True)[1]
        return class_means(self.leaves_, labels)[1]


def k_means(X: np.ndarray, centroids: np.ndarray, max_iter: int = 300) -> np.ndarray:
    """The cluster of each row of `X`, by scikit-learn's k-means from the given start: integers without gaps."""
    from sklearn.cluster import KMeans

    with threadpool_limits(1):  # several threads would add up the centroids in the order in which they finish
        fitted = KMeans(len(centroids), init=centroids.astype(np.float32), n_init=1, max_iter=max_iter)
        fitted.fit(X.astype(np.float32))
    return np.unique(fitted.labels_, return_inverse=True)[1]


def mini_batch_k_means(X: np.ndarray, centroids: np.ndarray, seed: int) -> np.ndarray:
    """The cluster of each row of `X`, by scikit-learn's mini-batch k-means from that start: integers without gaps."""
    from sklearn.cluster import MiniBatchKMeans

    with threadpool_limits(1):
        fitted = MiniBatchKMeans(
            len(centroids),
            init=centroids.astype(np.float32),
            n_init=1,
            batch_size=10_000,
            max_iter=5,
            reassignment_ratio=0,  # the start is good: a cluster that a batch leaves out is not to jump elsewhere
            random_state=seed,
        )
        labels = fitted.fit_predict(X.astype(np.float32))
    return np.unique(labels, return_inverse=True)[1]


def merge(X: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Merge clusters to `n_classes` by the cosine distances between their centroids, average linkage."""
    from sklearn.cluster import AgglomerativeClustering

    merging = AgglomerativeClustering(n_classes, metric="cosine", linkage="average")
    return merging.fit(class_means(X, labels)[1]).labels_[labels].astype(np.int64)


def silhouette(X: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette of `X` about the centroids of its clusters (`PseudoSpeakers`); 0 for a single cluster."""
    counts, centroids = class_means(X, labels)
    if len(counts) == 1:
        return 0.0
    squared_lengths = np.einsum("ij,ij->i", centroids, centroids)
    total = 0.0
    for start in range(0, len(X), 4096):
        rows, own = X[start : start + 4096], labels[start : start + 4096]
        squares = np.einsum("ij,ij->i", rows, rows)[:, None] - 2 * rows @ centroids.T + squared_lengths
        distances = np.sqrt(np.maximum(squares, 0))
        a = distances[np.arange(len(rows)), own] * counts[own] / np.maximum(counts[own] - 1, 1)
        distances[np.arange(len(rows)), own] = np.inf
        b = distances.min(axis=1)
        alone = (counts[own] == 1) | (np.maximum(a, b) == 0)
        total += np.sum(np.where(alone, 0.0, (b - a) / np.where(alone, 1.0, np.maximum(a, b))))
    return float(total / len(X))


def drop_small(labels: np.ndarray, min_size: int) -> tuple[np.ndarray, int]:
    """Give -1 to the members of clusters of fewer than `min_size`; number the others by their first member."""
    clusters, first, index, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    kept = counts >= min_size
    order = np.argsort(first[kept])
    number = np.full(len(clusters), -1)
    number[np.flatnonzero(kept)[order]] = np.arange(len(order))
    return number[index], len(order)


def _directions(X: np.ndarray) -> np.ndarray:
    X = MeanSubtract().fit(as_matrix(X, "pseudo-speakers")).transform(X)
    return LengthNorm().fit(X).transform(X) / np.sqrt(X.shape[1])
