"""The losses against numpy in float64, written from the formulas, and their gradients against finite differences."""

import numpy as np
import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.training.losses import assignment_loss, dimension_loss, diversity_loss, mean_entropy_loss


@pytest.fixture
def random():
    return np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_p_of(logits):
    return torch.log_softmax(torch.from_numpy(logits), dim=-1)


def test_assignment_loss_is_the_mean_cross_entropy(random):
    logits, q = random.standard_normal((4, 5, 7)) * 10, softmax(random.standard_normal((5, 7)) * 5)
    expected = np.mean([-(q[i] * np.log(softmax(logits[v, i]))).sum() for v in range(4) for i in range(5)])
    np.testing.assert_allclose(assignment_loss(log_p_of(logits), torch.from_numpy(q)), expected)


def test_assignment_loss_is_finite_where_probabilities_underflow():
    log_p = torch.log_softmax(torch.tensor([[[0.0, 1000.0]]]), dim=2)
    assert assignment_loss(log_p, torch.tensor([[1.0, 0.0]])) == 1000


def test_mean_entropy_loss_is_the_distance_of_the_mean_assignments_entropy_from_log_k(random):
    logits = random.standard_normal((4, 5, 7)) * 3
    mean = softmax(logits).mean(axis=(0, 1))
    expected = np.log(7) + (mean * np.log(mean)).sum()
    np.testing.assert_allclose(mean_entropy_loss(log_p_of(logits)), expected)


def test_mean_entropy_loss_is_zero_for_equal_use_and_log_k_for_one_prototype():
    equal = torch.log_softmax(1000 * torch.eye(6).unsqueeze(0), dim=2)
    one = torch.log_softmax(1000 * torch.eye(6)[:1].expand(1, 9, 6), dim=2)
    assert mean_entropy_loss(equal).abs() < 1e-6
    np.testing.assert_allclose(mean_entropy_loss(one), np.log(6), rtol=1e-6)


def test_diversity_loss_is_the_mean_log_distance_to_the_nearest_neighbour_of_the_view(random):
    embeddings = random.standard_normal((3, 6, 4)) * [[[1.0]], [[5.0]], [[0.1]]]
    expected = 0.0
    for view in embeddings:
        points = view / np.linalg.norm(view, axis=1, keepdims=True)
        nearest = [
            min(np.linalg.norm(p - other) for j, other in enumerate(points) if j != i) for i, p in enumerate(points)
        ]
        expected -= np.mean(np.log(nearest))
    np.testing.assert_allclose(diversity_loss(torch.from_numpy(embeddings)), expected, rtol=1e-6)


def test_diversity_loss_is_finite_for_equal_embeddings():
    embeddings = torch.ones(1, 3, 4, requires_grad=True)
    loss = diversity_loss(embeddings)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()


def correlation(points):
    n = np.sqrt((points**2).sum(axis=0))
    return (points.T @ points) / np.outer(n, n)


def test_frobenius_dimension_loss_is_the_log_norm_of_the_uncentred_correlations(random):
    points = random.standard_normal((9, 5)) + 1
    expected = np.log(np.linalg.norm(correlation(points), "fro"))
    np.testing.assert_allclose(dimension_loss(torch.from_numpy(points), "frobenius"), expected)


def test_off_diagonal_dimension_loss_is_the_sum_of_squared_correlations_over_the_dimensions(random):
    points = random.standard_normal((9, 5)) + 1
    R = correlation(points)
    expected = sum(R[a, b] ** 2 for a in range(5) for b in range(5) if a != b) / 5
    np.testing.assert_allclose(dimension_loss(torch.from_numpy(points), "off_diagonal"), expected)


@pytest.mark.parametrize("norm", ["frobenius", "off_diagonal"])
def test_dimension_loss_is_finite_with_a_dead_dimension(norm, random):
    points = torch.from_numpy(random.standard_normal((9, 5))).requires_grad_()
    (dimension_loss(points * torch.tensor([1, 1, 0, 1, 1]), norm)).backward()
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: assignment_loss(torch.log_softmax(x, dim=2), torch.eye(5)[:4].double()),
        lambda x: mean_entropy_loss(torch.log_softmax(x, dim=2)),
        lambda x: diversity_loss(x),
        lambda x: dimension_loss(x.flatten(0, 1), "frobenius"),
        lambda x: dimension_loss(x.flatten(0, 1), "off_diagonal"),
    ],
    ids=["assignment", "mean entropy", "diversity", "frobenius", "off diagonal"],
)
def test_gradient(loss, random):
    x = torch.from_numpy(random.standard_normal((2, 4, 5))).requires_grad_()
    assert torch.autograd.gradcheck(loss, x)


def test_an_unknown_norm_is_refused():
    with pytest.raises(SdpnError, match="norm is 'nuclear'; allowed: frobenius, off_diagonal"):
        dimension_loss(torch.ones(3, 2), "nuclear")


def test_equal_embeddings_get_no_gradient_and_close_ones_a_bounded_one():
    unequal = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    equal = unequal.clone()
    equal[0, :3] = equal[0, 0]
    for embeddings in (equal, equal + 1e-5 * unequal):
        embeddings = embeddings.requires_grad_()
        diversity_loss(embeddings).backward()
        assert float(embeddings.grad.abs().max()) < 1e3
