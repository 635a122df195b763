import numpy as np
import pytest

from sdpn.backend import scorer
from sdpn.backend.chain import Chain
from sdpn.backend.cosine import Cosine
from sdpn.backend.score_norm import Side, cohort_statistics, normalize, normalize_as2
from sdpn.errors import SdpnError


@pytest.fixture
def trials():
    """A cosine, vectors, a cohort, and the places of 30 trials: all small enough for loops."""
    rng = np.random.default_rng(0)
    vectors, cohort = rng.normal(size=(12, 6)), rng.normal(size=(25, 6))
    scoring = Cosine().fit(vectors)
    e, t = rng.integers(12, size=(2, 30))
    return scoring, scoring.transform(vectors), scoring.transform(cohort), e, t


def by_loop(vectors, cohort, e, t, method, top_n):
    """Score normalization from its formulas, one trial at a time."""

    def moments(vector, n):
        scores = sorted((float(vector @ other) for other in cohort), reverse=True)[:n]
        mean = sum(scores) / n
        return mean, (sum((score - mean) ** 2 for score in scores) / n) ** 0.5

    normalized = []
    n = top_n if method == "as" else len(cohort)
    for i, j in zip(e, t, strict=True):
        score = float(vectors[i] @ vectors[j])
        (mu_e, sd_e), (mu_t, sd_t) = moments(vectors[i], n), moments(vectors[j], n)
        z, tt = (score - mu_e) / sd_e, (score - mu_t) / sd_t
        normalized.append({"none": score, "z": z, "t": tt, "s": 0.5 * (z + tt), "as": 0.5 * (z + tt)}[method])
    return normalized


@pytest.mark.parametrize("method", ["none", "z", "t", "s", "as"])
@pytest.mark.parametrize("top_n", [2, 7, 25])
def test_normalized_scores_are_those_of_the_formulas(trials, method, top_n):
    scoring, vectors, cohort, e, t = trials
    raw = scoring.score_pairs(vectors, vectors, e, t)
    statistics = cohort_statistics(scoring, vectors, cohort, top_n)
    ours = normalize(raw, method, statistics, statistics, e, t)
    np.testing.assert_allclose(ours, by_loop(vectors, cohort, e, t, method, top_n), atol=1e-10)


@pytest.mark.parametrize("block", [1 << 25, 8 * 25 * 3])
def test_as2_takes_each_side_s_moments_over_what_is_nearest_to_the_other(trials, monkeypatch, block):
    monkeypatch.setattr(scorer, "BLOCK_BYTES", block)
    scoring, vectors, cohort, e, t = trials
    raw = scoring.score_pairs(vectors, vectors, e, t)
    statistics = cohort_statistics(scoring, vectors, cohort, 7, nearest=True)
    sides = (Side(vectors), Side(vectors), statistics.nearest, statistics.nearest)
    ours = normalize_as2(raw, scoring, cohort, *sides, e, t)
    expected = []
    for i, j in zip(e, t, strict=True):
        of_i, of_j = cohort @ vectors[i], cohort @ vectors[j]
        near_i, near_j = np.argsort(of_i)[-7:], np.argsort(of_j)[-7:]
        score = vectors[i] @ vectors[j]
        z = (score - of_i[near_j].mean()) / of_i[near_j].std()
        expected.append(0.5 * (z + (score - of_j[near_i].mean()) / of_j[near_i].std()))
    np.testing.assert_allclose(ours, expected, atol=1e-10)
    np.testing.assert_allclose(statistics.top_mean, cohort_statistics(scoring, vectors, cohort, 7).top_mean)


def test_the_size_of_the_blocks_does_not_matter(trials, monkeypatch):
    scoring, vectors, cohort, _, _ = trials
    whole = cohort_statistics(scoring, vectors, cohort, 7)
    monkeypatch.setattr(scorer, "BLOCK_BYTES", 8 * len(cohort) * 5)  # five vectors at a time
    sizes = []
    score_matrix = scoring.score_matrix

    def watched(enroll, test, counts):
        sizes.append(len(enroll))
        return score_matrix(enroll, test, counts)

    monkeypatch.setattr(scoring, "score_matrix", watched)
    in_blocks = cohort_statistics(scoring, vectors, cohort, 7)
    assert sizes == [5, 5, 2]
    for name in ("mean", "deviation", "top_mean", "top_deviation"):
        np.testing.assert_allclose(getattr(in_blocks, name), getattr(whole, name))


def test_counts_of_the_enrollments_reach_the_scorer():
    rng = np.random.default_rng(1)
    train = rng.normal(size=(60, 4)) + 2 * rng.normal(size=(12, 4))[np.arange(60) % 12]
    plda = Chain("plda").fit(train, np.arange(60) % 12).scorer
    counts = np.array([3, 1, 2])
    models, cohort = plda.transform(rng.normal(size=(3, 4)), counts), plda.transform(train)
    statistics = cohort_statistics(plda, models, cohort, 5, counts)
    np.testing.assert_allclose(statistics.mean, plda.score_matrix(models, cohort, counts).mean(axis=1))


@pytest.mark.parametrize("top_n", [1, 26])
def test_a_number_that_the_cohort_does_not_have_is_refused(trials, top_n):
    scoring, vectors, cohort, _, _ = trials
    with pytest.raises(SdpnError, match=f"cannot take the {top_n} largest of 25 cohort scores"):
        cohort_statistics(scoring, vectors, cohort, top_n)


def test_a_cohort_of_copies_is_refused(trials):
    scoring, vectors, cohort, e, t = trials
    statistics = cohort_statistics(scoring, vectors, np.repeat(cohort[:1], 5, axis=0), 3)
    for method in ("z", "t", "s", "as"):
        with pytest.raises(SdpnError, match="the cohort scores of 12 of 12 utterances are all equal"):
            normalize(np.zeros(30), method, statistics, statistics, e, t)


def test_equal_scores_at_the_top_hinder_adaptive_normalization_alone(trials):
    scoring, vectors, cohort, e, t = trials
    twice = np.repeat(cohort, 2, axis=0)  # the two largest scores are those of one vector
    statistics = cohort_statistics(scoring, vectors, twice, 2)
    raw = scoring.score_pairs(vectors, vectors, e, t)
    expected = by_loop(vectors, cohort, e, t, "s", 2)
    np.testing.assert_allclose(normalize(raw, "s", statistics, statistics, e, t), expected, atol=1e-10)
    with pytest.raises(SdpnError, match="are all equal"):
        normalize(raw, "as", statistics, statistics, e, t)


def test_an_unknown_method_is_refused(trials):
    scoring, vectors, cohort, e, t = trials
    statistics = cohort_statistics(scoring, vectors, cohort, 3)
    with pytest.raises(SdpnError, match="unknown score normalization 'zt'; allowed: none, z, t, s, as, as2"):
        normalize(np.zeros(30), "zt", statistics, statistics, e, t)
