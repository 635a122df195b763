"""Pseudo-speakers: clusters of the training x-vectors, without small classes and without uncertain members."""

from dataclasses import dataclass

import numpy as np

from sdpn.backend.clustering import PseudoSpeakers, directions, drop_small
from sdpn.errors import SdpnError
from sdpn.finetune.config import LabelConfig

_SMALLEST = 4  # vectors in a cluster, on average, where the search for their number begins, as in stage 6
_BLOCK = 4096


@dataclass(frozen=True)
class Selection:
    """Which utterances are members of which class.

    Attributes:
        classes: (n_utterances,) integers 0 .. n_classes - 1, -1 for those that are left out.
        n_clusters: how many clusters there were.
        silhouette: the mean over all utterances, before any was left out.
        uncertain, of_small, of_large: utterances left out as uncertain, of small classes, beyond the size of a class.
        note: how the number of clusters came about.
    """

    classes: np.ndarray
    n_clusters: int
    silhouette: float
    uncertain: int
    of_small: int
    of_large: int
    note: str

    @property
    def n_classes(self) -> int:
        """How many classes are left."""
        return int(self.classes.max()) + 1


def select_members(vectors: np.ndarray, config: LabelConfig, seed: int) -> Selection:
    """Cluster x-vectors (n_utterances, n_dimensions), and leave out what is uncertain, rare or too much of one class.

    Raises:
        SdpnError: fewer than two classes are left.
    """
    clusters = PseudoSpeakers(config.clusters, None, min(_SMALLEST, config.min_class_size), seed).fit(vectors)
    labels = clusters.labels_
    values = silhouettes(vectors, labels)
    certain = (labels >= 0) & (values >= config.min_silhouette)
    large_enough, _ = drop_small(np.where(certain, labels, -1 - np.arange(len(labels))), config.min_class_size)
    classes = draw_members(large_enough, config.max_class_size, seed)
    if classes.max() < 1:
        raise SdpnError(
            f"{len(labels)} utterances in {clusters.n_classes_} clusters leave fewer than two classes of at least "
            f"{config.min_class_size} members: keep smaller ones (min_class_size), or give the number of clusters"
        )
    found = float(values[labels >= 0].mean())
    uncertain = int(np.count_nonzero(~certain & (labels >= 0)))
    of_large = int(np.count_nonzero(large_enough >= 0) - np.count_nonzero(classes >= 0))
    of_small = int(np.count_nonzero(classes < 0)) - uncertain - of_large
    return Selection(classes, clusters.n_classes_, found, uncertain, of_small, of_large, clusters.note_)


def silhouettes(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The silhouette of each vector by cosine distances to the centres of clusters: (n,), NaN for those of none.

    s = (b - a) / max(a, b), a being the distance to the centre of the other members of its own cluster and b that to
    the nearest other centre (the simplified silhouette; Rousseeuw 1987 takes the mean distance to all members). It is
    0 where a vector is the only member.

    Args:
        labels: (n,) integers 0 .. n_clusters - 1, -1 for none.
    """
    X, count = directions(vectors).astype(np.float64), int(labels.max()) + 1
    sums = np.zeros((count, X.shape[1]))
    np.add.at(sums, labels[labels >= 0], X[labels >= 0])
    sizes = np.bincount(labels[labels >= 0], minlength=count)
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    values = np.full(len(X), np.nan)
    rows_of_all = np.flatnonzero(labels >= 0)
    for begin in range(0, len(rows_of_all), _BLOCK):
        rows = rows_of_all[begin : begin + _BLOCK]
        own = labels[rows]
        others = sums[own] - X[rows]
        lengths = np.linalg.norm(others, axis=1)
        a = 1 - np.einsum("nd,nd->n", X[rows], others) / np.maximum(lengths, 1e-12)
        cosines = X[rows] @ centres.T
        cosines[np.arange(len(rows)), own] = -np.inf
        b = 1 - cosines.max(axis=1)
        values[rows] = np.where(sizes[own] > 1, (b - a) / np.maximum(np.maximum(a, b), 1e-12), 0.0)
    return values


def draw_members(classes: np.ndarray, largest: int, seed: int) -> np.ndarray:
    """Give -1 to all but `largest` members of a class, drawn by the seed; 0: all stay. (n,) -> (n,)."""
    if largest == 0:
        return classes
    drawn = np.random.default_rng([seed, 7]).permutation(len(classes))
    order = drawn[np.argsort(classes[drawn], kind="stable")]
    of_sorted = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(of_sorted, of_sorted)  # among the members of the class
    kept = np.full(len(classes), -1)
    within = rank < largest
    kept[order[within]] = of_sorted[within]
    return kept
