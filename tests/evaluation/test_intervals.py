"""Intervals and paired comparisons: how often they hold the truth, and what they say where nothing can be said."""

import numpy as np
import pytest

from sdpn.backend.config import ALWAYS
from sdpn.errors import SdpnError
from sdpn.evaluation.figures import Wanted, evaluate
from sdpn.evaluation.influence import SKETCHES, Influence
from sdpn.evaluation.intervals import intervals_of, paired_differences
from sdpn.trials.arrays import TrialList


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


def influence(scores, is_target, enroll, test):
    trials = TrialList("made", [], enroll, test, is_target)
    return evaluate(trials, scores, (enroll, test), Wanted([*ALWAYS])).influence


def test_intervals_of_a_system_and_of_a_difference_hold_the_truth_as_often_as_they_say():
    from scipy.stats import norm

    truth = 100 * norm.cdf(-1.3 / np.sqrt(0.73 + 0.21))
    held, held_paired, runs = 0, 0, 200
    for seed in range(runs):
        scores, *trials = simulated(40, seed)
        a, b = (influence(one, *trials) for one in scores)
        low, high = intervals_of(a)["eer_percent"]
        held += low <= truth <= high
        held_paired += not paired_differences(a, b)["eer_percent"].shown
    assert 0.91 <= held / runs <= 0.985
    assert 0.91 <= held_paired / runs <= 0.985


def test_a_paired_difference_is_shown_where_single_intervals_overlap():
    scores, *trials = simulated(60, 1, separations=(2.6, 2.9))
    a, b = (influence(one, *trials) for one in scores)
    difference = paired_differences(a, b)["eer_percent"]
    assert intervals_of(a)["eer_percent"][0] < intervals_of(b)["eer_percent"][1]  # they overlap
    assert difference.shown and difference.high < 0 and difference.p < 0.05
    assert difference.value == b.values[0] - a.values[0]


def made(values=(5.0,), n_speakers=30, names=("eer_percent",), seed=6):
    rng = np.random.default_rng(seed)
    speakers, pairs = (0.1 * rng.normal(size=(len(values), count)) for count in (n_speakers, SKETCHES))
    return Influence([*names], np.array(values), speakers, pairs)


def test_a_system_does_not_differ_from_itself():
    (difference,) = paired_differences(made(), made()).values()
    assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
    assert not difference.shown


def test_other_speakers_are_refused():
    with pytest.raises(SdpnError, match="30 speakers of one system, 20 of the other"):
        paired_differences(made(), made(n_speakers=20))


def test_nothing_is_claimed_of_a_handful_of_speakers():
    better = paired_differences(made((5.0,), 9), made((1.0,), 9, seed=7))["eer_percent"]
    assert not better.shown and np.isnan(better.low) and better.p == 1
    assert intervals_of(made(n_speakers=9)) == {}


def test_intervals_stay_within_what_is_possible_and_none_is_given_without_an_error():
    found = made((0.05, 0.0, 0.02, 0.9), 12, ("eer_percent", "min_cllr", "cllr", "min_dcf_0.01"))
    intervals = intervals_of(found)
    assert [*intervals] == ["eer_percent", "cllr", "min_dcf_0.01"]
    for name, (low, high) in intervals.items():
        assert 0 < low < found.values[found.names.index(name)] < high
    assert intervals["min_dcf_0.01"][1] == 1


def test_with_few_speakers_the_interval_is_students():
    from scipy.stats import t

    found = made((0.0,), 12)
    apart = paired_differences(found, Influence(found.names, found.values, 2 * found.speakers, found.pairs))
    deviation = np.sqrt(12 / 11 * (found.speakers**2).sum())
    assert apart["eer_percent"].high == pytest.approx(t.ppf(0.975, 11) * deviation)
