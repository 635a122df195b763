import math

import numpy as np
import pytest
import torch

from sdpn.finetune.margin import margin_losses


def reference(cosines, label, scale, margin):
    """The loss of one utterance by angles."""
    angle = math.acos(cosines[label])
    own = math.cos(angle + margin) if angle + margin <= math.pi else cosines[label] - margin * math.sin(margin)
    others = sum(math.exp(scale * c) for j, c in enumerate(cosines) if j != label)
    return -math.log(math.exp(scale * own) / (math.exp(scale * own) + others))


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_the_loss_is_the_formula(margin):
    random = np.random.default_rng(1)
    cosines = np.concatenate((random.uniform(-0.99, 0.99, (40, 5)), np.full((5, 5), -0.98)))
    labels = random.integers(5, size=45)
    found = margin_losses(torch.from_numpy(cosines), torch.from_numpy(labels), 30.0, margin)
    expected = [reference(row, label, 30.0, margin) for row, label in zip(cosines, labels, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_without_a_margin_it_is_the_cross_entropy():
    cosines, labels = torch.rand(2, 7, 4, dtype=torch.float64), torch.randint(4, (2, 7))
    expected = torch.nn.functional.cross_entropy(9 * cosines.flatten(0, 1), labels.flatten(), reduction="none")
    torch.testing.assert_close(margin_losses(cosines, labels, 9.0, 0.0), expected.view(2, 7))


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    cosines = (1.9 * torch.rand(6, 4, dtype=torch.float64) - 0.95).requires_grad_()
    labels = torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda x: margin_losses(x, labels, 3.0, 0.3), (cosines,))


def test_the_gradient_is_finite_where_an_embedding_meets_its_class():
    cosines = torch.tensor([[1.0, -1.0]], requires_grad=True)
    margin_losses(cosines, torch.tensor([0]), 30.0, 0.2).sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_the_loss_falls_with_the_cosine_of_ones_own_class_all_the_way():
    own = torch.linspace(-0.999, 0.999, 200, dtype=torch.float64)
    losses = margin_losses(torch.stack((own, torch.zeros_like(own)), dim=1), torch.zeros(200, dtype=int), 5.0, 0.5)
    assert (losses.diff() < 0).all()
