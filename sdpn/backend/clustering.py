"""Pseudo-speakers: classes of unlabelled training x-vectors, so that LDA and PLDA need no speaker labels."""

import numpy as np

from sdpn.backend.k_means import BLOCK, centroids_of, k_means, small_clusters
from sdpn.backend.speaker_count import Level, find_levels
from sdpn.backend.threads import Each, in_threads
from sdpn.backend.transforms import lengths
from sdpn.backend.vectors import as_matrix, class_means
from sdpn.backend.ward import WardTree
from sdpn.console import counted
from sdpn.errors import SdpnError

WHOLE_TREE = 12_000  # so many vectors, or fewer, are all leaves of Ward's tree
LARGEST_TREE = 48_000  # leaves: its distances take about 2.5 * leaves^2 * D multiplications
LARGEST_SEARCH = 24_000  # leaves where the number of clusters is looked for, which takes several trees
LARGEST_MERGE = 20_000  # clusters that average linkage merges: its distances take 8 * clusters^2 bytes, twice
CELLS = 16  # leaves for each cluster
BUDGET = 6e12  # multiplications of k-means: two iterations over a million vectors of 512 dimensions, 6000 clusters


class PseudoSpeakers:
    """Cluster x-vectors by their directions: Ward's tree, then k-means, then merging of clusters where asked for.

    The vectors have their mean subtracted and their length normalized first. k-means starts from the clusters of
    Ward's agglomerative clustering: with as many clusters as there are speakers, a random start (k-means++) splits
    some speakers and joins others, and stays there. Of more than WHOLE_TREE vectors, the leaves of the tree are small
    clusters weighted by their size, CELLS for each cluster that is asked for, or as many as LARGEST_TREE allows.
    Clusters of fewer than `min_size` vectors are dropped in the end: they say little about how a speaker varies.

    Where the number of clusters is not given, `find_levels` looks for the levels of the corpus (utterances of a
    session, sessions of a speaker) and takes the coarsest for speakers; `note_` says which others there are.

    Args:
        n_clusters: of k-means; None for the rule.
        merge_to: merge the centroids to this many classes (average linkage of cosine distances); None for no merging.
        min_size: the smallest cluster kept.
        seed: of all samples; equal seeds give equal classes, whatever the number of threads.

    Attributes:
        labels_: (n_vectors,) the class of each vector, 0 .. n_classes_ - 1 in the order of first appearance, or -1.
        n_clusters_: how many clusters there were, small ones among them.
        n_classes_: how many classes are left.
        levels_: the levels that the rule found, the finest first, the last taken; empty if the number was given.
        note_: what was clustered to what, and which other numbers are plausible, in one line.
    """

    def __init__(self, n_clusters: int | None = None, merge_to: int | None = None, min_size: int = 4, seed: int = 0):
        self.n_clusters = n_clusters
        self.merge_to = merge_to
        self.min_size = min_size
        self.seed = seed

    def fit(self, X: np.ndarray) -> "PseudoSpeakers":
        """Cluster `X` (n_vectors, n_dimensions).

        Raises:
            SdpnError: more clusters are asked for than there are vectors or than can be merged, or fewer than two are
                left.
        """
        X = directions(X)
        if self.n_clusters is not None and self.n_clusters > len(X):
            raise SdpnError(f"pseudo-speakers: {self.n_clusters} clusters asked for, but there are {len(X)} vectors")
        if self.merge_to is not None:
            _refuse_to_merge(self.n_clusters or 0)
        self.levels_: list[Level] = []
        groups: Level | None = None
        with in_threads() as each:
            if self.n_clusters is None:
                units, leaves, weights = self._leaves(X, LARGEST_SEARCH, each)
                smallest = self.min_size if len(leaves) == len(X) else 2
                self.levels_, groups = find_levels(leaves, weights, smallest, self.seed, each)
                start = self.levels_[-1].labels[units]
            else:
                units, leaves, weights = self._leaves(X, CELLS * self.n_clusters, each)
                start = WardTree(leaves, weights, each).cut(self.n_clusters)[units]
            labels = k_means(X, start, each, budget=BUDGET)
        found = self.n_clusters_ = int(labels.max()) + 1
        if self.merge_to is not None and self.merge_to < found:
            _refuse_to_merge(found)
            labels = merge(X, labels, self.merge_to)
        self.labels_, self.n_classes_ = drop_small(labels, self.min_size)
        if self.n_classes_ < 2:
            raise SdpnError(
                f"pseudo-speakers: {found} clusters of {len(X)} vectors leave {self.n_classes_} of at least "
                f"{self.min_size} vectors: ask for fewer clusters (clusters) or keep smaller ones (min_cluster_size)"
            )
        merged = f", merged to {self.merge_to}" if labels.max() + 1 < found else ""
        dropped = int(np.count_nonzero(self.labels_ < 0))
        self.note_ = (
            f"{counted(len(X), 'vector')} in {counted(found, 'cluster')}{merged}: "
            f"{counted(self.n_classes_, 'pseudo-speaker')}, "
            f"{counted(dropped, 'vector')} in clusters of fewer than {self.min_size} left out"
        )
        if self.levels_:
            self.note_ += f"; {explain(self.levels_, groups)}"
        return self

    def _leaves(self, X: np.ndarray, number: int, each: Each) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The leaf of each vector, and the leaves of Ward's tree with their weights: `number` of them, or about."""
        number = max(min(number, LARGEST_TREE), WHOLE_TREE, self.n_clusters or 0)
        if len(X) <= number:
            return np.arange(len(X)), X, np.ones(len(X))
        units = small_clusters(X, number, self.seed, each)
        weights, leaves = centroids_of(X, units)
        return units, leaves.astype(np.float32), weights.astype(np.float64)


def explain(levels: list[Level], groups: Level | None) -> str:
    """How the number of speakers was chosen, which other numbers there are, and how to give one."""
    text = f"the number is that of the {'coarsest' if len(levels) > 1 or groups else 'only'} level of clusters"
    others = [f"{level.number} (finer: sessions?)" for level in levels[:-1]]
    fewest, most = levels[-1].plausible
    others += [f"{fewest} to {most}, about as plausible"] if fewest < most else []
    others += [f"{groups.number} (coarser: genders, accents, corpora?)"] if groups else []
    if others:
        text += f"; others: {', '.join(others)}"
    return f"{text}; --clusters N gives another"


def merge(X: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Merge clusters to `n_classes` by the cosine distances between their centroids, average linkage."""
    from sklearn.cluster import AgglomerativeClustering

    merging = AgglomerativeClustering(n_classes, metric="cosine", linkage="average")
    return merging.fit(class_means(X, labels)[1]).labels_[labels].astype(np.int64)


def _refuse_to_merge(number: int) -> None:
    """Refuse to merge more clusters than memory holds the distances of."""
    if number > LARGEST_MERGE:
        raise SdpnError(
            f"pseudo-speakers: {number} clusters are too many to be merged, {LARGEST_MERGE} the most: ask for fewer "
            "(clusters), or for the final number without merging (merge_clusters: null), which a tree leads to as well"
        )


def drop_small(labels: np.ndarray, min_size: int) -> tuple[np.ndarray, int]:
    """Give -1 to the members of clusters of fewer than `min_size`; number the others by their first member."""
    clusters, first, index, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    kept = counts >= min_size
    order = np.argsort(first[kept])
    number = np.full(len(clusters), -1)
    number[np.flatnonzero(kept)[order]] = np.arange(len(order))
    return number[index], len(order)


def directions(X: np.ndarray) -> np.ndarray:
    """Subtract the mean and divide by the length: (n_vectors, n_dimensions) float32, a block of vectors at a time.

    Raises:
        SdpnError: there are no vectors, some hold NaN or infinity, or one has no direction.
    """
    X = np.asarray(X)
    if X.ndim != 2 or X.size == 0 or not np.isfinite(X.sum(dtype=np.float64)):
        X = as_matrix(X, "pseudo-speakers")
    mean = X.mean(axis=0, dtype=np.float64)
    found = np.empty(X.shape, np.float32)
    for start in range(0, len(X), BLOCK):
        rows = slice(start, start + BLOCK)
        centred = X[rows] - mean
        found[rows] = centred / lengths(centred, "pseudo-speakers")[:, None]
    return found
