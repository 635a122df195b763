from functools import partial

import numpy as np
import pytest

from sdpn.augment.banks import Banks, Speed
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.augment.views import ViewSampler, foreign_cross_term
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import band_centres

SIZES = {"teacher_frames": 60, "student_frames": 30, "student_views": 3}
plain = partial(AugmentConfig, p_equalize=0.0, p_band_limit=0.0)  # what most of these tests are not about
NOTHING = plain(p_clean=1.0, p_both=0.0, p_mask=0.0)


@pytest.fixture
def sampler(caches):
    def make(config=plain(), seed=1, feats_type="ark", **sizes):  # noqa: B008  (frozen)
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


@pytest.mark.parametrize("threads", [2, 8])
def test_the_number_of_threads_changes_no_bit(sampler, threads):
    one, several = (sampler(threads=count).views(1, np.arange(10)) for count in (1, threads))
    np.testing.assert_array_equal(one.student, several.student)
    np.testing.assert_array_equal(one.teacher, several.teacher)


def test_four_ranks_see_together_what_one_sees(sampler):
    """Each rank takes its share of a step's utterances, with a sampler of its own."""
    whole = sampler().views(3, np.arange(8))
    parts = [sampler().views(3, np.arange(8)[rank::4]) for rank in range(4)]
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(part.student, whole.student[:, rank::4])


def test_a_restart_in_the_middle_of_an_epoch_sees_what_would_have_come(sampler):
    first = sampler()
    undisturbed = [first.views(1, np.arange(10)[step::3]).student for step in range(3)]
    np.testing.assert_array_equal(sampler().views(1, np.arange(10)[2::3]).student, undisturbed[2])


def test_a_batch_may_be_written_where_the_last_one_was(sampler):
    one = sampler()
    buffer = one.empty(4)
    one.views(0, np.arange(4), buffer)
    second = one.views(1, np.arange(4), buffer)
    assert second is buffer
    np.testing.assert_array_equal(buffer.student, sampler().views(1, np.arange(4)).student)


def test_each_noise_is_added_at_an_snr_of_its_range(sampler):
    config = plain(p_clean=0.0, p_both=0.0, p_reverb_of_one=0.0)
    one = sampler(config, student_views=50)
    plan = one.student_plan(0, np.arange(10))
    assert one.planner.kinds == ["noise", "babble"]
    for number, (low, high) in enumerate([(0, 15), (13, 20)]):
        snr = plan.views["snr"][plan.noises == number]
        assert len(snr) > 150 and low <= snr.min() < low + 0.5 and high - 0.5 < snr.max() <= high


def test_the_conditions_are_drawn_as_often_as_they_should(sampler):
    plan = sampler(student_views=400).student_plan(0, np.arange(8))  # all of them have a reverberated copy
    noisy, reverberated = plan.noises >= 0, plan.reverbs > 0
    shares = [(~noisy & ~reverberated).mean(), (noisy & ~reverberated).mean(), (noisy & reverberated).mean()]
    np.testing.assert_allclose(shares, [1 / 6, 3 / 8, 1 / 3], atol=0.03)
    np.testing.assert_allclose((plan.views["mask_bins"] > 0).mean(), 0.2 * 6 / 7, atol=0.03)


def test_what_is_off_by_default_is_drawn_when_asked_for(sampler, caches):
    config = plain(p_band_limit=0.5, p_codec=0.5, level=(-3.0, 3.0))
    views = sampler(config, student_views=100).student_plan(0, np.arange(8)).views
    centres = band_centres(caches("ark")[0].config)
    limited = views["highest_bin"] < 80
    assert 0.4 < limited.mean() < 0.6 and 0.4 < np.isfinite(views["codec_snr"]).mean() < 0.6
    assert ((centres[views["highest_bin"][limited]] > 2900) & (centres[views["highest_bin"][limited]] < 3950)).all()
    assert views["level"].min() < -0.6 and views["level"].max() > 0.6
    by_default = sampler(student_views=100).student_plan(0, np.arange(8)).views
    assert (by_default["highest_bin"] == 80).all() and not np.isfinite(by_default["codec_snr"]).any()
    assert not by_default["level"].any() and not by_default["equalizer"].any()


def test_an_equalizer_is_one_smooth_curve_a_view_and_changes_no_other_decision(sampler):
    before, equalized = (sampler(plain(p_equalize=share, p_mask=0.0), student_views=40) for share in (0.0, 1.0))
    one, other = (each.student_plan(2, np.arange(8)).views for each in (before, equalized))
    assert all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one.dtype.names if name != "equalizer"
    )
    curves = (equalized.views(2, np.arange(8)).student - before.views(2, np.arange(8)).student).astype(np.float64)
    assert np.abs(curves - curves[:, :, :1]).max() < 1e-4  # the same in every frame
    curves = curves[:, :, 0].reshape(-1, 80)
    bins = (np.arange(80) + 0.5) / 80
    cosines = np.array([np.cos(np.pi * order * bins) for order in range(1, 6)])
    weights = curves @ cosines.T / 40  # the cosines are orthogonal, of length sqrt(40)
    np.testing.assert_allclose(curves, weights @ cosines, atol=1e-4)
    np.testing.assert_allclose(weights.std(axis=0), 0.5 / np.sqrt(np.arange(1, 6)), rtol=0.15)
    assert abs(np.corrcoef(weights.T) - np.eye(5)).max() < 0.2


def test_a_share_of_the_views_is_equalized_as_strongly_as_asked_for(sampler):
    drawn = sampler(plain(p_equalize=0.3, equalize_strength=2.0), student_views=100)
    weights = drawn.student_plan(0, np.arange(10)).views["equalizer"]
    there = weights.any(axis=-1)
    assert 0.25 < there.mean() < 0.35
    assert 1.8 < weights[there][:, 0].std() < 2.2


def test_the_teachers_views_are_not_equalized(sampler):
    before, equalized = (sampler(plain(p_equalize=share)).views(0, np.arange(10)) for share in (0.0, 1.0))
    np.testing.assert_array_equal(before.teacher, equalized.teacher)


def test_all_views_of_an_utterance_have_one_speed_in_an_epoch(caches):
    index, banks = caches("ark")
    quieter = banks.speeds[0].reverbs[0]  # stands for the training set at another speed
    several = Banks([], {}, [Speed(0.9, quieter)])
    one = ViewSampler(index, several, NOTHING, 1, **SIZES)
    seen = []
    for epoch in range(20):
        plan = one.student_plan(epoch, np.arange(8))
        batch = one.views(epoch, np.arange(8))
        for column, speed in enumerate(plan.speeds):
            source = index if speed == 1 else quieter.index
            whole = {frame.tobytes() for frame in source.read(column)}
            assert all(frame.tobytes() in whole for frame in batch.student[:, column].reshape(-1, 80))
            assert all(frame.tobytes() in whole for frame in batch.teacher[:, column].reshape(-1, 80))
        seen += plan.speeds.tolist()
    assert 50 < seen.count(0.9) < 110


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
    only_reverb = plain(p_clean=0.5, p_both=0.0, p_reverb_of_one=1.0, p_mask=0.0)
    views = sampler(only_reverb, student_views=40).views(0, np.arange(8))
    for row in range(8):
        loud, quiet = index.read(row), banks.speeds[0].reverbs[0].index.read(row)
        known = {frame.tobytes(): "loud" for frame in loud} | {frame.tobytes(): "quiet" for frame in quiet}
        found = [known[view[0].tobytes()] for view in views.student[:, row]]
        assert 8 <= found.count("loud") <= 32


def test_utterances_missing_from_the_reverberated_copy_stay_clean(sampler, caches):
    whole = {frame.tobytes() for frame in caches("ark")[0].read(9)}
    config = plain(p_clean=0.0, p_both=0.0, p_reverb_of_one=1.0, p_mask=0.0)
    views = sampler(config).views(0, np.array([9]))
    assert all(frame.tobytes() in whole for frame in views.student.reshape(-1, 80))


def test_with_no_banks_at_all_views_are_clean(caches):
    index, _ = caches("ark")
    config = plain(p_mask=0.0)
    bare = ViewSampler(index, Banks([], {}), config, 1, **SIZES).views(0, np.arange(10))
    clean = ViewSampler(index, Banks([], {}), NOTHING, 1, **SIZES).views(0, np.arange(10))
    np.testing.assert_array_equal(bare.student, clean.student)


def test_a_kind_with_weight_zero_is_never_drawn(sampler):
    one = sampler(plain(p_clean=0.0, p_both=0.0, p_reverb_of_one=0.0, noise_weights=(0.0, 1.0, 1.0)))
    drawn = one.student_plan(0, np.arange(10)).noises
    assert (drawn == one.planner.kinds.index("babble")).all()


def test_weights_that_leave_none_of_the_banks_are_refused(caches):
    index, banks = caches("ark")
    config = plain(noise_weights=(0.0, 1.0, 0.0))
    with pytest.raises(SdpnError, match=r"noise_weights leave none of the banks there are \(noise, babble\)"):
        ViewSampler(index, banks, config, 1, **SIZES)
    ViewSampler(index, Banks([], {}), config, 1, **SIZES)


def test_what_would_get_one_of_two_gets_the_one_there_is(caches):
    index, banks = caches("ark")
    alone = {"noises": Banks([], banks.noises), "reverbs": Banks(banks.speeds[0].reverbs, {})}
    plans = {
        kind: ViewSampler(index, some, plain(), 1, **{**SIZES, "student_views": 400}).student_plan(0, np.arange(8))
        for kind, some in alone.items()
    }
    for kind, plan in plans.items():
        noisy, reverberated = plan.noises >= 0, plan.reverbs > 0
        there, absent = (noisy, reverberated) if kind == "noises" else (reverberated, noisy)
        np.testing.assert_allclose(there.mean(), 5 / 6, atol=0.03)
        assert not absent.any()
    np.testing.assert_array_equal(plans["noises"].noises >= 0, plans["reverbs"].reverbs > 0)


def test_what_exists_is_judged_for_each_speed(caches):
    index, banks = caches("ark")
    copy = banks.speeds[0].reverbs[0]
    config = plain(p_clean=0.0, p_both=0.0, p_reverb_of_one=1.0)
    several = Banks([copy], banks.noises, [Speed(0.9, copy)])  # there is no reverberated copy at the second speed
    one = ViewSampler(index, several, config, 1, **SIZES)
    for epoch in range(10):
        plan = one.student_plan(epoch, np.arange(8))
        np.testing.assert_array_equal(plan.noises >= 0, np.broadcast_to(plan.speeds == 0.9, plan.noises.shape))
        np.testing.assert_array_equal(plan.reverbs > 0, np.broadcast_to(plan.speeds == 1, plan.noises.shape))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"p_clean": 0.8, "p_both": 0.5}, "p_clean"),
        ({"noise_snr": (15.0, 0.0)}, "noise_snr is"),
        ({"babble_talkers": (7, 3)}, "babble_talkers"),
        ({"noise_weights": (0.0, 0.0, 0.0)}, "noise_weights are all 0"),
        ({"level": (1.0, -1.0)}, "level is"),
        ({"codec_snr": (20.0, 10.0)}, "codec_snr is"),
        ({"band_limit_low": (100.0, 3500.0)}, "band_limit_low is"),
        ({"cross_term": (0.5,)}, "cross_term is"),
        ({"speeds": "0.9,fast"}, "speeds is"),
        ({"speeds": "1.0,1.0"}, "speeds is"),
        ({"speeds": "3"}, "speeds is"),
        ({"speeds": "0.9,0.90000001"}, "speeds is"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        plain(**settings).check()


def test_a_cross_term_of_another_fbank_is_told():
    assert foreign_cross_term(ViewConfig(), FbankConfig(cmvn="none", sample_scale=32768.0)) is None
    told = foreign_cross_term(ViewConfig(), FbankConfig(num_mel_bins=40, sampling_rate=8000))
    assert "these features have sampling_rate 8000, num_mel_bins 40: estimate it with" in told
    assert "profile mel_3dspeaker" in foreign_cross_term(ViewConfig(), FbankConfig.of_3dspeaker())
    for own in (ViewConfig(cross_term=(0.5, 0.3)), ViewConfig(augment="off")):
        assert foreign_cross_term(own, FbankConfig(num_mel_bins=40)) is None
