"""How trials move the figures: against the figures of trials that count a little more, and sums written out."""

import numpy as np
import pytest

from sdpn.backend.config import ALWAYS
from sdpn.evaluation.figures import Wanted, evaluate
from sdpn.evaluation.influence import density, influence_of
from sdpn.evaluation.metrics import det_curve
from sdpn.trials.arrays import TrialList


def trial_set(rng, n_speakers=9, n_trials=4000, separation=1.5):
    """Trials with speakers of their own difficulty."""
    enroll, test = rng.integers(n_speakers, size=(2, n_trials))
    test = np.where(rng.random(n_trials) < 0.3, enroll, test)
    is_target = enroll == test
    scores = separation * is_target + 0.5 * rng.normal(size=n_speakers)[enroll] + rng.normal(size=n_trials)
    return scores, is_target, enroll, test


def test_a_figure_moves_as_the_influence_of_a_speaker_says():
    rng = np.random.default_rng(0)
    scores, is_target, enroll, test = trial_set(rng, n_trials=40_000)
    trials = TrialList("made", [], enroll, test, is_target)
    found = evaluate(trials, scores, (enroll, test), Wanted([*ALWAYS]))
    speaker, times = 3, 20  # that speaker's trials count one part in so many more
    own = (enroll == speaker).astype(int) + (test == speaker) * ~is_target
    repeated = [np.repeat(scores[kind], times + own[kind]) for kind in (is_target, ~is_target)]
    curve = det_curve(*repeated)
    moved = np.array([100 * curve.eer(), curve.min_cllr(), curve.min_dcf(0.01), curve.min_dcf(0.05)])
    expected = found.influence.speakers[:4, speaker] / times
    change = moved - found.influence.values[:4]
    np.testing.assert_allclose(change[:2], expected[:2], rtol=0.15)
    np.testing.assert_allclose(change[2:], expected[2:], rtol=0.3, atol=3e-4)


def test_variances_are_those_of_sums_that_vary_together_where_they_share_a_speaker():
    rng = np.random.default_rng(1)
    scores, is_target, enroll, test = trial_set(rng)
    losses = rng.normal(size=len(scores))
    found = influence_of(["mean"], np.zeros(1), iter([losses]), is_target, enroll, test)
    part = np.where(is_target, losses - losses[is_target].mean(), losses - losses[~is_target].mean())
    part /= np.where(is_target, is_target.sum(), (~is_target).sum())
    sides = np.stack((enroll, test), axis=1)
    shared = (sides[:, None, :, None] == sides[None, :, None, :]).any(axis=(2, 3))
    # Trials of one pair and of its two speakers are counted once in this sum over all pairs of trials
    assert found.variances()[0] == pytest.approx(9 / 8 * part @ shared @ part, rel=0.05)


def test_signs_are_the_same_whatever_the_scores():
    rng = np.random.default_rng(4)
    scores, is_target, enroll, test = trial_set(rng)
    twice = [influence_of(["x"], np.zeros(1), iter([c * scores]), is_target, enroll, test) for c in (1, 2)]
    np.testing.assert_allclose(2 * twice[0].pairs, twice[1].pairs, rtol=1e-4, atol=1e-7)


def test_a_density_is_that_of_the_distribution():
    from scipy.stats import norm

    assert density(np.random.default_rng(5).normal(size=20_000), 0.7) == pytest.approx(norm.pdf(0.7), rel=0.05)
    assert density(np.zeros(5), 0.0) == 0.0
