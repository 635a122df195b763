"""Intervals and paired comparisons: how often they hold the truth, and what they say where nothing can be said."""

import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.evaluation.bootstrap import Costs, draw_speakers, replicate, replicate_pairs
from sdpn.evaluation.intervals import Replicates, paired_differences
from sdpn.evaluation.metrics import eer

NONE = Costs(np.empty((0, 2)), np.empty((0, 1)))


def simulated(n_speakers, seed, separations=(2.6, 2.6)):
    """Trials of two systems: speakers and recordings that are hard for both, for one, and noise in every trial.

    The variance of targets is that of non-targets, so the true EER is that of two normal distributions.
    """
    rng = np.random.default_rng([n_speakers, seed])
    per_speaker = 6
    first, second = np.triu_indices(per_speaker, 1)
    offsets = per_speaker * np.arange(n_speakers)[:, None]
    enroll, test = ((offsets + side).ravel() for side in (first, second))
    others = rng.integers(n_speakers * per_speaker, size=(2, min(12000, 60 * n_speakers)))
    others = others[:, others[0] // per_speaker != others[1] // per_speaker]
    enroll, test = np.append(enroll, others[0]), np.append(test, others[1])
    is_target = np.arange(len(enroll)) < n_speakers * len(first)

    def effects(of_speaker, of_utterance, of_trial):
        speaker, utterance = rng.normal(size=n_speakers), rng.normal(size=n_speakers * per_speaker)
        sides = [of_speaker * speaker[side // per_speaker] for side in (enroll, test)]
        both = np.where(is_target, np.sqrt(2) * sides[0], sides[0] + sides[1])
        return both + of_utterance * (utterance[enroll] + utterance[test]) + of_trial * rng.normal(size=len(enroll))

    common = effects(0.35, 0.25, 0.6)
    scores = [separation * is_target + common + effects(0.05, 0.15, 0.4) for separation in separations]
    return scores, is_target, enroll // per_speaker, test // per_speaker


def replicates(scores, is_target, enroll, test, seed, draws=400):
    n_speakers = int(enroll.max()) + 1
    of_speakers = replicate(scores, is_target, enroll, test, draw_speakers(n_speakers, draws, seed), NONE)
    of_pairs = replicate_pairs(scores, is_target, enroll, test, 200, seed, NONE)
    return Replicates(["eer", "min_cllr"], of_speakers, of_pairs, n_speakers)


def test_intervals_of_a_system_and_of_a_difference_hold_the_truth_as_often_as_they_say():
    from scipy.stats import norm

    truth = norm.cdf(-1.3 / np.sqrt(0.73 + 0.21))
    held, held_paired, runs = 0, 0, 60
    for seed in range(runs):
        scores, *trials = simulated(40, seed)
        a, b = (replicates(one, *trials, seed) for one in scores)
        low, high = a.interval(0)
        held += low <= truth <= high
        values = [np.array([eer(one[trials[0]], one[~trials[0]]), 0.0]) for one in scores]
        held_paired += not paired_differences(*values, a, b)[0].shown
    assert 0.88 <= held / runs <= 0.99
    assert 0.88 <= held_paired / runs <= 0.99


def test_a_paired_difference_is_shown_where_single_intervals_overlap():
    scores, *trials = simulated(60, 1, separations=(2.6, 2.9))
    a, b = (replicates(one, *trials, 1) for one in scores)
    values = [np.array([eer(one[trials[0]], one[~trials[0]]), 0.0]) for one in scores]
    difference = paired_differences(*values, a, b)[0]
    assert a.interval(0)[0] < b.interval(0)[1]  # they overlap
    assert difference.shown and difference.high < 0 and difference.p < 0.05
    assert difference.value == (values[1] - values[0])[0]


def made(draws, n_speakers=30, pairs=0):
    draws = np.atleast_2d(np.asarray(draws, dtype=float))
    return Replicates([f"f{i}" for i in range(len(draws))], draws, np.full((len(draws), 8), pairs), n_speakers)


def test_a_system_does_not_differ_from_itself():
    draws = np.random.default_rng(6).normal(size=(2, 100))
    for difference in paired_differences(np.ones(2), np.ones(2), made(draws), made(draws)):
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert not difference.shown


def test_draws_without_a_class_are_left_out_of_a_difference_and_other_draws_are_refused():
    draws = np.arange(40.0)[None]
    spoilt = np.where(draws % 4 == 0, np.nan, draws + 1)
    found = paired_differences(np.zeros(1), np.ones(1), made(draws), made(spoilt))[0]
    assert (found.low, found.high, found.p) == (1, 1, 2 / 31)
    nothing = paired_differences(np.zeros(1), np.ones(1), made(draws), made(np.full((1, 40), np.nan)))[0]
    assert not nothing.shown and nothing.p == 1
    with pytest.raises(SdpnError, match="40 draws of one system, 20 of the other"):
        paired_differences(np.zeros(1), np.zeros(1), made(draws), made(draws[:, :20]))


def test_no_difference_is_claimed_of_a_handful_of_speakers():
    better = paired_differences(np.zeros(1), -np.ones(1), made([1.0, 1.1, 0.9], 9), made([0.0, 0.1, 0.2], 9))[0]
    assert not better.shown and np.isnan(better.low) and better.p == 1


def test_what_is_particular_to_pairs_is_counted_once():
    rng = np.random.default_rng(2)
    draws, pairs = 10 + rng.normal(size=(1, 40000)), rng.normal(size=(1, 40000)) / np.sqrt(3)
    low, high = Replicates(["f"], draws, pairs, 10**6).interval(0)  # variance 1 = 3 x 1/3: a third of it is due
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(3), rel=0.03)


def test_with_few_speakers_the_interval_is_students():
    from scipy.stats import t

    draws = 10 + np.random.default_rng(3).normal(size=(1, 40000))
    low, high = Replicates(["f"], draws, np.zeros((1, 8)), 12).interval(0)
    assert high - low == pytest.approx(2 * t.ppf(0.975, 11) * np.sqrt(12 / 11), rel=0.03)


def test_without_a_usable_draw_there_is_no_interval():
    assert np.isnan(made(np.full((1, 4), np.nan)).interval(0)).all()
