import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import det_curve, eer, min_dcf


@pytest.fixture(scope="module")
def golden():
    rng = np.random.default_rng(20260801)
    scores = np.concatenate([rng.normal(0.55, 0.13, 18802), rng.normal(0.08, 0.10, 18806)])
    order = rng.permutation(len(scores))
    labels = np.arange(len(scores)) < 18802
    return scores[order], labels[order]


def by_definition(target, nontarget):
    """(miss, false alarm) rates at every threshold, counted one by one."""
    points = []
    for threshold in [*sorted(set(target) | set(nontarget)), np.inf]:
        miss = sum(score < threshold for score in target) / len(target)
        false_alarm = sum(score >= threshold for score in nontarget) / len(nontarget)
        points.append((miss, false_alarm))
    return points


def eer_by_definition(target, nontarget):
    """Where the polygon through the operating points crosses miss = false alarm, found by bisection along it."""
    points = np.array(by_definition(target, nontarget))
    low, high = 0.0, float(len(points) - 1)

    def at(position):
        return [np.interp(position, np.arange(len(points)), points[:, side]) for side in (0, 1)]

    for _ in range(200):
        middle = (low + high) / 2
        miss, false_alarm = at(middle)
        low, high = (middle, high) if miss < false_alarm else (low, middle)
    return at(high)[0]


def test_eer_of_the_golden_set_is_wespeakers_and_not_above_kaldis(golden):
    # 1.978092 % is what WeSpeaker and voxceleb_trainer give on this set, 1.978513 % what Kaldi's compute-eer gives
    scores, labels = golden
    ours = 100 * eer(scores[labels], scores[~labels])
    assert ours == pytest.approx(1.978092, abs=5e-7)
    assert 1.978092 - 5e-7 <= ours <= 1.978513


@pytest.mark.parametrize(("p_target", "expected"), [(0.01, 0.171200), (0.05, 0.111043), (0.001, 0.315008)])
def test_min_dcf_of_the_golden_set(golden, p_target, expected):
    scores, labels = golden
    assert min_dcf(scores[labels], scores[~labels], p_target) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [4, 20, 10**6])  # many ties, some, none
def test_curve_and_eer_agree_with_counting_one_by_one(seed, levels):
    rng = np.random.default_rng(seed)
    target = np.round(levels * rng.normal(0.7, 0.3, rng.integers(1, 40))) / levels
    nontarget = np.round(levels * rng.normal(0.3, 0.3, rng.integers(1, 60))) / levels
    curve = det_curve(target, nontarget)
    np.testing.assert_allclose(np.column_stack([curve.p_miss, curve.p_fa]), by_definition(target, nontarget))
    assert curve.eer() == pytest.approx(eer_by_definition(target, nontarget), abs=1e-12)
    costs = [10 * 0.1 * miss + 2 * 0.9 * false_alarm for miss, false_alarm in by_definition(target, nontarget)]
    assert curve.min_dcf(0.1, c_miss=10, c_fa=2) == pytest.approx(min(costs) / min(10 * 0.1, 2 * 0.9))


def test_tied_scores_are_one_operating_point():
    # one threshold accepts everything, the next nothing: the line between them crosses at one half
    assert eer(np.ones(3), np.ones(5)) == pytest.approx(0.5)
    assert min_dcf(np.ones(3), np.ones(5), 0.01) == pytest.approx(1.0)
    # 1 of 4 targets below, 1 of 4 non-targets above, and at 0 one of each: 1/4 missed and 1/2 accepted, or the reverse
    assert eer(np.array([-1.0, 0, 1, 1]), np.array([-1.0, -1, 0, 1])) == pytest.approx(0.375)


def test_the_order_of_tied_trials_does_not_matter():
    rng = np.random.default_rng(0)
    target, nontarget = rng.integers(3, 8, 50) / 8, rng.integers(0, 6, 70) / 8
    shuffled = eer(rng.permutation(target), rng.permutation(nontarget))
    assert shuffled == eer(np.sort(target), np.sort(nontarget)) == eer(np.sort(target)[::-1], nontarget)


def test_perfect_and_reversed_scores():
    low, high = np.arange(5.0), np.arange(10.0, 14.0)
    assert eer(high, low) == 0 and min_dcf(high, low, 0.01) == 0
    assert eer(low, high) == 1 and min_dcf(low, high, 0.01) == 1


def test_a_monotone_change_of_the_scores_changes_nothing():
    rng = np.random.default_rng(1)
    target, nontarget = rng.normal(1, 1, 300), rng.normal(0, 1, 400)
    assert eer(np.exp(3 * target), np.exp(3 * nontarget)) == eer(target, nontarget)


@pytest.mark.parametrize(
    ("target", "nontarget", "sentence"),
    [
        ([], [0.1], "no scores of target trials"),
        ([0.1], [], "no scores of non-target trials"),
        ([0.1, np.nan], [0.1], "1 of 2 scores of target trials are NaN"),
    ],
)
def test_an_empty_class_and_nan_are_refused(target, nontarget, sentence):
    with pytest.raises(SdpnError, match=sentence):
        det_curve(np.array(target), np.array(nontarget))


@pytest.mark.parametrize("parameters", [(0.0, 1, 1), (1.0, 1, 1), (0.5, 0, 1), (0.5, 1, -1), (float("nan"), 1, 1)])
def test_impossible_costs_are_refused(parameters):
    with pytest.raises(SdpnError, match="detection cost"):
        min_dcf(np.ones(2), np.zeros(2), *parameters)
