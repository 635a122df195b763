from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import soxr
import torch
import yaml

from sdpn.cluster.pool import run_jobs
from sdpn.errors import SdpnError
from sdpn.extraction import embedder
from sdpn.extraction.embedder import Embedder, cut_into_windows, embed_all
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.storage import Matrix
from sdpn.models.folder import CHECKSUMS, read_model
from tests.voices import RATE, voice, write_small_model, write_voice


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def small(model):
    return Embedder(model)


def by_hand(model, samples):
    """The embedding step by step: fbank of the whole, then the network."""
    encoder, config = read_model(model)
    features = Fbank(FbankConfig(**config["features"]))(samples)
    with torch.inference_mode():
        return encoder(torch.from_numpy(features[None]))[0].numpy()


def test_samples_are_embedded_as_fbank_and_network_say(small, model):
    samples = voice(1, 0)
    found = small.embed(samples, RATE)
    assert found.dtype == np.float32 and found.shape == (small.dimension,) == (12,)
    np.testing.assert_allclose(found, by_hand(model, samples), rtol=0, atol=1e-5)


def test_a_file_is_embedded_as_its_samples_are(small, tmp_path):
    path = write_voice(tmp_path / "a.wav", 1, 0, subtype="FLOAT")
    for given in (path, str(path)):
        np.testing.assert_allclose(small.embed(given), small.embed(voice(1, 0), RATE), rtol=0, atol=1e-5)


def test_integers_have_their_full_scale_at_32768(small):
    samples = np.round(voice(1, 0) * 32768).astype(np.int16)
    expected = small.embed(samples.astype(np.float32) / 32768, RATE)
    np.testing.assert_allclose(small.embed(samples, RATE), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_another_sampling_rate_is_resampled(small, tmp_path, rate):
    samples = voice(2, 0, rate=rate)
    expected = small.embed(soxr.resample(samples, rate, RATE, quality="HQ"), RATE)
    np.testing.assert_allclose(small.embed(samples, rate), expected, rtol=0, atol=1e-5)
    path = write_voice(tmp_path / "a.wav", 2, 0, rate=rate, subtype="FLOAT")
    np.testing.assert_allclose(small.embed(path), expected, rtol=0, atol=2e-3)


def test_the_first_of_several_channels_counts(small, tmp_path):
    both = np.stack((voice(1, 0), voice(2, 0)), axis=1)
    soundfile.write(tmp_path / "two.wav", both, RATE, subtype="FLOAT")
    np.testing.assert_allclose(small.embed(tmp_path / "two.wav"), small.embed(voice(1, 0), RATE), rtol=0, atol=1e-5)


def test_a_long_recording_is_the_mean_of_its_windows_weighted_by_duration(model):
    samples = voice(3, 0, seconds=5)
    features = Fbank(FbankConfig())(samples)
    found = Embedder(model, max_frames=240).embed(samples, RATE)
    encoder, _ = read_model(model)
    edges = [0, 166, 333, 500]
    with torch.inference_mode():
        parts = [encoder(torch.from_numpy(features[None, a:b]))[0].numpy() for a, b in pairwise(edges)]
    np.testing.assert_allclose(found, np.average(parts, axis=0, weights=np.diff(edges)), rtol=0, atol=1e-5)


def test_windows_of_a_matrix_in_blocks_are_those_of_the_whole():
    rows = np.arange(230, dtype=np.float32)[:, None]
    blocks = [rows[a:b] for a, b in ((0, 7), (7, 100), (100, 101), (101, 230))]
    found = list(cut_into_windows(Matrix(230, 0, 229, blocks), 60))
    assert [len(window) for window in found] == [57, 58, 57, 58]
    np.testing.assert_array_equal(np.concatenate(found), rows)


def test_many_files_come_out_in_their_order_and_a_broken_one_stops_none(small, tmp_path, monkeypatch):
    monkeypatch.setattr(embedder, "_FRAMES_AT_ONCE", 400)
    monkeypatch.setattr(small.extractor, "max_frames", 300)
    seconds = [1.5, 1.0, 4.0, 0.7, 2.0, 1.5]
    paths = [write_voice(tmp_path / f"{i}.flac", i, 0, seconds=s) for i, s in enumerate(seconds)]
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), RATE)
    given = [*paths[:2], tmp_path / "broken.wav", *paths[2:5], tmp_path / "silent.wav", paths[5]]
    found = list(small.embed_files(given))
    for path, one in zip(given, found, strict=True):
        if path.stem in ("broken", "silent"):
            assert one.vector is None and one.reason.startswith(f"{path}: ")
        else:
            np.testing.assert_allclose(one.vector, small.embed(path), rtol=0, atol=1e-5)
            assert one.num_frames == round(100 * seconds[int(path.stem)])


def test_jobs_change_nothing_but_the_time(model, tmp_path, monkeypatch):
    monkeypatch.setattr(embedder, "_FILES_PER_JOB", 2)
    paths = [str(write_voice(tmp_path / f"{i}.wav", i, 0)) for i in range(5)]
    one, two = (embed_all(model, paths, partial(run_jobs, nj=nj)) for nj in (1, 2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first.vector, second.vector, rtol=0, atol=1e-5)


def test_tensors_and_lists_are_embedded_as_arrays_are(small, tmp_path):
    samples = [voice(speaker, 1, seconds=1 + speaker / 2) for speaker in range(3)]
    soundfile.write(tmp_path / "file.wav", samples[2], RATE, subtype="FLOAT")
    expected = [small.embed(one, RATE) for one in samples]
    np.testing.assert_array_equal(small.embed(torch.from_numpy(samples[0]), RATE), expected[0])
    given = [samples[0], torch.from_numpy(samples[1]), tmp_path / "file.wav"]
    np.testing.assert_allclose(small.embed(given, RATE), expected, rtol=0, atol=1e-5)
    assert small.embed([]).shape == (0, small.dimension)


def test_several_threads_get_what_one_gets(small):
    samples = [voice(speaker, 1, seconds=1 + speaker / 4) for speaker in range(6)]
    expected = [small.embed(one, RATE) for one in samples]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: small.embed(one, RATE), samples * 3))
    np.testing.assert_allclose(found, expected * 3, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("audio", "rate", "sentence"),
    [
        (np.zeros(16000, np.float32), 16000, "it is silent"),
        (np.ones(100, np.float32), 16000, "frame"),
        (np.zeros((2, 16000), np.float32), 16000, "expected .* got shape"),
        (np.zeros(16000, np.int32), 16000, "taken as int16"),
        (np.zeros(16000, np.float32), None, "need their sampling rate"),
        (np.full(16000, np.nan, np.float32), 16000, "NaN"),
        ("nowhere.wav", None, "nowhere.wav: no such file"),
        (3, None, "expected a file, samples .* got int"),
        ([voice(0, 0), None], 16000, "recording 1 of the list: .* got NoneType"),
    ],
)
def test_what_cannot_be_embedded_is_a_sentence(small, audio, rate, sentence):
    with pytest.raises(SdpnError, match=sentence):
        small.embed(audio, rate)


def test_settings_of_features_that_are_none_are_a_sentence(tmp_path):
    write_small_model(tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["features"]["windows"] = 3
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / CHECKSUMS).unlink()
    with pytest.raises(SdpnError, match="its features cannot be computed"):
        Embedder(tmp_path)


def test_statistics_of_the_fbank_stand_beside_the_x_vector_whatever_the_windows(model):
    samples = voice(1, 1, seconds=5.0)
    plain, whole = Embedder(model).embed(samples, RATE), Embedder(model, statistics=True)
    features = whole.fbank(samples).astype(np.float64)
    expected = np.concatenate((plain, features.mean(axis=0), features.std(axis=0)))
    assert whole.dimension == len(expected)
    np.testing.assert_allclose(whole.embed(samples, RATE), expected, rtol=0, atol=2e-2)
    in_windows = Embedder(model, max_frames=130, statistics=True).embed(samples, RATE)
    np.testing.assert_allclose(in_windows[len(plain) :], whole.embed(samples, RATE)[len(plain) :], rtol=0, atol=1e-4)
