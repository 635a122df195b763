from itertools import pairwise

import numpy as np
import pytest
import torch

from sdpn.extraction.extractor import Extractor, Held, Window, batches_of, crops_of, fbank_statistics, windows_of

CPU = torch.device("cpu")


def alone(encoder, features):
    with torch.inference_mode():
        return encoder(torch.from_numpy(features[None])).numpy()[0]


def test_batches_give_the_x_vectors_that_the_utterances_have_alone(encoder, index):
    utterances = [7, 3, 12, 0, 5]
    found = Extractor(encoder, CPU, batch_frames=200).extract(index, utterances)
    expected = [alone(encoder, index.read(utterance)) for utterance in utterances]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_an_utterance_longer_than_the_limit_is_the_mean_of_its_windows_weighted_by_duration(encoder, index):
    assert index.frames[6] == 90
    found = Extractor(encoder, CPU, max_frames=26).extract(index, [6])
    edges = [0, 22, 45, 67, 90]
    vectors = [alone(encoder, index.read(6, start, stop)) for start, stop in pairwise(edges)]
    expected = np.average(vectors, axis=0, weights=np.diff(edges))
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("count", "starts"), [(1, [35]), (3, [0, 35, 70]), (4, [0, 23, 46, 70])])
def test_crops_are_spread_evenly_and_their_mean_is_the_x_vector(encoder, index, count, starts):
    assert index.frames[6] == 90
    assert [window.start for window in crops_of(6, 90, count, 20)] == starts
    found = Extractor(encoder, CPU, crops=count, crop_frames=20).extract(index, [6])
    expected = np.mean([alone(encoder, index.read(6, start, start + 20)) for start in starts], axis=0)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


def test_an_utterance_shorter_than_a_crop_is_embedded_whole(encoder, index):
    found = Extractor(encoder, CPU, crops=5, crop_frames=100).extract(index, [6])
    np.testing.assert_allclose(found[0], alone(encoder, index.read(6)), rtol=0, atol=1e-5)


def test_features_in_memory_are_embedded_as_those_on_disk(encoder, index):
    held = Held([index.read(3), index.read(6)])
    expected = Extractor(encoder, CPU).extract(index, [3, 6])
    np.testing.assert_array_equal(Extractor(encoder, CPU).extract(held, [0, 1]), expected)


@pytest.mark.parametrize(("frames", "limit", "lengths"), [(100, 100, [100]), (101, 100, [50, 51]), (300, 90, [75] * 4)])
def test_windows_are_as_few_and_as_equal_as_can_be(frames, limit, lengths):
    windows = windows_of(4, frames, limit)
    assert [window.frames for window in windows] == lengths
    assert [window.start for window in windows] == np.cumsum([0, *lengths[:-1]]).tolist()
    assert windows[-1].stop == frames


def test_batches_hold_all_windows_and_no_more_frames_than_allowed():
    windows = [Window(number, 0, frames) for number, frames in enumerate([90, 10, 400, 33, 34, 35, 10])]
    batches = list(batches_of(windows, batch_frames=150))
    assert sorted(window.utterance for batch in batches for window in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(window.frames for window in batch) <= 150


def test_fbank_statistics_are_mean_and_deviation_over_frames(index):
    features = index.read(3).astype(np.float64)
    expected = np.concatenate([features.mean(axis=0), features.std(axis=0)])
    np.testing.assert_allclose(fbank_statistics(index, [3])[0], expected, rtol=1e-6)
