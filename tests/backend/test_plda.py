"""PLDA against the definition of the model: joint Gaussian densities, and the EM written out class by class."""

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import multivariate_normal

from sdpn.backend.plda import PLDA
from sdpn.errors import SdpnError


def random_covariance(rng, dimension):
    root = rng.normal(size=(dimension, dimension + 2))
    return root @ root.T / dimension


@pytest.fixture
def model():
    """A model of 4 dimensions with known W, B and mean: (PLDA, W, B, mean)."""
    rng = np.random.default_rng(0)
    within, between, mean = random_covariance(rng, 4), random_covariance(rng, 4), rng.normal(size=4)
    psi, vectors = scipy.linalg.eigh(between, within)
    plda = PLDA(length_norm="none")
    plda.mean_, plda.psi_, plda.transform_ = mean, psi[::-1], vectors[:, ::-1].T
    return plda, within, between, mean


def sample(rng, counts, within, between, mean):
    """Vectors and classes of the model, `counts[c]` vectors of class c."""
    classes = np.repeat(np.arange(len(counts)), counts)
    speakers = rng.multivariate_normal(np.zeros(len(mean)), between, len(counts))
    return mean + speakers[classes] + rng.multivariate_normal(np.zeros(len(mean)), within, len(classes)), classes


def joint_log_density(vectors, within, between, mean):
    """log density of vectors of one class: blocks B + W on the diagonal, B elsewhere."""
    n = len(vectors)
    covariance = np.kron(np.ones((n, n)), between) + np.kron(np.eye(n), within)
    return multivariate_normal.logpdf(np.concatenate(vectors), np.tile(mean, n), covariance)


def covariances(plda):
    inverse = np.linalg.inv(plda.transform_)
    return inverse @ inverse.T, inverse @ np.diag(plda.psi_) @ inverse.T


def em_class_by_class(vectors, classes, iterations):
    """W and B by the update formulas in Kaldi's src/ivector/plda.cc, with one solve for each class."""
    groups = [vectors[classes == c] for c in np.unique(classes)]
    means = np.stack([group.mean(axis=0) for group in groups])
    centre = means.mean(axis=0)
    scatter = sum((group - group.mean(axis=0)).T @ (group - group.mean(axis=0)) for group in groups)
    within = between = np.eye(vectors.shape[1])
    for _ in range(iterations):
        within_sum, between_sum = scatter.copy(), np.zeros_like(between)
        for group, mean in zip(groups, means - centre, strict=True):
            n = len(group)
            mixed = np.linalg.inv(np.linalg.inv(between) + n * np.linalg.inv(within))
            w = mixed @ (n * np.linalg.inv(within) @ mean)
            between_sum += mixed + np.outer(w, w)
            within_sum += n * (mixed + np.outer(mean - w, mean - w))
        within, between = within_sum / len(vectors), between_sum / len(groups)
    return within, between


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_score_is_the_ratio_of_joint_gaussian_densities(model, n):
    plda, within, between, mean = model
    rng = np.random.default_rng(n)
    for _ in range(5):
        enroll, test = 2 * rng.normal(size=(n, 4)) + mean, 2 * rng.normal(size=(1, 4)) + mean
        together = joint_log_density(np.concatenate([enroll, test]), within, between, mean)
        apart = joint_log_density(enroll, within, between, mean) + joint_log_density(test, within, between, mean)
        e, t = plda.transform(enroll.mean(axis=0, keepdims=True), np.array([n])), plda.transform(test)
        assert plda.score_matrix(e, t, np.array([n]))[0, 0] == pytest.approx(together - apart, abs=1e-9)


def test_models_of_different_numbers_of_utterances_are_scored_together(model):
    plda = model[0]
    rng = np.random.default_rng(3)
    counts = np.array([3, 1, 5, 3, 2])
    enroll, test = plda.transform(rng.normal(size=(5, 4)), counts), plda.transform(rng.normal(size=(6, 4)))
    alone = np.concatenate([plda.score_matrix(enroll[[i]], test, counts[[i]]) for i in range(5)])
    np.testing.assert_allclose(plda.score_matrix(enroll, test, counts), alone)
    e, t = rng.integers(5, size=40), rng.integers(6, size=40)
    np.testing.assert_allclose(plda.score_pairs(enroll, test, e, t, counts), alone[e, t])


def test_with_one_utterance_each_the_sides_may_change_places(model):
    plda = model[0]
    vectors = PLDA.transform(plda, np.random.default_rng(4).normal(size=(8, 4)))
    np.testing.assert_allclose(plda.score_matrix(vectors, vectors), plda.score_matrix(vectors, vectors).T)


@pytest.mark.parametrize("n", [1, 3])
def test_length_normalization_is_kaldis(model, n):
    plda, _, _, mean = model
    vectors = np.random.default_rng(5).normal(size=(6, 4))
    plain = (vectors - mean) @ plda.transform_.T
    plda.length_norm = "kaldi"
    expected = [u * np.sqrt(4 / sum(u[i] ** 2 / (plda.psi_[i] + 1 / n) for i in range(4))) for u in plain]
    np.testing.assert_allclose(plda.transform(vectors, np.full(6, n)), expected)
    plda.length_norm = "simple"
    np.testing.assert_allclose(np.linalg.norm(plda.transform(vectors, np.full(6, n)), axis=1), 2.0)


def test_the_mean_itself_stays_where_it_is(model):
    plda, _, _, mean = model
    for plda.length_norm in ("kaldi", "simple", "none"):
        np.testing.assert_array_equal(plda.transform(mean[None]), np.zeros((1, 4)))


def test_em_is_that_of_kaldi(model):
    _, within, between, mean = model
    rng = np.random.default_rng(6)
    vectors, classes = sample(rng, rng.integers(1, 6, 30), within, between, mean)
    for iterations in (1, 2, 10):
        plda = PLDA(iterations).fit(vectors, classes)
        expected = em_class_by_class(vectors, classes, iterations)
        np.testing.assert_allclose(covariances(plda), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(plda.mean_, np.mean([vectors[classes == c].mean(axis=0) for c in range(30)], axis=0))


def test_the_transform_makes_within_unit_and_between_diagonal_and_falling(model):
    _, within, between, mean = model
    vectors, classes = sample(np.random.default_rng(7), [4] * 50, within, between, mean)
    plda = PLDA().fit(vectors, classes)
    expected_within, expected_between = em_class_by_class(vectors, classes, 10)
    np.testing.assert_allclose(plda.transform_ @ expected_within @ plda.transform_.T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(plda.transform_ @ expected_between @ plda.transform_.T, np.diag(plda.psi_), atol=1e-9)
    assert (np.diff(plda.psi_) <= 0).all()


def test_the_objective_is_the_likelihood_and_never_falls(model):
    _, within, between, mean = model
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 7, 25)
    vectors, classes = sample(rng, counts, within, between, mean)
    objective = PLDA(iterations=30).fit(vectors, classes).objective_
    assert (np.diff(objective) > 0).all()
    # Kaldi's objective is the density of the class means and of the offsets from them; that of the vectors
    # themselves differs by a factor sqrt(n) for each dimension and class
    shift = 4 / 2 * np.log(counts).sum()
    for iterations in (1, 5):
        plda = PLDA(iterations).fit(vectors, classes)
        total = sum(joint_log_density(vectors[classes == c], *covariances(plda), plda.mean_) for c in range(25))
        assert objective[iterations] == pytest.approx((total + shift) / len(vectors), abs=1e-9)


def test_parameters_of_synthetic_data_are_recovered(model):
    _, within, between, mean = model
    vectors, classes = sample(np.random.default_rng(9), [8] * 4000, within, between, mean)
    plda = PLDA(iterations=30).fit(vectors, classes)
    found_within, found_between = covariances(plda)
    np.testing.assert_allclose(found_within, within, atol=0.03 * np.abs(within).max())
    np.testing.assert_allclose(found_between, between, atol=0.08 * np.abs(between).max())
    np.testing.assert_allclose(plda.mean_, mean, atol=0.1)


def test_names_and_order_of_the_classes_do_not_matter(model):
    _, within, between, mean = model
    rng = np.random.default_rng(10)
    vectors, classes = sample(rng, [3, 5, 2, 4], within, between, mean)
    order = rng.permutation(len(vectors))
    names = np.array(["d", "a", "c", "b"])[classes]
    np.testing.assert_allclose(PLDA().fit(vectors[order], names[order]).psi_, PLDA().fit(vectors, classes).psi_)


def test_fewer_vectors_than_dimensions_use_the_span_of_the_data_and_say_so():
    rng = np.random.default_rng(11)
    vectors, classes = rng.normal(size=(20, 50)), np.arange(20) % 5
    plda = PLDA().fit(vectors, classes)
    assert plda.transform_.shape == (19, 50)
    assert "19 of 50 dimensions used" in plda.note_ and "20 vectors in 5 classes are few" in plda.note_
    scores = plda.score_matrix(plda.transform(vectors), plda.transform(rng.normal(size=(7, 50))))
    assert np.isfinite(scores).all()


def test_a_direction_without_variance_does_not_decide(model):
    _, within, between, mean = model
    vectors, classes = sample(np.random.default_rng(12), [5] * 40, within, between, mean)
    flat = np.column_stack([vectors, np.full(len(vectors), 0.5)])
    plain, wider = PLDA().fit(vectors, classes), PLDA().fit(flat, classes)
    off = flat[:6].copy()
    off[:, 4] += 1e-3  # what a test vector shows there is noise
    expected = plain.score_matrix(plain.transform(vectors[:6]), plain.transform(vectors[:6]))
    np.testing.assert_allclose(wider.score_matrix(wider.transform(off), wider.transform(off)), expected, atol=1e-8)


def test_variance_within_that_vanishes_is_floored_and_said():
    rng = np.random.default_rng(13)
    classes = np.repeat(np.arange(20), 50)
    vectors = 10 * rng.normal(size=(20, 3))[classes]
    vectors[:, 0] += rng.normal(size=len(vectors))  # within a class only the first dimension varies
    plda = PLDA(iterations=20).fit(vectors, classes)
    variances = np.linalg.eigvalsh(covariances(plda)[0])
    assert variances[0] >= 0.99e-8 * variances[-1]
    assert "floored" in plda.note_
    assert np.isfinite(plda.score_matrix(plda.transform(vectors[:4]), plda.transform(vectors[:4]))).all()


def test_duplicated_vectors_are_no_trouble(model):
    _, within, between, mean = model
    vectors, classes = sample(np.random.default_rng(14), [3] * 30, within, between, mean)
    twice = PLDA().fit(np.repeat(vectors, 2, axis=0), np.repeat(classes, 2))
    assert np.isfinite(twice.psi_).all() and twice.note_ == ""


@pytest.mark.parametrize(
    ("vectors", "classes", "sentence"),
    [
        (np.random.default_rng(0).normal(size=(6, 2)), np.zeros(6), "at least two classes"),
        (np.random.default_rng(0).normal(size=(6, 2)), np.arange(6), "class of its own"),
        (np.repeat(np.random.default_rng(0).normal(size=(3, 2)), 2, axis=0), np.repeat([0, 1, 2], 2), "identical"),
        (np.ones((6, 2)), np.arange(6) % 2, "identical"),
        (np.full((6, 2), np.nan), np.arange(6) % 2, "6 of 6 vectors hold NaN"),
    ],
)
def test_data_without_a_model_are_refused_in_a_sentence(vectors, classes, sentence):
    with pytest.raises(SdpnError, match=f"^plda: .*{sentence}"):
        PLDA().fit(vectors, classes)


@pytest.mark.parametrize("counts", [[1, 0], [1, 2, 3]])
def test_counts_that_do_not_fit_are_refused(model, counts):
    with pytest.raises(SdpnError, match="every one of the 2 models needs a number of utterances"):
        model[0].score_matrix(np.zeros((2, 4)), np.zeros((1, 4)), np.array(counts))


def test_an_unknown_length_norm_is_refused():
    with pytest.raises(SdpnError, match="length-norm is 'kaldy'; allowed: kaldi, simple, none"):
        PLDA(length_norm="kaldy")
