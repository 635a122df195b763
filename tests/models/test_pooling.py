import numpy as np
import torch

from sdpn.models.pooling import AttentiveStatistics, FrameStatistics


def test_frame_statistics_are_numpys():
    x = np.random.default_rng(0).standard_normal((2, 9, 3))
    mean, deviation = FrameStatistics.apply(torch.from_numpy(x), None)
    np.testing.assert_allclose(mean, x.mean(axis=1))
    np.testing.assert_allclose(deviation, x.std(axis=1))


def test_frame_statistics_leave_padding_out():
    x = np.random.default_rng(1).standard_normal((1, 9, 3))
    mask = torch.ones(1, 9, 1).double()
    mask[:, 6:] = 0
    mean, deviation = FrameStatistics.apply(torch.from_numpy(x), mask)
    np.testing.assert_allclose(mean, x[:, :6].mean(axis=1))
    np.testing.assert_allclose(deviation, x[:, :6].std(axis=1))


def test_gradient_of_frame_statistics():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(2, 7, 1).double()
    mask[1, 5:] = 0
    assert torch.autograd.gradcheck(lambda x: FrameStatistics.apply(x, None), x)
    assert torch.autograd.gradcheck(lambda x: FrameStatistics.apply(x, mask), x)


def test_gradient_of_attentive_statistics():
    torch.manual_seed(0)
    x, logits = (torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(AttentiveStatistics.apply, (x, logits))


def test_a_constant_channel_has_a_finite_gradient():
    x = torch.ones(1, 5, 2, dtype=torch.float64, requires_grad=True)
    logits = torch.zeros(1, 5, 2, dtype=torch.float64, requires_grad=True)
    sum(part.sum() for part in (*FrameStatistics.apply(x, None), *AttentiveStatistics.apply(x, logits))).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(logits.grad).all()
