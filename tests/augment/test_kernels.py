from pathlib import Path

import numpy as np
import pytest
from scipy.signal import hilbert

from sdpn.augment import reference
from sdpn.augment.kernels import VIEW, mask, mix, render
from sdpn.augment.phases import Pair, estimate
from sdpn.augment.random import NORMALS
from sdpn.augment.sources import NOISE_PEAK
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank, energy_weights, floor_of
from sdpn.features.frontend import features_of
from sdpn.features.storage import BY_COLUMNS, KINDS, decode_columns, dequantize, quantize, scale

WEIGHTS = energy_weights(FbankConfig())
DEVIATIONS = np.linspace(0.63, 0.27, 80, dtype=np.float32)
FLOOR = np.float32(floor_of(FbankConfig()))


def speech_like(seed, seconds=8.0):
    """Coloured noise under a syllabic envelope: dense in time and frequency, so that phases are what differs."""
    rng = np.random.default_rng(seed)
    samples = np.convolve(rng.standard_normal(int(seconds * 16000)), [1, 0.9, 0.6, 0.3], mode="same")
    envelope = 0.2 + np.abs(np.sin(2 * np.pi * 2.1 * np.arange(len(samples)) / 16000 + seed))
    return (0.02 * samples * envelope).astype(np.float32)


def run_mix(speech, noise, snr, spread=DEVIATIONS, key=7):
    mixed = speech.copy()
    mix(mixed, noise.copy(), snr, WEIGHTS, spread, np.uint64(key), NORMALS, FLOOR)
    return mixed


def agree(rendered, expected):
    # where the phases all but cancel, float32 has few digits left of the difference
    assert np.quantile(np.abs(rendered - expected), 0.999) < 2e-4
    assert np.abs(np.exp(rendered) - np.exp(expected)).max() < 1e-4 * np.exp(expected).max()


@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
@pytest.mark.parametrize("bins", [80, 39])
def test_mixing_is_its_plain_reference(snr, bins):
    rng = np.random.default_rng(0)
    speech, noise = rng.uniform(-12, 2, (2, 57, bins)).astype(np.float32)
    mixed = speech.copy()
    mix(mixed, noise.copy(), snr, WEIGHTS[:bins], DEVIATIONS[:bins], np.uint64(3), NORMALS, FLOOR)
    agree(mixed, reference.mix(speech.astype(np.float64), noise, snr, WEIGHTS[:bins], DEVIATIONS[:bins], 3, FLOOR))


def stored_forms(matrix):
    """(kind, bytes, minimum, step, values) of a matrix in every stored form."""
    for kind in KINDS:
        minimum, step = scale(float(matrix.min()), float(matrix.max()), kind)
        stored = quantize(matrix, minimum, step, kind)
        yield kind, stored, minimum, step, dequantize(stored, minimum, step).astype(np.float64)
    rng = np.random.default_rng(1)
    percentiles = np.sort(rng.integers(0, 65536, (matrix.shape[1], 4)).astype("<u2"), axis=1)
    columns = rng.integers(0, 256, matrix.shape[::-1], dtype=np.uint8)
    stored = np.concatenate([percentiles.view(np.uint8).ravel(), columns.ravel()])
    values = decode_columns(stored, *matrix.shape, 0, len(matrix), (-12.0, 14 / 65535))
    yield BY_COLUMNS, stored, -12.0, 14 / 65535, values.astype(np.float64)


EFFECTS = {
    "nothing": {},
    "noise": {"snr": 4.0, "balance": 1.5},
    "equalizer": {"equalizer": (0.7, -0.4, 0.3, 0.2, -0.1)},
    "codec": {"codec_snr": 12.0},
    "band": {"lowest_bin": 7, "highest_bin": 31, "loss": 5.0},
    "level": {"level": -1.5},
    "masks": {"mask_frame": 11, "mask_frames": 6, "mask_bin": 30, "mask_bins": 4},
    "all": {"snr": 0.0, "codec_snr": 20.0, "lowest_bin": 3, "highest_bin": 33, "loss": 9.0, "level": 2.0}
    | {"equalizer": (-0.5, 0.3, 0.0, 0.4, 0.1)}
    | {"mask_frame": 0, "mask_frames": 3, "mask_bin": 0, "mask_bins": 2},
}


@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_a_view_is_its_plain_reference_from_every_stored_form(effects):
    rng = np.random.default_rng(0)
    speech, noise = (rng.uniform(-12, 2, (frames, 38)).astype(np.float32) for frames in (61, 23))
    forms = list(zip(stored_forms(speech), stored_forms(noise), strict=True))
    assert sorted(form[0][0] for form in forms) == [0, 1, 2, 3, 4, 5]
    views = np.zeros(len(forms), dtype=VIEW)
    for view, ((kind, stored, minimum, step, _), (_, noise_stored, noise_minimum, noise_step, _)) in zip(
        views, forms, strict=True
    ):
        view["speech"], view["speech_kind"], view["speech_frames"] = stored.ctypes.data, kind, 61
        view["speech_start"], view["speech_minimum"], view["speech_step"] = 44, minimum, step
        if "snr" in effects:
            view["noise"], view["noise_kind"], view["noise_frames"] = noise_stored.ctypes.data, kind, 23
            view["noise_start"], view["noise_minimum"], view["noise_step"] = 20, noise_minimum, noise_step
        for name, value in {"codec_snr": np.nan, "highest_bin": 38, **effects}.items():
            view[name] = value
        view["key"] = 77 + kind
    out = np.empty((len(forms), 50, 38), dtype=np.float32)
    render(views, WEIGHTS[:38], DEVIATIONS[:38], NORMALS, FLOOR, out)
    for view, rendered, form in zip(views, out, forms, strict=True):
        (*_, values), (*_, noise_values) = form
        added = noise_values if "snr" in effects else None
        agree(rendered, reference.render_view(view, values, added, 50, WEIGHTS[:38], DEVIATIONS[:38], FLOOR))


@pytest.mark.parametrize("profile", [FbankConfig(sample_scale=32768.0), FbankConfig.of_3dspeaker()])
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_silent_noise_adds_nothing_however_it_is_stored(profile, kind):
    floor = np.float32(floor_of(profile))
    speech = Fbank(profile)(speech_like(1))
    silence = np.full_like(speech, np.log(floor))
    mixed, stored = speech.copy(), quantize(silence, *scale(silence.min(), silence.max(), kind), kind)
    noise = dequantize(stored, *scale(silence.min(), silence.max(), kind))
    mix(mixed, noise, -5.0, WEIGHTS, DEVIATIONS, np.uint64(3), NORMALS, floor)
    assert np.abs(mixed - speech).max() < 1e-5


@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_without_the_phase_term_energies_add_at_the_snr(snr):
    fbank = Fbank(FbankConfig())
    speech, noise = fbank(speech_like(1)), fbank(speech_like(2))
    mixed = run_mix(speech, noise, snr, np.zeros(80, dtype=np.float32))
    added = np.exp(mixed.astype(np.float64)) - np.exp(speech.astype(np.float64))
    obtained = 10 * np.log10((np.exp(speech.astype(np.float64)) @ WEIGHTS).sum() / (added @ WEIGHTS).sum())
    assert abs(obtained - snr) < 0.01


def draw_pairs():
    """Speech-like signals and noises of several colours, 4 s each."""
    colours = ([1, 0.9, 0.6, 0.3], [1, -0.7], [1, 0.5, 0.3, 0.2, 0.1], [1])
    for number in range(12):
        rng = np.random.default_rng(100 + number)
        hiss = np.convolve(rng.standard_normal(64000), colours[number % 4], mode="same")
        envelope = 1 + 0.5 * np.sin(2 * np.pi * 0.7 * np.arange(64000) / 16000 + number)
        noise = hiss * envelope
        yield speech_like(number, 4.0), (NOISE_PEAK / np.abs(noise).max() * noise).astype(np.float32)


@pytest.fixture(scope="module")
def pairs():
    return list(draw_pairs())


@pytest.fixture(scope="module")
def estimated(pairs):
    """The deviation of the phase term, as steps/estimate_cross_term.py takes it, from every other pair."""
    return estimate([Pair(*pair) for pair in pairs[::2]], Fbank(FbankConfig())).astype(np.float32)


@pytest.mark.parametrize("snr", [0.0, 5.0, 10.0, 15.0])
def test_mixing_fbanks_is_distributed_like_mixing_waveforms(pairs, estimated, snr):
    """Against the fbank of the true sum, the difference has no bias, and the spread that independent phases give.

    That spread is measured with a second true mix, whose noise has all phases turned by a quarter.
    """
    fbank = Fbank(FbankConfig())
    ours, others, obtained = [], [], []
    for number, (clean, disturbance) in enumerate(pairs[1::2]):
        gain = np.sqrt((clean**2).sum() / (disturbance**2).sum() * 10 ** (-snr / 10))
        turned = np.imag(hilbert(disturbance))
        true, other = (fbank(clean + np.float32(gain) * noise) for noise in (disturbance, turned))
        speech, noise = fbank(clean), fbank(disturbance)
        ratios = [features_of([one], fbank, Path(".")).power_ratio for one in (clean, disturbance)]  # as stage 2 keeps
        effective = snr - 10 * np.log10(ratios[0] / ratios[1])
        ours.append(run_mix(speech, noise, effective, estimated, key=number) - true)
        others.append(other - true)
        plain = run_mix(speech, noise, effective, np.zeros(80, dtype=np.float32)).astype(np.float64)
        added = (np.exp(plain) - np.exp(speech)).sum() / np.exp(noise.astype(np.float64)).sum()
        obtained.append(10 * np.log10((clean**2).sum() / (added * (disturbance**2).sum())))
    assert abs(np.mean(obtained) - snr) < 0.3
    difference, independent = (10 / np.log(10) * np.concatenate(each) for each in (ours, others))
    for low in range(0, 80, 20):
        group = slice(low, low + 20)
        assert abs(difference[:, group].mean()) < 0.1
        assert 0.85 < difference[:, group].std() / independent[:, group].std() < 1.15


def test_masks_are_filled_with_each_bins_mean():
    crop = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)
    before, means = crop.copy(), crop.mean(axis=0)
    mask(crop, 5, 4, 3, 2)
    np.testing.assert_allclose(crop[5:9], np.broadcast_to(means, (4, 12)), atol=1e-6)
    np.testing.assert_allclose(crop[:, 3:5], np.broadcast_to(means[3:5], (30, 2)), atol=1e-6)
    untouched = np.ones((30, 12), dtype=bool)
    untouched[5:9] = untouched[:, 3:5] = False
    np.testing.assert_array_equal(crop[untouched], before[untouched])
