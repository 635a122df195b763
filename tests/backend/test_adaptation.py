"""Adaptation against Kaldi's steps written out, and CORAL against its definition."""

import numpy as np
import pytest
import scipy.linalg

from sdpn.backend.adaptation import CORAL, adapt_plda
from sdpn.backend.chain import Chain
from sdpn.backend.plda import PLDA
from sdpn.errors import SdpnError


def classes_of(rng, n_classes, per_class, scale=1.0, shift=0.0, dimension=5):
    classes = np.repeat(np.arange(n_classes), per_class)
    mixing = np.diag(np.linspace(1, 2, dimension))
    vectors = rng.normal(size=(n_classes, dimension))[classes] @ mixing + 0.7 * rng.normal(
        size=(len(classes), dimension)
    )
    return scale * vectors + shift, classes


def kaldi_unsupervised_adaptor(mean, transform, psi, X, mean_diff_scale, within_scale, between_scale):
    """W, B and mean by the steps of PldaUnsupervisedAdaptor::UpdatePlda (src/ivector/plda.cc), in its order."""
    new_mean = X.mean(axis=0)
    variance = np.cov(X.T, bias=True) + mean_diff_scale * np.outer(new_mean - mean, new_mean - mean)
    transform_mod = transform / np.sqrt(1 + psi)[:, None]
    s, P = np.linalg.eigh(transform_mod @ variance @ transform_mod.T)
    W = P.T @ np.diag(1 / (1 + psi)) @ P
    B = P.T @ np.diag(psi / (1 + psi)) @ P
    for i in range(len(s)):
        if s[i] > 1:
            W[i, i] += (s[i] - 1) * within_scale
            B[i, i] += (s[i] - 1) * between_scale
    back = np.linalg.inv(P.T @ transform_mod)
    return back @ W @ back.T, back @ B @ back.T, new_mean


def covariances(transform, psi):
    inverse = np.linalg.inv(transform)
    return inverse @ inverse.T, inverse @ np.diag(psi) @ inverse.T


@pytest.mark.parametrize("scales", [(1.0, 0.3, 0.7), (0.0, 0.5, 0.1)])
@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_plda_is_adapted_as_kaldi_does(scales, scale):
    rng = np.random.default_rng(0)
    plda = PLDA(length_norm="none").fit(*classes_of(rng, 40, 6))
    X, _ = classes_of(rng, 30, 2, scale, shift=0.4)
    adapted = adapt_plda(plda.mean_, plda.transform_, plda.psi_, X, *scales)
    within, between, mean = kaldi_unsupervised_adaptor(plda.mean_, plda.transform_, plda.psi_, X, *scales)
    found = covariances(adapted.transform, adapted.psi)
    np.testing.assert_allclose(found[0], within, atol=1e-9)
    np.testing.assert_allclose(found[1], between, atol=1e-9)
    np.testing.assert_allclose(adapted.mean, mean)
    assert (np.diff(adapted.psi) <= 0).all()


def test_a_chain_adapts_its_plda_to_what_the_steps_before_make_of_the_vectors():
    rng = np.random.default_rng(1)
    X, classes = classes_of(rng, 40, 6)
    others = classes_of(rng, 20, 3, 2.0)[0]
    chain = Chain("mean-subtract | plda adapt=yes within=0.2 between=0.5 mean-diff=0").fit(X, classes, others)
    plain = Chain("mean-subtract | plda").fit(X, classes).scorer
    expected = adapt_plda(plain.mean_, plain.transform_, plain.psi_, others - X.mean(axis=0), 0.0, 0.2, 0.5)
    np.testing.assert_allclose(chain.scorer.psi_, expected.psi)
    with pytest.raises(SdpnError, match="needs unlabelled vectors to adapt to"):
        Chain("plda adapt=yes").fit(X, classes)


def test_coral_gives_training_vectors_the_mean_and_covariance_of_the_others():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(4000, 4)) @ rng.normal(size=(4, 4)) + 3
    others = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4)) - 1
    coral = CORAL(regularization=0).fit(X, others)
    moved = coral.transform_training(X)
    np.testing.assert_allclose(moved.mean(axis=0), others.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(np.cov(moved.T, bias=True), np.cov(others.T, bias=True), atol=1e-9)
    expected = np.linalg.inv(scipy.linalg.sqrtm(np.cov(X.T, bias=True))) @ scipy.linalg.sqrtm(
        np.cov(others.T, bias=True)
    )
    np.testing.assert_allclose(coral.recolour_, expected, atol=1e-8)
    np.testing.assert_array_equal(coral.transform(others), others)


def test_what_follows_coral_is_fitted_on_the_recoloured_vectors():
    rng = np.random.default_rng(3)
    X = classes_of(rng, 30, 5)[0]
    others = classes_of(rng, 20, 3, 0.5, 2.0)[0]
    chain = Chain("coral | mean-subtract | cosine").fit(X, adaptation=others)
    np.testing.assert_allclose(chain.transforms[1].mean_, others.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(chain.transform(X, training=True).shape, X.shape)
    assert not np.allclose(chain.transform(X, training=True), chain.transform(X))


def test_vectors_that_are_all_the_same_are_refused():
    X = np.random.default_rng(4).normal(size=(20, 3))
    with pytest.raises(SdpnError, match="coral: all 7 adaptation vectors are the same"):
        CORAL().fit(X, np.ones((7, 3)))
    with pytest.raises(SdpnError, match=r"coral: .* have 2 dimensions"):
        CORAL().fit(X, np.ones((7, 2)))


def test_smoothing_adds_a_share_of_between_to_within():
    rng = np.random.default_rng(5)
    X, classes = classes_of(rng, 40, 6)
    within, between = covariances(*(lambda p: (p.transform_, p.psi_))(PLDA().fit(X, classes)))
    smooth = PLDA(smoothing=0.3).fit(X, classes)
    found = covariances(smooth.transform_, smooth.psi_)
    np.testing.assert_allclose(found[0], within + 0.3 * between, atol=1e-10)
    np.testing.assert_allclose(found[1], between, atol=1e-10)
