import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from sdpn.backend.threads import in_threads
from sdpn.backend.ward import WardTree


def points(n_points=600, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_points // 10, dim))[rng.integers(n_points // 10, size=n_points)] + 0.4 * rng.normal(
        size=(n_points, dim)
    )


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@pytest.mark.parametrize("dim", [2, 12, 100])
def test_the_tree_is_scipys(dim):
    X = points(dim=dim)
    tree, reference = WardTree(X), linkage(X, "ward")
    np.testing.assert_allclose(tree.heights_, reference[:, 2] ** 2 / 2, rtol=1e-9)  # scipy: sqrt(2 * rise)
    for number in (1, 2, 30, 59, 300, 600):
        assert same_partition(tree.cut(number), fcluster(reference, number, "maxclust"))


def test_a_tree_of_weighted_centroids_goes_on_where_the_tree_of_their_points_would():
    X = points()
    whole = WardTree(X)
    cells = whole.cut(200)
    centroids = np.array([X[cells == cell].mean(axis=0) for cell in range(200)])
    upper = WardTree(centroids, np.bincount(cells))
    np.testing.assert_allclose(upper.heights_, whole.heights_[-199:], rtol=1e-9)
    assert same_partition(upper.cut(60)[cells], whole.cut(60))


def test_threads_do_not_change_the_tree():
    X = points(1500)
    with in_threads() as each:
        threaded = WardTree(X, each=each)
    np.testing.assert_array_equal(threaded.merges_, WardTree(X).merges_)


def test_copies_and_equal_distances_make_a_tree_with_every_number_of_clusters():
    for X in (np.ones((50, 4)), np.eye(50), np.repeat(points(60), 3, axis=0), np.arange(64.0)[:, None]):
        tree = WardTree(X)
        assert (np.diff(tree.heights_) >= 0).all()
        for number in (1, 2, len(X) // 3, len(X)):
            assert len(np.unique(tree.cut(number))) == number


def test_one_point_is_a_tree():
    assert WardTree(np.ones((1, 3))).cut(1).tolist() == [0]
