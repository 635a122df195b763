import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from sdpn.augment.banks import open_banks, warn_of_other_settings
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.augment.make import make_banks
from sdpn.augment.sampling import make_sampler
from sdpn.augment.sources import reverberate
from sdpn.augment.waveform import add_at_snr, convolve
from sdpn.config import read
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import FeatureIndex, open_features
from sdpn.features.sets import make_set
from sdpn.files import write_jsonl_gz
from sdpn.shards import Work
from tests.features.conftest import Tone, load_tone, run_here

SIZES = {"teacher_frames": 60, "student_frames": 40, "student_views": 6}
CONFIG = AugmentConfig(augment="waveform", babble_clips=3, babble_seconds=1.0)
CLEAN = {"p_clean": 1.0, "p_both": 0.0, "p_mask": 0.0}
REVERB = {"p_clean": 0.0, "p_both": 0.0, "p_reverb_of_one": 1.0, "p_mask": 0.0}
NOISE = {"p_clean": 0.0, "p_both": 0.0, "p_reverb_of_one": 0.0, "p_mask": 0.0}


def write_set(folder, name, samples):
    cuts = []
    for utterance, one in samples.items():
        soundfile.write(folder / f"{utterance}.wav", one, 16000, subtype="FLOAT")
        cut = Recording.from_file(folder / f"{utterance}.wav").to_cut()
        cut.id = utterance
        cuts.append(cut.to_dict())
    write_jsonl_gz(folder / name / "cuts.jsonl.gz", cuts)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    speech = {f"utt{i}": load_tone(Tone(f"utt{i}", 5000 + 9000 * i)) for i in range(4)}
    rir = np.r_[np.zeros(20), 0.9, 0.05 * rng.standard_normal(1500) * np.exp(-np.arange(1500) / 300)]
    write_set(data, "train", speech)
    write_set(data, "noise", {"hiss": (0.1 * rng.standard_normal(12000)).astype(np.float32)})
    write_set(data, "rir", {"room": rir.astype(np.float32)})
    make_set(data / "train", FbankConfig(compress="none"), run_here)
    corpus = Corpus("tiny", "train", [], {}, {"noise": "noise"}, "rir")
    make_banks(data, corpus, CONFIG, 1, run_here)
    return data, corpus, speech, rir.astype(np.float32)


def test_settings_that_have_changed_since_stage_3_are_named(prepared, tmp_path, capsys):
    """Those that the file names: what it leaves out may have come from stage 3's command line."""
    file = tmp_path / "augment.yaml"
    for text in ("", "p_mask: 0.5\n", "babble_clips: 3\nbabble_talkers: [3, 7]\n"):
        file.write_text(text)
        warn_of_other_settings(prepared[0], file, read(file, AugmentConfig, {"augment": "waveform"}))
    assert capsys.readouterr().err == ""
    file.write_text('babble_clips: 4\nspeeds: "0.9, 1.0"\nbabble_talkers: [3, 8]\n')
    warn_of_other_settings(prepared[0], file, read(file, AugmentConfig, {"augment": "waveform"}))
    assert capsys.readouterr().err == (
        f"warning: {prepared[0]}/augment was made with other settings than {file} has: "
        "speeds was '1.0', is '0.9, 1.0'; babble_clips was 3, is 4; babble_talkers was [3, 7], is [3, 8]: "
        "run stage 3 again to have them\n"
    )
    warn_of_other_settings(prepared[0], file, read(file, AugmentConfig, {"augment": "off"}))
    warn_of_other_settings(tmp_path, file, read(file, AugmentConfig))
    assert capsys.readouterr().err == ""


def sampler(prepared, **config):
    index = open_features(prepared[0] / "train")
    view_config = ViewConfig(augment="waveform", **{"p_equalize": 0.0, "p_band_limit": 0.0, **config})
    return make_sampler(index, open_banks(prepared[0], index, "waveform"), view_config, 1, **SIZES)


def test_clean_views_are_the_fbank_of_what_is_cut_out(prepared):
    one = sampler(prepared, **CLEAN)
    rows = np.arange(4)
    views = one.views(0, rows).student
    for (view, column), record in np.ndenumerate(one.student_plan(0, rows).views):
        start = record["speech_start"]
        cut = np.take(prepared[2][f"utt{column}"], np.arange(start, start + one._length(40)), mode="wrap")
        expected = Fbank(FbankConfig())(cut)[:40]
        assert np.abs(np.exp(views[view, column]) - np.exp(expected)).max() < 1e-3 * np.exp(expected).max()


def test_reverberated_views_are_cut_from_the_reverberated_utterance(prepared):
    one = sampler(prepared, **REVERB)
    plan = one.student_plan(0, np.array([3]))
    views = one.views(0, np.array([3])).student[:, 0]
    wet = reverberate(prepared[2]["utt3"], prepared[3])
    assert (plan.rooms == 0).all()
    for view, record in zip(views, plan.views[:, 0], strict=True):
        start = record["speech_start"]
        expected = Fbank(FbankConfig())(wet[start : start + one._length(40)])[:40]
        loud = expected[3:-3] > expected.max() - 8  # where 16 bits say enough
        difference = (view[3:-3] - expected[3:-3])[loud]
        assert np.abs(difference - np.median(difference)).max() < 0.02  # but for the crop's level, which is kept


def test_a_room_longer_than_the_limit_is_cut_off_there(prepared, tmp_path):
    write_set(tmp_path, "train", prepared[2])
    write_set(tmp_path, "rir", {"room": prepared[3]})
    make_set(tmp_path / "train", FbankConfig(), run_here)
    corpus = Corpus("tiny", "train", [], {}, {}, "rir")
    config = AugmentConfig(augment="waveform", babble_clips=0, max_rir_seconds=0.02)
    make_banks(tmp_path, corpus, config, 1, run_here)
    index = open_features(tmp_path / "train")
    one = make_sampler(index, open_banks(tmp_path, index, "waveform"), ViewConfig(augment="waveform"), 1, **SIZES)
    np.testing.assert_allclose(one._room(0)[0], prepared[3][:320], atol=1e-4)


@pytest.mark.parametrize("snr", [0.0, 13.0])
def test_noise_is_added_at_the_snr(snr):
    rng = np.random.default_rng(0)
    speech, noise = rng.standard_normal((2, 8000)).astype(np.float32)
    mixed = speech.copy()
    add_at_snr(mixed, noise * 7, snr)
    added = mixed - speech
    assert abs(10 * np.log10((speech**2).sum() / (added**2).sum()) - snr) < 0.01


def test_convolution_is_numpys():
    rng = np.random.default_rng(0)
    samples, rir = rng.standard_normal(3001).astype(np.float32), rng.standard_normal(333).astype(np.float32)
    np.testing.assert_allclose(convolve(samples, rir), np.convolve(samples, rir), atol=1e-3)


def test_views_depend_on_seed_epoch_utterance_and_view_alone(prepared):
    one = sampler(prepared, p_mask=0.5)
    whole = one.views(2, np.arange(4))
    assert np.isfinite(whole.student).all()
    parts = [sampler(prepared, p_mask=0.5).views(2, np.array([row])).student for row in range(4)]
    np.testing.assert_array_equal(whole.student, np.concatenate(parts, axis=1))
    one._threads = 3
    np.testing.assert_array_equal(one.views(2, np.arange(4)).student, whole.student)
    assert not np.array_equal(one.views(3, np.arange(4)).student, whole.student)


def test_an_equalizer_raises_and_lowers_bins_as_it_does_in_cached_fbank(prepared):
    plain, equalized = (sampler(prepared, **NOISE, p_equalize=share) for share in (0.0, 1.0))
    weights = equalized.student_plan(0, np.arange(4)).views["equalizer"].astype(np.float64)
    angles = np.pi * (np.arange(80) + 0.5) / 80
    curves = weights @ np.array([np.cos(order * angles) for order in range(1, 6)])
    difference = equalized.views(0, np.arange(4)).student - plain.views(0, np.arange(4)).student
    np.testing.assert_allclose(difference, np.broadcast_to(curves[:, :, None], difference.shape), atol=1e-4)


def test_what_stage_2_normalizes_is_normalized_in_views(prepared):
    one = sampler(prepared, **CLEAN)
    for cmvn in ("mean", "mean-variance"):
        object.__setattr__(one.index.config, "cmvn", cmvn)
        views = one.views(0, np.arange(4)).student
        np.testing.assert_allclose(views.mean(axis=2), 0, atol=1e-4)
        if cmvn == "mean-variance":
            np.testing.assert_allclose(views.std(axis=2), 1, atol=1e-3)


def test_a_mode_other_than_stage_3s_is_refused_and_off_needs_none(prepared, tmp_path):
    index = open_features(prepared[0] / "train")
    with pytest.raises(SdpnError, match="was made with --augment waveform: run stage 3 with --augment mel"):
        open_banks(prepared[0], index, "mel")
    off = make_sampler(index, open_banks(tmp_path, index, "off"), ViewConfig(augment="off"), 1, **SIZES)
    whole = {frame.tobytes() for row in range(4) for frame in index.read(row)}
    assert all(frame.tobytes() in whole for frame in off.views(0, np.arange(4)).student.reshape(-1, 80))


def test_a_second_run_of_stage_3_with_other_options_stops_before_it_touches_a_bank(prepared, tmp_path):
    data, corpus, *_ = prepared
    shutil.copytree(data, tmp_path / "data")
    folder = tmp_path / "data" / "augment"
    other = dataclasses.replace(CONFIG, augment="mel", babble_clips=2)
    before = sorted(path.name for path in folder.iterdir())

    def run(function, jobs):  # while a bank of the first run is made, the second one comes
        with pytest.raises(SdpnError, match=r"augment .*: wait for it or stop it first"):
            make_banks(tmp_path / "data", corpus, other, 1, run_here)
        return run_here(function, jobs)

    make_banks(tmp_path / "data", corpus, dataclasses.replace(CONFIG, babble_clips=4), 1, run)
    index = open_features(tmp_path / "data" / "train")
    banks = open_banks(tmp_path / "data", index, "waveform")
    assert len(banks.noises["babble"]) == 4
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_empty_bank_is_a_sentence(prepared, tmp_path):
    data, corpus, *_ = prepared
    shutil.copytree(data, tmp_path / "data")
    write_jsonl_gz(tmp_path / "data" / "noise" / "cuts.jsonl.gz", [])
    with pytest.raises(SdpnError, match="augment/noise: there is nothing to make features of: the set is empty"):
        make_banks(tmp_path / "data", corpus, CONFIG, 1, run_here)


def test_a_second_run_of_stage_3_makes_nothing(prepared, capsys):
    make_banks(*prepared[:2], CONFIG, 1, run_here)
    printed = capsys.readouterr().out
    assert printed.count("nothing to do") == 4 and "made again" not in printed


def test_a_second_run_of_stage_3_records_settings_that_an_older_version_did_not(prepared, tmp_path):
    shutil.copytree(prepared[0], tmp_path / "data")
    stage_3 = Work.finished(tmp_path / "data" / "augment", "augment")
    settings = stage_3.report()["settings"]
    outputs = list(stage_3.directory.glob("*/index/index.json"))
    stage_3.finish(outputs, **{name: told for name, told in stage_3.report().items() if name != "settings"})
    make_banks(tmp_path / "data", prepared[1], CONFIG, 1, run_here)
    assert stage_3.report()["settings"] == settings
    assert settings["babble_clips"] == 3


@pytest.mark.parametrize(
    ("fbank", "mode", "sentence"),
    [
        ({"cmvn": "mean"}, "mel", "is cached with cmvn mean, and noise can only be added"),
        ({"vad": "energy"}, "waveform", "is cached with vad energy, which the views of --augment waveform would lack"),
    ],
)
def test_features_that_a_mode_cannot_augment_are_refused(prepared, tmp_path, fbank, mode, sentence):
    write_set(tmp_path, "train", prepared[2])
    make_set(tmp_path / "train", FbankConfig(**fbank), run_here)
    with pytest.raises(SdpnError, match=sentence):
        make_banks(tmp_path, Corpus("tiny", "train", [], {}), AugmentConfig(augment=mode), 1, run_here)


@pytest.mark.parametrize("speeds", ["0.9,1.0", "1.1"])
@pytest.mark.parametrize("mode", ["mel", "waveform"])
def test_other_speeds_are_copies_of_their_own(prepared, tmp_path, mode, speeds):
    write_set(tmp_path, "train", prepared[2])
    write_set(tmp_path, "rir", {"room": prepared[3]})
    make_set(tmp_path / "train", FbankConfig(), run_here)
    config = AugmentConfig(augment=mode, speeds=speeds, babble_clips=0)
    make_banks(tmp_path, Corpus("tiny", "train", [], {}, {}, "rir"), config, 1, run_here)
    index = open_features(tmp_path / "train")
    banks = open_banks(tmp_path, index, mode)
    assert sorted(speed.factor for speed in banks.speeds) == sorted(map(float, speeds.split(",")))
    other = banks.speeds[-1]
    ratio = other.clean.index.frames[other.clean.rows] / index.frames
    if mode == "waveform":
        ratio = ratio / 160
    np.testing.assert_allclose(ratio, 1 / other.factor, rtol=0.05)
    views = make_sampler(index, banks, config, 1, **SIZES).views(0, np.arange(4))
    assert np.isfinite(views.student).all() and np.isfinite(views.teacher).all()


def test_audio_that_cannot_be_used_is_said(prepared, tmp_path):
    write_set(tmp_path, "train", prepared[2])
    make_set(tmp_path / "train", FbankConfig(), run_here)
    config = AugmentConfig(augment="waveform", babble_clips=0)
    corpus = Corpus("tiny", "train", [], {})
    soundfile.write(tmp_path / "utt1.wav", np.zeros(14000), 16000, subtype="FLOAT")
    make_banks(tmp_path, corpus, config, 1, run_here)
    assert "utt1\tit is silent" in (tmp_path / "augment" / "audio" / "skipped_fbank.txt").read_text()
    with pytest.raises(SdpnError, match="audio lacks 1 utterances of"):
        open_banks(tmp_path, FeatureIndex.open(tmp_path / "train"), "waveform")
