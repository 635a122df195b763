import numpy as np
import pytest

from sdpn.backend import speaker_count
from sdpn.backend.clustering import PseudoSpeakers, directions, explain
from sdpn.backend.speaker_count import cloud_like, find_levels, silhouette
from sdpn.evaluation.partition import agreement


def nested(n_speakers, n_sessions, per_session, dim=64, groups=1, group_deviation=0.0, seed=0):
    """Vectors of utterances in sessions (deviation 0.9, within it 0.7) of speakers (deviation 1), and who speaks."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n_speakers, dim))
    means += group_deviation * rng.normal(size=(groups, dim))[np.arange(n_speakers) % groups]
    sessions = np.repeat(np.arange(n_speakers), n_sessions)
    centres = means[sessions] + 0.9 * rng.normal(size=(len(sessions), dim))
    session = rng.permutation(np.repeat(np.arange(len(sessions)), per_session))
    return centres[session] + 0.7 * rng.normal(size=(len(session), dim)), sessions[session]


@pytest.mark.parametrize(
    ("n_speakers", "n_sessions", "per_session", "dim"),
    [(40, 1, 15, 64), (60, 2, 8, 128), (40, 3, 8, 64), (20, 50, 4, 64), (30, 6, 6, 256), (30, 6, 8, 40)],
)
def test_speakers_are_found_where_sessions_nest_in_them(n_speakers, n_sessions, per_session, dim):
    vectors, who = nested(n_speakers, n_sessions, per_session, dim)
    found = PseudoSpeakers(seed=1).fit(vectors)
    assert agreement(found.labels_, who).nmi > 0.95
    assert found.n_classes_ == pytest.approx(n_speakers, rel=0.08)


def test_the_other_numbers_are_named_with_what_they_may_be():
    vectors, _ = nested(40, 6, 8)
    found = PseudoSpeakers(seed=1).fit(vectors)
    finer, chosen = found.levels_
    assert finer.number == pytest.approx(240, rel=0.08) and chosen.number == pytest.approx(40, rel=0.08)
    assert f"{finer.number} (finer: sessions?)" in found.note_ and "--clusters N" in found.note_


def test_two_genders_are_no_speakers():
    vectors, who = nested(60, 5, 8, groups=2, group_deviation=2.0)
    found = PseudoSpeakers(seed=1).fit(vectors)
    assert agreement(found.labels_, who).nmi > 0.95
    assert "2 (coarser: genders" in found.note_


def test_the_means_of_speakers_are_no_level_of_their_own():
    vectors, _ = nested(100, 1, 12, dim=20)
    levels, coarser = find_levels(directions(vectors), np.ones(len(vectors)), 4, seed=1)
    assert len(levels) == 1 and coarser is None


def curve_of(excess, monkeypatch):
    """Have the silhouette exceed chance by so much at each number of clusters, whatever the points."""
    tried = []

    def made_up(X, labels, rows, each):
        tried.append(int(labels.max()) + 1)
        of_cloud = len(tried) % 3 != 0  # two clouds are drawn of so few points, and looked at first
        return 0.0 if of_cloud else np.interp(tried[-1], sorted(excess), [excess[n] for n in sorted(excess)], left=0.01)

    monkeypatch.setattr(speaker_count, "silhouette", made_up)
    monkeypatch.setattr(speaker_count, "CHANCE_VECTORS", 500)
    points = np.random.default_rng(1).normal(size=(300, 8))
    return speaker_count.first_peak(points, np.ones(300), 80, 0.03, np.random.default_rng(0), map)


def test_of_a_broad_peak_the_most_clusters_near_its_top_are_taken(monkeypatch):
    excess = {80: 0.01, 67: 0.05, 57: 0.075, 48: 0.086, 40: 0.09, 34: 0.096, 28: 0.098, 24: 0.099, 20: 0.1, 17: 0.09}
    level = curve_of(excess, monkeypatch)
    assert level.number == pytest.approx(32, abs=3) and level.excess == pytest.approx(0.1, abs=0.005)
    assert level.plausible == (17, 48)
    assert "17 to 48, about as plausible" in explain([level], None)


def test_groups_of_alike_speakers_are_told_but_not_taken():
    rng = np.random.default_rng(4)
    groups = 0.35 * rng.normal(size=(14, 64))
    means = np.repeat(groups[np.arange(90) % 14] + 0.75 * rng.normal(size=(90, 64)), 12, axis=0)
    levels, _ = find_levels(directions(means + 0.7 * rng.normal(size=means.shape)), np.ones(len(means)), 4, seed=1)
    assert [level.number for level in levels] == [pytest.approx(90, rel=0.08)]


def test_a_cloud_has_the_mean_and_covariance_of_the_points():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(20_000, 5)) @ rng.normal(size=(5, 5)) + 3
    cloud = cloud_like(points, rng)
    np.testing.assert_allclose(cloud.mean(axis=0), points.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(cloud.T), np.cov(points.T), atol=0.05 * np.cov(points.T).max())


def test_silhouette_leaves_the_vector_itself_out():
    rng = np.random.default_rng(2)
    vectors, labels = rng.normal(size=(40, 3)), np.concatenate([np.arange(39) % 4, [4]])
    expected = []
    for i, own in enumerate(labels):
        others = [v for j, v in enumerate(vectors) if labels[j] == own and j != i]
        if not others:
            expected.append(0.0)
            continue
        a = np.linalg.norm(vectors[i] - np.mean(others, axis=0))
        b = min(np.linalg.norm(vectors[i] - vectors[labels == c].mean(axis=0)) for c in range(5) if c != own)
        expected.append((b - a) / max(a, b))
    assert silhouette(vectors, labels) == pytest.approx(np.mean(expected))


def test_silhouette_of_some_vectors_is_their_mean():
    rng = np.random.default_rng(2)
    vectors, labels = rng.normal(size=(60, 3)), np.arange(60) % 5
    of_each = [silhouette(vectors, labels, np.array([row])) for row in range(60)]
    assert silhouette(vectors, labels, np.arange(10, 30)) == pytest.approx(np.mean(of_each[10:30]))
