import numpy as np
import pytest

from sdpn.training.prefetch import BatchSampler


def test_an_epoch_sees_no_utterance_twice_and_leaves_out_what_fills_no_batch():
    sampler = BatchSampler(num_utterances=23, batch_size=5, seed=0)
    assert sampler.steps_per_epoch == 4
    seen = np.concatenate([sampler.batch(step)[1] for step in range(4)])
    assert len(set(seen.tolist())) == 20
    assert seen.min() >= 0
    assert seen.max() < 23


def test_a_batch_follows_from_seed_and_step_alone():
    first, second = (BatchSampler(23, 5, seed=7) for _ in range(2))
    for step in (9, 0, 5):
        epoch, utterances = first.batch(step)
        assert epoch == step // 4
        np.testing.assert_array_equal(second.batch(step)[1], utterances)


def test_epochs_and_seeds_have_orders_of_their_own():
    sampler = BatchSampler(50, 50, seed=0)
    orders = [sampler.batch(0)[1], sampler.batch(1)[1], BatchSampler(50, 50, seed=1).batch(0)[1]]
    assert len({tuple(order.tolist()) for order in orders}) == 3


@pytest.mark.filterwarnings("error")
def test_orders_of_small_and_large_seeds():
    for seed in (0, 1, 12345, 2**53 + 1, 2**63 - 1):
        expected = np.random.Generator(np.random.Philox(key=[seed, 3])).permutation(50)
        np.testing.assert_array_equal(BatchSampler(50, 50, seed).batch(3)[1], expected)
    assert len(set(BatchSampler(50, 50, seed=2**64 - 1).batch(3)[1].tolist())) == 50
    expected = [4, 17, 2, 14, 15, 9, 1, 5, 7, 18, 11, 10, 0, 12, 19, 6, 3, 16, 8, 13]
    assert BatchSampler(20, 20, seed=7).batch(2)[1].tolist() == expected
