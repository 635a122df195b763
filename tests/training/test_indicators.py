import numpy as np
import pytest
import torch

from sdpn.training.indicators import (
    Usage,
    agreement,
    effective_rank,
    entropy,
    living_dimensions,
    neighbour_distance,
)

CPU = torch.device("cpu")


def chosen(*prototypes):
    """Assignments of one utterance to each of the prototypes, of 4."""
    return torch.eye(4)[list(prototypes)]


def test_prototypes_in_use_are_those_chosen_within_the_window():
    usage = Usage(prototypes=4, window=3, device=CPU)
    usage.update(chosen(0, 1))
    assert usage.in_use() == 2
    usage.update(chosen(2, 2))
    assert usage.in_use() == 2  # 1, 2, 2
    usage.update(chosen(3, 3, 3, 3))
    assert usage.in_use() == 1


def test_perplexity_is_the_number_of_equally_used_prototypes():
    usage = Usage(prototypes=4, window=100, device=CPU)
    usage.update(chosen(0, 1))
    usage.update(chosen(2, 2, 0, 1, 2, 0))
    p = np.array([3, 2, 3]) / 8
    np.testing.assert_allclose(usage.perplexity(), np.exp(-(p * np.log(p)).sum()), rtol=1e-6)


def test_usage_goes_on_from_its_state():
    first, second = (Usage(prototypes=4, window=5, device=CPU) for _ in range(2))
    first.update(chosen(0, 1, 2))
    second.load_state_dict(first.state_dict())
    for usage in (first, second):
        usage.update(chosen(3, 3, 3, 3))
    assert first.in_use() == second.in_use() == 2
    assert first.perplexity() == second.perplexity()


def test_usage_takes_the_latest_of_a_longer_window():
    longer, shorter = Usage(prototypes=4, window=5, device=CPU), Usage(prototypes=4, window=2, device=CPU)
    longer.update(chosen(0, 0, 1, 1, 2))
    longer.update(chosen(3))
    shorter.load_state_dict(longer.state_dict())
    assert sorted(shorter.chosen.tolist()) == [2, 3]
    shorter.update(chosen(1))
    assert sorted(shorter.chosen.tolist()) == [1, 3]


def test_entropy_is_the_mean_over_rows():
    q = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(entropy(q), np.log(2) / 2, rtol=1e-6)


def test_neighbour_distance_is_that_on_the_unit_sphere():
    x = np.random.default_rng(0).standard_normal((6, 4))
    points = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.mean(
        [min(np.linalg.norm(a - b) for j, b in enumerate(points) if j != i) for i, a in enumerate(points)]
    )
    np.testing.assert_allclose(neighbour_distance(torch.from_numpy(x)), expected, rtol=1e-5)


def test_effective_rank_counts_equal_directions():
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-5)


def test_living_dimensions_are_those_that_vary():
    points = torch.tensor([[0.1, 1.0, 2.0], [0.1, 3.0, 2.0], [0.1, 2.0, 2.00001]])
    assert living_dimensions(points) == pytest.approx(1 / 3)


def test_agreement_is_the_share_of_views_that_choose_their_target():
    targets = torch.eye(3)[[0, 1]]
    log_p = torch.log(torch.eye(3)[torch.tensor([[0, 2], [0, 1]])] + 0.01)
    assert agreement(log_p, targets) == 0.75
