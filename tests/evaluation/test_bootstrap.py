"""The bootstrap over speakers: every draw against figures of the trials written out as often as they count."""

import numpy as np
import pytest

from sdpn.evaluation.bootstrap import Costs, draw_speakers, replicate, replicate_pairs
from sdpn.evaluation.metrics import cllr, det_curve


def trial_set(rng, n_speakers=9, n_trials=400, levels=10**6, separation=1.5):
    """Trials with speakers of their own difficulty."""
    enroll, test = rng.integers(n_speakers, size=(2, n_trials))
    test = np.where(rng.random(n_trials) < 0.3, enroll, test)
    is_target = enroll == test
    scores = separation * is_target + 0.5 * rng.normal(size=n_speakers)[enroll] + rng.normal(size=n_trials)
    return np.round(scores * levels) / levels, is_target, enroll, test


def costs(scores, is_target):
    losses = np.logaddexp(0, np.where(is_target, -scores, scores)) / (2 * np.log(2))
    return Costs(np.array([[1, 99.0], [1, 19.0]]), losses[None])


@pytest.mark.parametrize("levels", [3, 10**6])
def test_every_draw_is_the_figures_of_the_trials_as_often_as_they_count(levels):
    rng = np.random.default_rng(0)
    scores, is_target, enroll, test = trial_set(rng, levels=levels)
    draws = draw_speakers(9, 25, seed=1)
    found = replicate(scores, is_target, enroll, test, draws, costs(scores, is_target))
    for draw, figures in zip(draws, found.T, strict=True):
        times = np.where(is_target, draw[enroll], draw[enroll] * draw[test])
        target, nontarget = (np.repeat(scores[kind], times[kind]) for kind in (is_target, ~is_target))
        curve = det_curve(target, nontarget)
        expected = [curve.eer(), curve.min_cllr(), curve.min_dcf(0.01), curve.min_dcf(0.05), cllr(target, nontarget)]
        np.testing.assert_allclose(figures, expected, atol=1e-6)


def test_draws_sum_to_the_speakers_and_follow_the_seed():
    draws = draw_speakers(30, 50, seed=3)
    assert (draws.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(draws, draw_speakers(30, 50, seed=3))
    assert (draws != draw_speakers(30, 50, seed=4)).any()


def test_a_draw_without_a_class_is_left_out():
    scores, is_target = np.array([1.0, 0.0, 0.5]), np.array([True, False, False])
    enroll, test = np.array([0, 0, 1]), np.array([0, 1, 2])
    draws = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0]])
    found = replicate(scores, is_target, enroll, test, draws, costs(scores, is_target))
    np.testing.assert_array_equal(np.isnan(found).any(axis=0), [False, True, True])


def test_every_draw_of_pairs_is_the_figures_of_the_trials_of_the_pairs_drawn():
    rng = np.random.default_rng(3)
    scores, is_target, enroll, test = trial_set(rng)
    found = replicate_pairs(scores, is_target, enroll, test, 70, 1, costs(scores, is_target))
    pairs, pair = np.unique(np.sort(np.column_stack((enroll, test)), axis=1)[~is_target], axis=0, return_inverse=True)
    drawn = np.random.default_rng([1, 9]).integers(256, size=(64, -(-len(pairs) // 8)), dtype=np.uint8)
    weights = np.unpackbits(drawn, axis=1, count=len(pairs))
    for times, figures in zip(weights[:20], found.T, strict=False):
        target, nontarget = scores[is_target], scores[~is_target][times[pair.ravel()] > 0]
        curve = det_curve(target, nontarget)
        expected = [curve.eer(), curve.min_cllr(), curve.min_dcf(0.01), curve.min_dcf(0.05), cllr(target, nontarget)]
        np.testing.assert_allclose(figures, expected, atol=1e-6)


def test_draws_of_pairs_are_the_same_whatever_the_scores():
    rng = np.random.default_rng(4)
    scores, is_target, enroll, test = trial_set(rng)
    same = replicate_pairs(scores, is_target, enroll, test, 30, 1, costs(scores, is_target))
    shifted = replicate_pairs(2 * scores + 5, is_target, enroll, test, 30, 1, costs(scores, is_target))
    np.testing.assert_allclose(same[:4], shifted[:4], atol=1e-9)
    other = replicate_pairs(scores, is_target, enroll, test, 30, 2, costs(scores, is_target))
    assert (same[0] != other[0]).any()
