"""The bootstrap over speakers: every draw against figures of the trials written out as often as they count."""

import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.evaluation.bootstrap import Costs, draw_speakers, interval, paired_differences, replicate
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
    assert interval(found[0]) == (0, 0)
    assert np.isnan(interval(np.full(4, np.nan))).all()


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    # speakers of differing difficulty: intervals over trials alone would be far too narrow
    truth = 0.2266  # EER of N(1.5, 1) against N(0, 1)
    held = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 1])
        own = 0.4 * rng.normal(size=60)
        speaker = np.repeat(np.arange(60), 8)
        target = 1.5 + own[speaker] + np.sqrt(1 - 0.16) * rng.normal(size=480)
        e, t = rng.integers(60, size=(2, 4000))
        e, t = e[e != t], t[e != t]
        scores = np.concatenate([target, rng.normal(size=len(e))])
        is_target = np.arange(len(scores)) < 480
        enroll, test = np.concatenate([speaker, e]), np.concatenate([speaker, t])
        draws = draw_speakers(60, 300, seed)
        low, high = interval(replicate(scores, is_target, enroll, test, draws, costs(scores, is_target))[0])
        held += low <= truth <= high
    assert 0.85 <= held / 60 <= 1.0


def test_a_paired_difference_is_shown_where_single_intervals_overlap():
    rng = np.random.default_rng(5)
    scores, is_target, enroll, test = trial_set(rng, n_speakers=30, n_trials=6000)
    better = scores + 0.15 * is_target
    draws = draw_speakers(30, 500, seed=1)
    a, b = (replicate(s, is_target, enroll, test, draws, costs(s, is_target))[:1] for s in (scores, better))
    values = [np.array([det_curve(s[is_target], s[~is_target]).eer()]) for s in (scores, better)]
    difference = paired_differences(*values, a, b)[0]
    assert interval(a[0])[0] < interval(b[0])[1]  # they overlap
    assert difference.shown and difference.high < 0 and difference.p < 0.01
    assert difference.value == (values[1] - values[0])[0]
    assert (difference.low, difference.high) == pytest.approx(interval(b[0] - a[0]))


def test_a_system_does_not_differ_from_itself():
    draws = np.random.default_rng(6).normal(size=(2, 100))
    for difference in paired_differences(np.ones(2), np.ones(2), draws, draws):
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert not difference.shown


def test_draws_without_a_class_are_left_out_of_a_difference_and_other_draws_are_refused():
    draws = np.arange(40.0)[None]
    spoilt = np.where(draws % 4 == 0, np.nan, draws + 1)
    found = paired_differences(np.zeros(1), np.ones(1), draws, spoilt)[0]
    assert (found.low, found.high, found.p) == (1, 1, 2 / 31)
    nothing = paired_differences(np.zeros(1), np.ones(1), draws, np.full((1, 40), np.nan))[0]
    assert not nothing.shown and nothing.p == 1
    with pytest.raises(SdpnError, match="40 draws of one system, 20 of the other"):
        paired_differences(np.zeros(1), np.zeros(1), draws, draws[:, :20])
