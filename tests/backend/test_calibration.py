import numpy as np
import pytest

from sdpn.backend.calibration import Calibration
from sdpn.errors import SdpnError


def gaussian_trials(rng, n_targets, n_nontargets, scale=1.0, shift=0.0):
    """Scores whose true log-likelihood ratio is 2 s where scale = 1 and shift = 0: N(1, 1) against N(-1, 1)."""
    scores = np.concatenate([rng.normal(1, 1, n_targets), rng.normal(-1, 1, n_nontargets)])
    return scale * scores + shift, np.arange(len(scores)) < n_targets


@pytest.mark.parametrize(("n_targets", "n_nontargets"), [(20_000, 20_000), (4_000, 40_000)])
@pytest.mark.parametrize("prior", [0.1, 0.5])
def test_the_true_log_likelihood_ratio_is_found_whatever_the_share_of_targets(n_targets, n_nontargets, prior):
    scores, is_target = gaussian_trials(np.random.default_rng(0), n_targets, n_nontargets, scale=0.25, shift=3)
    found = Calibration(prior).fit(scores[:, None], is_target)
    assert found.weights_[0] == pytest.approx(8, rel=0.05)
    assert found.transform(np.array([[3.0], [3.25]])) == pytest.approx([0, 2], abs=0.15)


def test_fusion_gives_each_score_the_weight_of_what_it_knows():
    rng = np.random.default_rng(1)
    a, is_target = gaussian_trials(rng, 20_000, 20_000)
    b = np.concatenate([rng.normal(0.5, 1, 20_000), rng.normal(-0.5, 1, 20_000)])  # its own ratio is b
    noise = rng.normal(size=40_000)
    found = Calibration(0.5).fit(np.column_stack([a, b, noise]), is_target)
    assert found.weights_ == pytest.approx([2, 1, 0], abs=0.07)


def test_classes_that_do_not_overlap_give_finite_ratios():
    found = Calibration().fit(np.arange(20.0)[:, None], np.arange(20) >= 10)
    assert np.isfinite(found.weights_).all() and found.weights_[0] > 0


def test_a_few_trials_that_do_not_overlap_do_not_let_impostors_in():
    accepted, cost = [], []
    for seed in range(60):
        scores, is_target = gaussian_trials(np.random.default_rng(seed), 20, 20)
        scores += 2 * is_target  # N(3, 1) against N(-1, 1)
        if scores[is_target].min() < scores[~is_target].max():
            continue
        found = Calibration(0.1).fit(scores[:, None], is_target)
        fresh, target = gaussian_trials(np.random.default_rng(1000 + seed), 4000, 4000)
        ratios = found.transform((fresh + 2 * target)[:, None])
        accepted.append(np.mean(ratios[~target] > 0))
        cost.append((np.logaddexp(0, -ratios[target]).mean() + np.logaddexp(0, ratios[~target]).mean()) / 2 / np.log(2))
    assert len(accepted) > 5
    assert np.mean(accepted) == pytest.approx(0.023, abs=0.02)  # Bayes' threshold accepts 2.3 % of the impostors
    assert np.mean(cost) < 0.15  # of 0.09 by the true ratios


def test_many_trials_give_the_logistic_regression_alone():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    scores = np.concatenate([1.5 * rng.normal(size=5000) + 3, rng.gamma(2, 1, size=50_000)])
    is_target = np.arange(len(scores)) < 5000
    found = Calibration(0.5).fit(scores[:, None], is_target)
    plain = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10).fit(scores[:, None], is_target)
    assert found.weights_[0] == pytest.approx(plain.coef_[0, 0], rel=2e-3)
    assert found.offset_ == pytest.approx(plain.intercept_[0], rel=2e-3)


def test_one_trial_of_each_class_is_enough():
    found = Calibration().fit(np.array([[1.0], [0.0]]), np.array([True, False]))
    assert found.transform(np.array([[0.5]]))[0] == pytest.approx(0, abs=2.5) and 0 < found.weights_[0] < 100


def test_a_feature_that_does_not_vary_does_no_harm():
    scores, is_target = gaussian_trials(np.random.default_rng(2), 500, 500)
    found = Calibration().fit(np.column_stack([scores, np.full(1000, 7.0)]), is_target)
    alone = Calibration().fit(scores[:, None], is_target)
    features = np.column_stack([scores[:5], np.full(5, 7.0)])
    np.testing.assert_allclose(found.transform(features), alone.transform(scores[:5, None]), atol=1e-4)


def test_trials_of_one_class_and_nan_are_refused():
    with pytest.raises(SdpnError, match="0 of 4 calibration trials are targets: it needs both classes"):
        Calibration().fit(np.ones((4, 1)), np.zeros(4, dtype=bool))
    with pytest.raises(SdpnError, match="NaN or infinite"):
        Calibration().fit(np.array([[1.0], [np.nan]]), np.array([True, False]))
