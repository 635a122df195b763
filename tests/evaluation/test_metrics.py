import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import act_dcf, cllr, det_curve, det_curve_of, eer, min_cllr, min_dcf


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
    everywhere = by_definition(target, nontarget)
    points = list(zip(curve.p_miss.tolist(), curve.p_fa.tolist(), strict=True))
    assert points == [point for point in everywhere if point in points]  # no point that is not one, in their order
    for threshold, (miss, false_alarm) in zip(curve.thresholds, points, strict=True):
        assert (np.mean(target < threshold), np.mean(nontarget >= threshold)) == (miss, false_alarm)
    assert (curve.p_miss[0], curve.p_fa[0], curve.p_miss[-1], curve.p_fa[-1]) == (0, 1, 1, 0)
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


@pytest.mark.parametrize(("n_targets", "n_nontargets"), [(300, 2000), (2000, 300)])
@pytest.mark.parametrize("levels", [10, 10**6])
def test_chunks_give_the_curve_of_the_whole(n_targets, n_nontargets, levels):
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.normal(1, 1, n_targets), rng.normal(0, 1, n_nontargets)])
    scores = np.round(scores * levels) / levels
    labels = np.arange(len(scores)) < n_targets
    order = rng.permutation(len(scores))
    cuts = np.split(order, [5, 5, 800, 1500])
    whole, parts = det_curve(scores[labels], scores[~labels]), det_curve_of((scores[c], labels[c]) for c in cuts)
    for name in ("thresholds", "n_missed", "n_accepted"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert len(whole.thresholds) <= 2 * min(n_targets, n_nontargets) + 2


def test_chunks_without_a_class_are_refused():
    with pytest.raises(SdpnError, match="no scores of non-target trials"):
        det_curve_of([(np.ones(3), np.ones(3, dtype=bool))])
    with pytest.raises(SdpnError, match="no scores of target trials"):
        det_curve_of([])


def test_cllr_is_its_definition_and_one_for_scores_that_say_nothing():
    rng = np.random.default_rng(4)
    target, nontarget = rng.normal(2, 2, 50), rng.normal(-2, 2, 80)
    expected = np.mean([np.log2(1 + np.exp(-s)) for s in target]) + np.mean([np.log2(1 + np.exp(s)) for s in nontarget])
    assert cllr(target, nontarget) == pytest.approx(expected / 2)
    assert cllr(np.zeros(5), np.zeros(9)) == pytest.approx(1)
    assert cllr(np.full(3, 1e4), np.full(3, -1e4)) == 0 and np.isfinite(cllr(np.full(3, -1e4), np.full(3, 1e4)))


@pytest.mark.parametrize("levels", [5, 10**6])
def test_min_cllr_is_cllr_after_isotonic_regression(levels):
    from sklearn.isotonic import IsotonicRegression  # the pool-adjacent-violators algorithm, independently

    rng = np.random.default_rng(5)
    target = np.round(rng.normal(1, 1, 120) * levels) / levels
    nontarget = np.round(rng.normal(0, 1, 300) * levels) / levels
    scores, labels = np.concatenate([target, nontarget]), np.arange(420) < 120
    posterior = IsotonicRegression().fit_transform(scores, labels)
    with np.errstate(divide="ignore"):
        ratios = np.log(posterior) - np.log(1 - posterior) - np.log(120 / 300)
    expected = np.mean(np.logaddexp(0, -ratios[labels])) + np.mean(np.logaddexp(0, ratios[~labels]))
    assert min_cllr(target, nontarget) == pytest.approx(expected / (2 * np.log(2)), abs=1e-9)
    assert min_cllr(target, nontarget) == pytest.approx(min_cllr(np.exp(target), np.exp(nontarget)))


def test_min_cllr_of_classes_apart_is_nothing():
    assert min_cllr(np.arange(10.0, 14), np.arange(5.0)) == 0
    assert min_cllr(np.arange(5.0), np.arange(10.0, 14)) == pytest.approx(1)


def test_actual_cost_is_taken_at_the_threshold_of_bayes():
    target, nontarget = np.array([5.0, 1.0, 3.0]), np.array([-1.0, 4.0, 0.0, 2.0])
    # log(0.9 * 2 / (0.1 * 10)) = 0.588: no target below it, two of four non-targets at least as high
    assert act_dcf(target, nontarget, 0.1, c_miss=10, c_fa=2) == pytest.approx(0.9 * 2 * 0.5 / 1.0)
    ratios = np.log(0.99 / 0.01) * np.ones(1)
    assert act_dcf(ratios, ratios - 1e-9, 0.01) == 0  # at the threshold a trial is accepted
    assert act_dcf(target, nontarget, 0.01) >= min_dcf(target, nontarget, 0.01)
