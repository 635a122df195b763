import numpy as np
import pytest
import scipy.linalg

from sdpn.backend.transforms import LDA, LengthNorm, MeanSubtract, SideBySide, Whiten
from sdpn.errors import SdpnError


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 5


@pytest.fixture
def classes(vectors):
    return np.arange(len(vectors)) % 20


def test_mean_subtract_centres_the_training_vectors_and_shifts_others_alike(vectors):
    fitted = MeanSubtract().fit(vectors)
    np.testing.assert_allclose(fitted.transform(vectors).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(fitted.transform(vectors[:1] + 1), vectors[:1] + 1 - vectors.mean(axis=0))


def test_length_norm_gives_the_length_of_kaldi(vectors):
    normalized = LengthNorm().fit(vectors).transform(vectors)
    np.testing.assert_allclose(np.linalg.norm(normalized, axis=1), np.sqrt(6))
    np.testing.assert_allclose(normalized / np.sqrt(6), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_whitened_training_vectors_have_mean_0_and_identity_covariance(vectors):
    white = Whiten().fit(vectors).transform(vectors)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=1e-10)


def test_whitening_keeps_the_components_with_most_variance(vectors):
    fitted = Whiten(2).fit(vectors)
    white = fitted.transform(vectors)
    np.testing.assert_allclose(np.cov(white.T), np.eye(2), atol=1e-10)
    leading = np.linalg.svd(vectors - vectors.mean(axis=0))[2][:2]
    projected = np.abs(np.linalg.qr(fitted.projection_)[0].T @ leading.T)
    np.testing.assert_allclose(projected, np.eye(2), atol=1e-8)
    assert fitted.note_ == ""


def test_whitening_drops_directions_without_variance_and_says_so(vectors):
    flat = np.column_stack([vectors, vectors[:, 0] + vectors[:, 1], np.full(len(vectors), 3.0)])
    fitted = Whiten().fit(flat)
    np.testing.assert_allclose(np.cov(fitted.transform(flat).T), np.eye(6), atol=1e-8)
    assert "6 of 8 dimensions kept" in fitted.note_


def test_lda_spans_the_generalized_eigenvectors_with_unit_variance_within(vectors, classes):
    means = np.stack([vectors[classes == c].mean(axis=0) for c in range(20)])
    within = (vectors - means[classes]).T @ (vectors - means[classes]) / len(vectors)
    between = np.cov(means.T)
    expected = scipy.linalg.eigh(between, within)[1][:, ::-1][:, :3]
    fitted = LDA(3).fit(vectors, classes)
    overlap = np.abs(fitted.projection_.T @ within @ expected)
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(fitted.projection_.T @ within @ fitted.projection_, np.eye(3), atol=1e-8)
    assert fitted.transform(vectors).shape == (200, 3)


def test_lda_lowers_its_dimension_to_what_classes_and_data_allow(vectors, classes):
    by_data = LDA(150).fit(vectors, classes)
    assert by_data.transform(vectors).shape[1] == 6
    by_classes = LDA(150).fit(vectors, classes % 4)
    assert by_classes.transform(vectors).shape[1] == 3
    assert "150 dimensions asked for, 3 kept" in by_classes.note_ and "4 classes" in by_classes.note_


def test_lda_survives_fewer_vectors_than_dimensions():
    rng = np.random.default_rng(1)
    few = rng.normal(size=(12, 40))
    fitted = LDA(3).fit(few, np.arange(12) % 4)
    assert np.isfinite(fitted.transform(rng.normal(size=(5, 40)))).all()


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (np.zeros(6), "at least two classes"),
        (np.arange(6), "class of its own"),
        (np.arange(5), "5 are given for 6 vectors"),
        (None, "none are given"),
    ],
)
def test_lda_refuses_classes_it_cannot_learn_from(classes, sentence):
    with pytest.raises(SdpnError, match=f"^lda: .*{sentence}"):
        LDA(2).fit(np.random.default_rng(0).normal(size=(6, 3)), classes)


def test_lda_refuses_classes_of_identical_vectors():
    vectors = np.repeat(np.random.default_rng(0).normal(size=(4, 3)), 3, axis=0)
    with pytest.raises(SdpnError, match="every class are identical"):
        LDA(2).fit(vectors, np.repeat(np.arange(4), 3))


def test_a_vector_without_direction_is_refused(vectors):
    with pytest.raises(SdpnError, match="1 of 2 vectors have length zero"):
        LengthNorm().fit(vectors).transform(np.stack([vectors[0], np.zeros(6)]))


def test_equal_vectors_cannot_be_whitened():
    with pytest.raises(SdpnError, match="all 5 training vectors are the same"):
        Whiten().fit(np.ones((5, 3)))


@pytest.mark.parametrize("step", [MeanSubtract(), LengthNorm(), Whiten()])
def test_bad_vectors_are_refused_in_a_sentence(step, vectors):
    step.fit(vectors)
    with pytest.raises(SdpnError, match="have 4 dimensions, but those it was fitted on had 6"):
        step.transform(vectors[:, :4])
    broken = vectors.copy()
    broken[3, 2], broken[5, 0] = np.nan, np.inf
    with pytest.raises(SdpnError, match="2 of 200 vectors hold NaN or infinity"):
        step.transform(broken)
    with pytest.raises(SdpnError, match="there are no vectors"):
        step.fit(np.empty((0, 6)))


def test_two_vectors_side_by_side_get_the_same_weight():
    rng = np.random.default_rng(0)
    X = np.hstack((1e-3 * rng.standard_normal((50, 3)), 40 + 7 * rng.standard_normal((50, 5))))
    found = SideBySide(3).fit(X).transform(X)
    for part, given in ((found[:, :3], X[:, :3]), (found[:, 3:], X[:, 3:])):
        assert np.mean(part**2) == pytest.approx(1)
        offsets = given - given.mean(axis=0)
        np.testing.assert_allclose(part, offsets / np.sqrt(np.mean(offsets**2)))
    with pytest.raises(SdpnError, match="nothing stands beside the first 8"):
        SideBySide(8).fit(X)
    with pytest.raises(SdpnError, match="is the same in all 50"):
        SideBySide(3).fit(np.hstack((np.ones((50, 3)), X[:, 3:])))
