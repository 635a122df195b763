import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.scoring import calibration
from sdpn.scoring.calibration import pseudo_trials


def test_trials_pair_vectors_of_clusters_held_out():
    classes = np.random.default_rng(0).integers(-1, 40, size=600)
    drawn = pseudo_trials(classes, seed=1)
    trials, rows = drawn.trials, drawn.rows
    assert len(np.unique(classes[drawn.held_out])) == 8 and (classes[drawn.held_out] >= 0).all()
    assert sorted(rows) == np.flatnonzero(drawn.held_out).tolist()
    enroll, test = rows[trials.enroll], rows[trials.test]
    np.testing.assert_array_equal(trials.is_target, classes[enroll] == classes[test])
    assert (enroll != test).all() and trials.is_target.any() and not trials.is_target.all()
    pairs = {tuple(sorted(pair)) for pair in zip(enroll.tolist(), test.tolist(), strict=True)}
    assert len(pairs) == len(enroll)


def test_the_number_of_trials_is_bounded_and_the_seed_decides(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_TRIALS", 30)
    classes = np.arange(500) % 20
    drawn = [pseudo_trials(classes, seed).trials for seed in (1, 1, 2)]
    assert drawn[0].n_targets == drawn[0].n_nontargets == 30
    np.testing.assert_array_equal(drawn[0].enroll, drawn[1].enroll)
    assert (drawn[0].enroll != drawn[2].enroll).any()


def test_few_clusters_are_refused():
    with pytest.raises(SdpnError, match="4 clusters are too few to hold one in 5 out"):
        pseudo_trials(np.arange(40) % 4, seed=1)
