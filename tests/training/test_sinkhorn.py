import numpy as np
import pytest
import torch

from sdpn.training.losses import sinkhorn


def reference(scores, iterations):
    """Sinkhorn and Knopp on probabilities: columns to equal sums, rows to 1."""
    Q = np.exp(scores - scores.max(axis=1, keepdims=True))
    Q /= Q.sum(axis=1, keepdims=True)
    batch, prototypes = Q.shape
    for _ in range(iterations):
        Q *= (batch / prototypes) / Q.sum(axis=0, keepdims=True)
        Q /= Q.sum(axis=1, keepdims=True)
    return Q


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_agrees_with_the_iteration_on_probabilities(iterations):
    scores = np.random.default_rng(0).standard_normal((12, 5)) * 4
    np.testing.assert_allclose(sinkhorn(torch.from_numpy(scores), iterations), reference(scores, iterations))


def test_rows_sum_to_one_and_columns_become_equal():
    scores = np.random.default_rng(1).standard_normal((40, 4))
    q = sinkhorn(torch.from_numpy(scores), 50)
    np.testing.assert_allclose(q.sum(dim=1), 1)
    np.testing.assert_allclose(q.sum(dim=0), 10)


def test_sharp_scores_neither_underflow_nor_overflow():
    scores = torch.tensor([[0.0, -4000.0], [0.0, -4100.0], [0.0, -4050.0], [0.0, -4001.0]])
    q = sinkhorn(scores, 3)
    assert torch.isfinite(q).all()
    np.testing.assert_allclose(q.sum(dim=1), 1, rtol=1e-5)
    assert q[0, 1] > 0.9  # the likeliest for the prototype that nobody prefers


def test_no_gradient_passes():
    assert not sinkhorn(torch.zeros(3, 2, requires_grad=True)).requires_grad
