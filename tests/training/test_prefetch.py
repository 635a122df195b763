import numpy as np
import pytest
import torch

from sdpn.training.prefetch import BatchSampler, Prefetcher
from sdpn.training.ranks import Ranks

CPU = torch.device("cpu")


@pytest.fixture
def prefetcher(tiny, crops):
    """prefetcher(first, last, **settings) -> a Prefetcher over the steps of the tiny training, and its sampler."""

    def make(first, last, ranks=None, **settings):
        views = crops(tiny(), **settings)
        batches = BatchSampler(len(views.index), 6, seed=1)
        return Prefetcher(views, batches, first, last, CPU, ranks), batches

    return make


def test_batches_come_in_the_order_of_the_steps_and_know_where_they_stand(prefetcher):
    prefetched, batches = prefetcher(2, 7)
    with prefetched:
        found = list(prefetched)
    assert [batch.step for batch in found] == [2, 3, 4, 5, 6]
    assert [(batch.epoch, batch.position) for batch in found] == [(0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    for batch in found:
        np.testing.assert_array_equal(batch.utterances, batches.batch(batch.step)[1])
        assert batch.teacher.shape == (1, 6, 24, 20)
        assert batch.student.shape == (2, 6, 12, 20)


def test_ranks_get_the_parts_of_the_batch_that_one_process_would(prefetcher):
    whole, _ = prefetcher(0, 1)
    with whole:
        [expected] = list(whole)
    parts = []
    for number in range(3):
        part, _ = prefetcher(0, 1, ranks=Ranks(number, 3))
        with part:
            parts += list(part)
    assert torch.equal(torch.cat([part.student for part in parts], dim=1), expected.student)
    assert torch.equal(torch.cat([part.teacher for part in parts], dim=1), expected.teacher)
    np.testing.assert_array_equal(parts[2].utterances, expected.utterances)


def test_what_fails_in_the_background_fails_where_the_batch_is_asked_for(prefetcher):
    def fail(epoch, utterances):
        if epoch == 1:
            raise OSError("gone")

    prefetched, _ = prefetcher(0, 9, before=fail)
    with prefetched, pytest.raises(OSError, match="gone"):
        assert [batch.step for batch in prefetched] == [0, 1, 2]


def test_it_may_be_left_at_any_moment(prefetcher):
    prefetched, _ = prefetcher(0, 1000)
    with prefetched:
        next(iter(prefetched))
    assert not prefetched._thread.is_alive()
