import numpy as np
from scipy import stats

from sdpn.augment.random import NORMALS, bits, uniforms, view_key, view_keys

MASK = 2**64 - 1


def splitmix64(state, count):
    """The published generator, step by step in Python's integers."""
    drawn = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        word = state
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        drawn.append(word ^ (word >> 31))
    return drawn


def test_the_stream_is_splitmix64s():
    key = 0xDEADBEEF12345678
    assert [int(bits(np.uint64(key), np.uint64(i))) for i in range(50)] == splitmix64(key, 50)


def test_uniforms_are_uniform_on_the_unit_interval():
    drawn = uniforms(view_keys(1, 0, np.arange(2000, dtype=np.uint64), 0, 1)[0], 20)
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_every_part_of_the_key_counts():
    keys = {
        int(view_key(seed, epoch, utt, view))
        for seed in (1, 2)
        for epoch in (0, 1)
        for utt in (5, 6)
        for view in (0, 1)
    }
    assert len(keys) == 16


def test_the_table_of_normals_is_standard_normal():
    assert abs(NORMALS.mean()) < 1e-6
    assert abs(NORMALS.std() - 1) < 1e-6
    assert abs(stats.kurtosis(NORMALS)) < 0.03
