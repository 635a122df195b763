import numpy as np
import pytest

from sdpn.features.cmvn import sliding_mean, utterance_statistics
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import FeatureIndex
from tests.features.conftest import load_tone


def apply_cmvn_sliding(matrix, window):
    """Kaldi's SlidingWindowCmn with --center=true and --norm-vars=false, frame by frame, from its source's rules."""
    count = len(matrix)
    out = np.empty_like(matrix)
    for t in range(count):
        start, end = t - window // 2, t - window // 2 + window
        if start < 0:
            end -= start
            start = 0
        if end > count:
            start -= end - count
            end = count
            start = max(start, 0)
        out[t] = matrix[t] - matrix[start:end].mean(axis=0)
    return out


@pytest.mark.parametrize("window", [1, 2, 30, 31, 99, 100, 101, 300])
def test_the_sliding_mean_is_kaldis(window):
    matrix = np.random.default_rng(0).normal(-5, 2, (100, 4))
    expected = apply_cmvn_sliding(matrix, window)
    for start, stop in ((0, 100), (0, 10), (40, 60), (95, 100)):
        mean = sliding_mean(lambda a, b: matrix[a:b], 100, start, stop, window)
        np.testing.assert_allclose(matrix[start:stop] - mean, expected[start:stop], atol=1e-9)


def test_statistics_of_an_utterance():
    matrix = np.random.default_rng(0).normal(-5, 2, (100, 4))
    mean, deviation = utterance_statistics(lambda a, b: matrix[a:b], 100, at_once=7)
    np.testing.assert_allclose(mean, matrix.mean(axis=0))
    np.testing.assert_allclose(deviation, matrix.std(axis=0))


@pytest.mark.parametrize("cmvn", ["mean", "mean-variance", "sliding"])
def test_the_cache_holds_what_is_normalized(make_cache, tones, cmvn):
    config = FbankConfig(cmvn=cmvn, cmvn_window=20, compress="none")
    index = FeatureIndex.open(make_cache(config))
    matrix = Fbank(config)(load_tone(tones[0])).astype(np.float64)
    expected = {
        "mean": matrix - matrix.mean(axis=0),
        "mean-variance": (matrix - matrix.mean(axis=0)) / matrix.std(axis=0),
        "sliding": apply_cmvn_sliding(matrix, 20),
    }
    np.testing.assert_allclose(index.read(0), expected[cmvn], atol=1e-4)
