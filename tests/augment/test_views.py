import numpy as np
import pytest

from sdpn.augment.banks import Banks
from sdpn.augment.config import AugmentConfig
from sdpn.augment.views import ViewSampler

SIZES = {"teacher_frames": 60, "student_frames": 30, "student_views": 3}
NOTHING = AugmentConfig(p_clean=1.0, p_both=0.0, p_mask=0.0)


@pytest.fixture
def sampler(caches):
    def make(config=AugmentConfig(), seed=1, feats_type="ark", **sizes):  # noqa: B008  (frozen)
        index, banks = caches(feats_type)
        return ViewSampler(index, banks, config, seed, **{**SIZES, **sizes})

    return make


def test_shapes(sampler):
    views = sampler().views(0, np.array([3, 1]))
    assert views.teacher.shape == (1, 2, 60, 80)
    assert views.student.shape == (3, 2, 30, 80)
    assert np.isfinite(views.student).all()


def test_views_do_not_depend_on_the_batch_they_are_in(sampler):
    whole = sampler().views(2, np.arange(10))
    parts = [sampler().views(2, np.array([row])) for row in reversed(range(10))]
    np.testing.assert_array_equal(whole.student, np.concatenate([part.student for part in parts][::-1], axis=1))
    np.testing.assert_array_equal(whole.teacher, np.concatenate([part.teacher for part in parts][::-1], axis=1))


def test_ark_and_hdf5_give_the_same_views(sampler):
    ark, hdf5 = (sampler(feats_type=kind).views(1, np.arange(10)) for kind in ("ark", "hdf5"))
    np.testing.assert_array_equal(ark.student, hdf5.student)


def test_seed_epoch_utterance_and_view_all_make_a_difference(sampler):
    base = sampler().views(0, np.array([9])).student
    assert not np.array_equal(base[0], base[1])
    assert not np.array_equal(base, sampler().views(1, np.array([9])).student)
    assert not np.array_equal(base, sampler(seed=2).views(0, np.array([9])).student)


def test_clean_views_are_crops_of_the_utterance(sampler, caches):
    whole = caches("ark")[0].read(9)
    views = sampler(NOTHING).views(0, np.array([9]))
    starts = set()
    for crop in [*views.student[:, 0], *views.teacher[:, 0]]:
        start = np.flatnonzero((whole == crop[0]).all(axis=1))
        assert len(start) == 1
        np.testing.assert_array_equal(crop, whole[start[0] : start[0] + len(crop)])
        starts.add(int(start[0]))
    assert len(starts) > 1


@pytest.mark.parametrize("frames", [50, 51, 120])
def test_utterances_as_short_as_or_shorter_than_a_view_are_repeated(sampler, caches, frames):
    whole = caches("ark")[0].read(0)
    assert len(whole) == 50
    crop = sampler(NOTHING, student_frames=frames).views(0, np.array([0])).student[0, 0]
    start = int(np.flatnonzero((whole == crop[0]).all(axis=1))[0])
    np.testing.assert_array_equal(crop, whole[(start + np.arange(frames)) % 50])


def test_clean_and_reverberated_copies_are_both_drawn(sampler, caches):
    """Told apart by level: the copy is 6 dB down everywhere; half of 40 views are asked to be of it."""
    index, banks = caches("ark")
    only_reverb = AugmentConfig(p_clean=0.5, p_both=0.0, p_reverb_of_one=1.0, p_mask=0.0)
    views = sampler(only_reverb, student_views=40).views(0, np.arange(8))
    for row in range(8):
        loud, quiet = index.read(row), banks.reverbs[0].index.read(row)
        known = {frame.tobytes(): "loud" for frame in loud} | {frame.tobytes(): "quiet" for frame in quiet}
        found = [known[view[0].tobytes()] for view in views.student[:, row]]
        assert 8 <= found.count("loud") <= 32


def test_utterances_missing_from_the_reverberated_copy_stay_clean(sampler, caches):
    whole = {frame.tobytes() for frame in caches("ark")[0].read(9)}
    config = AugmentConfig(p_clean=0.0, p_both=0.0, p_reverb_of_one=1.0, p_mask=0.0)
    views = sampler(config).views(0, np.array([9]))
    assert all(frame.tobytes() in whole for frame in views.student.reshape(-1, 80))


def test_with_no_banks_at_all_views_are_clean(caches):
    index, _ = caches("ark")
    config = AugmentConfig(p_mask=0.0)
    bare = ViewSampler(index, Banks([], {}), config, 1, **SIZES).views(0, np.arange(10))
    clean = ViewSampler(index, Banks([], {}), NOTHING, 1, **SIZES).views(0, np.arange(10))
    np.testing.assert_array_equal(bare.student, clean.student)


def test_a_kind_with_weight_zero_is_never_drawn(caches):
    index, banks = caches("ark")
    config = AugmentConfig(p_clean=0.0, p_both=0.0, p_reverb_of_one=0.0, noise_weights=(0.0, 1.0, 0.0))
    views = ViewSampler(index, banks, config, 1, **SIZES).views(0, np.arange(10))
    clean = ViewSampler(index, Banks([], {}), config, 1, **SIZES).views(0, np.arange(10))
    np.testing.assert_array_equal(views.student, clean.student)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"p_clean": 0.8, "p_both": 0.5}, "p_clean"),
        ({"noise_snr": (15.0, 0.0)}, "noise_snr is"),
        ({"babble_talkers": (7, 3)}, "babble_talkers"),
        ({"noise_weights": (0.0, 0.0, 0.0)}, "noise_weights are all 0"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        AugmentConfig(**settings).check()
