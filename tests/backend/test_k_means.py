import numpy as np
import pytest
from sklearn.cluster import KMeans

from sdpn.backend.k_means import centroids_of, group, k_means, small_clusters


def points(n_points=3000, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(40, dim))
    return (means[rng.integers(40, size=n_points)] + 0.6 * rng.normal(size=(n_points, dim))).astype(np.float32)


def test_k_means_is_that_of_scikit_learn_from_the_same_start():
    X = points()
    start = KMeans(40, init="random", n_init=1, max_iter=1, random_state=0).fit(X).labels_
    centroids = centroids_of(X, start)[1].astype(np.float32)
    reference = KMeans(40, init=centroids, n_init=1, max_iter=300, tol=0).fit(X)
    np.testing.assert_array_equal(k_means(X, start), np.unique(reference.labels_, return_inverse=True)[1])


def test_no_iteration_is_begun_beyond_the_budget():
    X = points()
    start = np.random.default_rng(1).integers(40, size=len(X))
    one = k_means(X, start, max_iter=1)
    np.testing.assert_array_equal(k_means(X, start, budget=1), one)
    assert not np.array_equal(k_means(X, start), one)


def test_a_cluster_that_loses_its_vectors_is_left_out():
    X = np.array([[0], [10], [-1], [1], [9], [11]], dtype=np.float32)
    np.testing.assert_array_equal(k_means(X, np.array([0, 0, 1, 1, 2, 2])), [0, 1, 0, 0, 1, 1])


def test_centroids_are_weighted_means():
    X = np.array([[0.0, 1], [4, 1], [7, 7]])
    weights, centroids = centroids_of(X, np.array([0, 0, 1]), np.array([3.0, 1, 2]))
    np.testing.assert_allclose(weights, [4, 2])
    np.testing.assert_allclose(centroids, [[1, 1], [7, 7]])


def test_small_clusters_are_as_many_as_asked_for_and_tight():
    X = points()
    labels = small_clusters(X, 400, seed=1)
    assert len(np.unique(labels)) == 400
    scatter = np.sum((X - centroids_of(X, labels)[1][labels]) ** 2)
    best = KMeans(400, n_init=1, random_state=0).fit(X).inertia_
    assert scatter < 1.15 * best


@pytest.mark.parametrize("X", [points(), np.ones((3000, 4), np.float32)])
def test_groups_divide_the_vectors_and_none_is_large(X):
    groups = group(X, 100, np.random.default_rng(0))
    assert max(map(len, groups)) <= 400
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(len(X)))
