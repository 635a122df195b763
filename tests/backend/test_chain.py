import numpy as np
import pytest

from sdpn.backend import scorer
from sdpn.backend.chain import STEPS, Chain
from sdpn.backend.chain_file import load_chain, save_chain
from sdpn.backend.cosine import Cosine
from sdpn.backend.plda import PLDA
from sdpn.backend.transforms import LDA, LengthNorm, MeanSubtract, Whiten
from sdpn.errors import SdpnError


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 8)) + 2 * rng.normal(size=(12, 8))[np.arange(120) % 12] + 4


def test_a_chain_is_its_steps_in_order():
    chain = Chain("mean-subtract|  lda 150 | length-norm |plda iterations=5 length-norm=simple")
    assert [type(step) for step in chain.transforms] == [MeanSubtract, LDA, LengthNorm]
    assert chain.transforms[1].dim == 150
    assert isinstance(chain.scorer, PLDA)
    assert (chain.scorer.iterations, chain.scorer.length_norm) == (5, "simple")
    assert chain.text == "mean-subtract | lda 150 | length-norm | plda iterations=5 length-norm=simple"
    assert chain.needs_classes and not Chain("whiten 20 | cosine").needs_classes


def test_every_step_can_be_written():
    for name, step in STEPS.items():
        value = " 3" if step.required else ""
        chain = Chain(f"{name}{value}" + ("" if name in ("cosine", "plda") else " | cosine"))
        assert isinstance((*chain.transforms, chain.scorer)[0], step.make)
    assert Chain("whiten | cosine").transforms[0].dim is None
    assert Chain("lda dim=7 | cosine").transforms[0].dim == 7


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "mean-subtract | lad 150 | cosine",
            "unknown step 'lad'.*allowed: .*mean-subtract, length-norm, lda",
        ),
        ("mean-subtract || cosine", "unknown step ''"),
        ("", "unknown step ''"),
        ("mean-subtract | length-norm", "must have one scorer, as its last step: one of cosine, plda"),
        ("cosine | length-norm", "must have one scorer, as its last step"),
        ("cosine | plda", "must have one scorer, as its last step"),
        ("lda | plda", "'lda' lacks its value; write it as `lda DIM`"),
        ("lda 150 160 | plda", "'160' cannot stand in the step 'lda 150 160'"),
        ("lda 0 | plda", "'0' in the step 'lda 0' must be a whole number, at least 1"),
        ("lda 1.5 | plda", "must be a whole number"),
        ("length-norm 3 | cosine", "'3' cannot stand in the step 'length-norm 3'; write it as `length-norm`"),
        ("plda warmth=1", r"'warmth=1' cannot stand.*write it as `plda \[iterations=...\] \[length-norm=...\]"),
        ("plda smoothing=-1", "'smoothing=-1' in the step .* must be a number, at least 0"),
        ("plda smoothing=nan", "must be a number, at least 0"),
        ("plda adapt=maybe", "must be yes or no"),
        ("plda within=0.5", "mean-diff, within and between say how it adapts: they go with adapt=yes"),
        ("plda length-norm=half", "must be kaldi or simple or none"),
        ("plda 3", "'3' cannot stand in the step 'plda 3'"),
    ],
)
def test_a_text_that_is_no_chain_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(SdpnError, match=sentence):
        Chain(text)


def test_every_step_is_fitted_on_what_the_steps_before_it_make(vectors):
    classes = np.arange(120) % 12
    chain = Chain("mean-subtract | lda 5 | length-norm | plda").fit(vectors, classes)
    made = MeanSubtract().fit(vectors).transform(vectors)
    made = LDA(5).fit(made, classes).transform(made)
    made = LengthNorm().fit(made).transform(made)
    np.testing.assert_allclose(chain.transform(vectors), PLDA().fit(made, classes).transform(made))


def test_vectors_without_a_class_count_for_the_mean_but_not_for_lda(vectors):
    classes = np.arange(120) % 12
    classes[:30] = -1
    chain = Chain("mean-subtract | lda 5 | cosine").fit(vectors, classes)
    np.testing.assert_allclose(chain.transforms[0].mean_, vectors.mean(axis=0))
    expected = LDA(5).fit(vectors[30:] - vectors.mean(axis=0), classes[30:])
    np.testing.assert_allclose(chain.transforms[1].projection_, expected.projection_)


def test_notes_of_the_steps_are_collected(vectors):
    assert Chain("mean-subtract | cosine").fit(vectors).notes_ == []
    notes = Chain("lda 150 | plda").fit(vectors, np.arange(120) % 12).notes_
    assert len(notes) == 1 and notes[0].startswith("lda: 150 dimensions asked for, 8 kept")


def test_a_chain_that_needs_classes_says_so(vectors):
    with pytest.raises(SdpnError, match=r"the chain 'lda 5 \| cosine' needs the class of every training vector"):
        Chain("lda 5 | cosine").fit(vectors)


@pytest.mark.parametrize("text", ["mean-subtract | cosine", "mean-subtract | length-norm | plda"])
def test_a_model_of_several_utterances_is_the_mean_of_what_the_transforms_make_of_them(vectors, text):
    chain = Chain(text, "transformed").fit(vectors, np.arange(120) % 12)
    models, counts = chain.enroll(vectors[:6], np.array([0, 0, 1, 2, 2, 2]))
    assert counts.tolist() == [2, 1, 3]
    made = vectors[:6] - vectors.mean(axis=0)
    made = made / np.linalg.norm(made, axis=1, keepdims=True)
    if "plda" in text:
        made = made * np.sqrt(8)
    means = np.stack([made[:2].mean(axis=0), made[2], made[3:].mean(axis=0)])
    np.testing.assert_allclose(models, chain.scorer.transform(means, counts), atol=1e-10)
    np.testing.assert_allclose(models[1], chain.transform(vectors[2:3])[0], atol=1e-10)


def test_before_plda_raw_vectors_of_a_model_are_averaged_as_kaldi_does(vectors):
    chain = Chain("mean-subtract | length-norm | plda").fit(vectors, np.arange(120) % 12)
    assert (chain.enrollment, Chain("length-norm | cosine").enrollment) == ("raw", "transformed")
    models, counts = chain.enroll(vectors[:6].astype(np.float32), np.array([0, 0, 1, 2, 2, 2]))
    # ivector-mean, then ivector-subtract-global-mean and ivector-normalize-length of the mean
    means = np.stack([vectors[:2].mean(axis=0), vectors[2], vectors[3:6].mean(axis=0)]) - vectors.mean(axis=0)
    means *= np.sqrt(8) / np.linalg.norm(means, axis=1, keepdims=True)
    assert counts.tolist() == [2, 1, 3]
    np.testing.assert_allclose(models, chain.scorer.transform(means, counts), atol=1e-5)


def test_how_models_are_averaged_is_kept_with_the_chain_and_unknown_ways_are_refused(vectors, tmp_path):
    for way in ("raw", "transformed"):
        save_chain(tmp_path / "chain.h5", Chain("length-norm | cosine", way).fit(vectors))
        assert load_chain(tmp_path / "chain.h5").enrollment == way
    with pytest.raises(SdpnError, match="enrollment is 'mean'; allowed: raw, transformed"):
        Chain("cosine", "mean")


def test_large_sets_are_transformed_in_blocks_that_do_not_matter(vectors, monkeypatch):
    chain = Chain("mean-subtract | length-norm | cosine").fit(vectors)
    whole = chain.transform(vectors)
    monkeypatch.setattr(scorer, "BLOCK_BYTES", 8 * 8 * 7)
    np.testing.assert_array_equal(chain.transform(vectors), whole)
    spoilt = vectors.copy()
    spoilt[[3, 50, 119]] = vectors.mean(axis=0)
    with pytest.raises(SdpnError, match="3 of 120 vectors have length zero"):
        chain.transform(spoilt)


def test_whitened_cosine_sees_no_linear_change_of_the_vectors(vectors):
    rng = np.random.default_rng(1)
    changed = vectors @ rng.normal(size=(8, 8)) + rng.normal(size=8)

    def scores(x):
        chain = Chain("whiten | length-norm | cosine").fit(x)
        assert isinstance(chain.scorer, Cosine) and isinstance(chain.transforms[0], Whiten)
        return chain.scorer.score_matrix(chain.transform(x), chain.transform(x))

    np.testing.assert_allclose(scores(changed), scores(vectors), atol=1e-8)
