import pytest

from sdpn import config
from sdpn.errors import SdpnError
from sdpn.training.config import TrainConfig
from sdpn.training.sizes import fit_to_corpus

SMALL = config.build(
    TrainConfig, {"prototypes": 256, "batch_size": 32, "teacher_frames": 300, "student_frames": 150}, "small.yaml"
)


def test_what_fits_stays():
    assert fit_to_corpus(SMALL, (), 256, 300) == (SMALL, [])


def test_prototypes_leave_two_utterances_for_each():
    fitted, (sentence,) = fit_to_corpus(SMALL, (), 128, 300)
    assert (fitted.prototypes, fitted.batch_size) == (64, 32)
    assert "prototypes lowered from 256 to 64" in sentence
    assert "128 utterances" in sentence


def test_a_batch_is_no_larger_than_the_corpus():
    fitted, sentences = fit_to_corpus(SMALL, (), 21, 300)
    assert (fitted.prototypes, fitted.batch_size) == (10, 21)
    assert any("batch_size lowered from 32 to 21" in sentence for sentence in sentences)


@pytest.mark.parametrize(("utterances", "batch"), [(1000, 30), (32, 30), (17, 15)])
def test_a_batch_divides_among_the_processes(utterances, batch):
    fitted, sentences = fit_to_corpus(SMALL, (), utterances, 300, processes=3)
    assert fitted.batch_size == batch
    assert f"batch_size lowered from 32 to {batch}" in sentences[0]


def test_views_are_no_longer_than_the_longest_utterance():
    fitted, sentences = fit_to_corpus(SMALL, (), 1000, 120)
    assert (fitted.teacher_frames, fitted.student_frames) == (120, 60)
    assert ["teacher_frames" in sentences[0], "student_frames" in sentences[1]] == [True, True]
    assert fit_to_corpus(SMALL, (), 1000, 299)[0].student_frames == 150
    assert fit_to_corpus(SMALL, ("student_frames",), 1000, 200)[0].student_frames == 150
    assert fit_to_corpus(SMALL, (), 1000, None) == (SMALL, [])


@pytest.mark.parametrize(
    ("name", "utterances", "longest", "most"),
    [
        ("prototypes", 128, 300, 128),
        ("batch_size", 21, 300, 21),
        ("teacher_frames", 1000, 250, 250),
        ("student_frames", 1000, 140, 140),
    ],
)
def test_what_the_user_gave_is_refused_by_its_name(name, utterances, longest, most):
    with pytest.raises(SdpnError, match=rf"^--{name.replace('_', '-')} is .*: give at most {most}$"):
        fit_to_corpus(SMALL, (name,), utterances, longest)


def test_the_sizes_do_not_depend_on_the_order_of_lowering():
    fitted, _ = fit_to_corpus(SMALL, (), 21, 120)
    assert fit_to_corpus(fitted, (), 21, 120) == (fitted, [])


def test_too_few_utterances_for_a_step_are_a_sentence():
    with pytest.raises(SdpnError, match="has 3 utterances, but a step needs at least 4"):
        fit_to_corpus(SMALL, (), 3, 300, processes=2)
    with pytest.raises(SdpnError, match="has 9 frames"):
        fit_to_corpus(SMALL, (), 1000, 9)
