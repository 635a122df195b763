import math

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from sdpn.finetune.gate import Mixture, crossing, fit_mixture, gate_threshold


@pytest.fixture
def two_heaps():
    random = np.random.default_rng(2)
    return np.concatenate((random.normal(-4, 1.2, 700), random.normal(1.5, 0.6, 300)))


def test_the_mixture_is_that_of_scikit_learn(two_heaps):
    found = fit_mixture(two_heaps, tolerance=1e-12)
    expected = GaussianMixture(2, tol=1e-12, reg_covar=0, max_iter=500, means_init=[[-4], [2]], random_state=0)
    expected.fit(two_heaps[:, None])
    order = np.argsort(expected.means_[:, 0])
    np.testing.assert_allclose(found.means, expected.means_[order, 0], atol=1e-4)
    np.testing.assert_allclose(found.deviations, np.sqrt(expected.covariances_[order, 0, 0]), atol=1e-4)
    np.testing.assert_allclose(found.weights, expected.weights_[order], atol=1e-4)


def test_the_order_of_the_losses_changes_no_bit(two_heaps):
    shuffled = np.random.default_rng(5).permutation(two_heaps)
    assert crossing(fit_mixture(two_heaps)) == crossing(fit_mixture(shuffled))


@pytest.mark.parametrize("deviations", [(1.2, 0.6), (0.5, 0.5), (0.4, 1.1)])
def test_the_crossing_is_where_the_weighted_densities_are_equal(deviations):
    mixture = Mixture(np.array([0.7, 0.3]), np.array([-2.0, 1.0]), np.array(deviations))
    found = crossing(mixture)
    x = np.linspace(-2, 1, 300_001)
    lower, upper = mixture.log_densities(x).T
    assert found == pytest.approx(x[np.argmax(lower < upper)], abs=1e-4)
    assert -2 < found < 1


def test_where_one_gaussian_covers_the_other_there_is_no_crossing():
    covered = Mixture(np.array([0.01, 0.99]), np.array([0.0, 0.5]), np.array([1.0, 1.0]))
    assert crossing(covered) is None


def test_the_threshold_is_of_losses_and_leaves_out_what_was_not_seen(two_heaps):
    losses = np.exp(two_heaps)
    with_gaps = np.concatenate((losses, np.full(40, np.nan)))
    assert gate_threshold(with_gaps, math.inf) == gate_threshold(losses, math.inf)
    assert -2 < math.log(gate_threshold(losses, math.inf)) < 1


@pytest.mark.parametrize("losses", [np.full(50, 0.3), np.array([0.1, 2.0]), np.full(30, np.nan)])
def test_without_two_heaps_the_threshold_stays(losses):
    assert gate_threshold(losses, 1.25) == 1.25
