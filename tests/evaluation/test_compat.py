"""Other tools' error rates: the figures that they themselves give on one generated set, and their rules by loops."""

import numpy as np
import pytest

from sdpn.evaluation.compat import EER, kaldi_eer, one_by_one_min_dcf
from sdpn.evaluation.metrics import eer, min_dcf


@pytest.fixture(scope="module")
def golden():
    rng = np.random.default_rng(20260801)
    scores = np.concatenate([rng.normal(0.55, 0.13, 18802), rng.normal(0.08, 0.10, 18806)])
    order = rng.permutation(len(scores))
    return scores[order], (np.arange(len(scores)) < 18802)[order]


@pytest.mark.parametrize(
    ("tool", "percent"), [("wespeaker", 1.978092), ("voxceleb_trainer", 1.978092), ("kaldi", 1.978513)]
)
def test_the_eer_of_the_golden_set_is_the_tools_own(golden, tool, percent):
    assert 100 * EER[tool](*golden) == pytest.approx(percent, abs=5e-7)


@pytest.mark.parametrize(("p_target", "cost"), [(0.01, 0.171200), (0.05, 0.111043), (0.001, 0.315008)])
def test_the_min_dcf_of_the_golden_set_is_the_tools_own_and_ours(golden, p_target, cost):
    scores, labels = golden
    assert one_by_one_min_dcf(scores, labels, p_target) == pytest.approx(cost, abs=5e-7)
    assert min_dcf(scores[labels], scores[~labels], p_target) == pytest.approx(cost, abs=5e-7)


@pytest.mark.parametrize("seed", range(5))
def test_kaldis_eer_is_that_of_its_loop(seed):
    rng = np.random.default_rng(seed)
    target, nontarget = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 70))

    def compute_eer():  # ivectorbin/compute-eer.cc
        ranked, others = sorted(target), sorted(nontarget)
        position = 0
        while position + 1 < len(ranked):
            place = max(len(others) - 1 - int(len(others) * position / len(ranked)), 0)
            if others[place] < ranked[position]:
                break
            position += 1
        return position / len(ranked)

    scores = np.concatenate([target, nontarget])
    assert kaldi_eer(scores, np.arange(len(scores)) < len(target)) == compute_eer()


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("n_nontargets", [1, 4])
@pytest.mark.parametrize(("gap", "rate"), [(10, 0.0), (-10, 1.0)])
def test_wespeakers_eer_of_scores_that_lie_apart(n_targets, n_nontargets, gap, rate):
    scores = np.append(gap + np.arange(n_targets), np.arange(n_nontargets))
    assert EER["wespeaker"](scores, np.arange(len(scores)) < n_targets) == rate


def test_with_ties_wespeakers_depends_on_the_order_of_the_trials_and_ours_does_not():
    rng = np.random.default_rng(1)
    labels = np.arange(90) < 30
    scores = np.round(np.where(labels, 1.0, 0.0) + rng.normal(size=90))
    orders = [np.arange(90), np.arange(90)[::-1]]
    assert len({EER["wespeaker"](scores[order], labels[order]) for order in orders}) == 2
    assert len({eer(scores[order][labels[order]], scores[order][~labels[order]]) for order in orders}) == 1
