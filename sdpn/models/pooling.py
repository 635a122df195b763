"""Statistics pooling: frames -> one vector of means and standard deviations, weighted by attention or not."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sdpn.errors import refuse_unknown
from sdpn.models.frames import FrameConv
from sdpn.models.norm import BatchNorm

POOLINGS = ("attentive", "statistics")
_VARIANCE_FLOOR = 1e-12


def make_pooling(pooling: str, channels: int, attention_channels: int, global_context: bool) -> nn.Module:
    """The pooling called `pooling`: (batch, frames, channels), mask -> (batch, 2 * channels)."""
    refuse_unknown("pooling", pooling, POOLINGS)
    if pooling == "statistics":
        return StatisticsPooling()
    return AttentiveStatisticsPooling(channels, attention_channels, global_context)


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over frames (Snyder et al. 2018, "X-vectors")."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, frames, channels), mask (batch, frames, 1) or None -> (batch, 2 * channels)."""
        return torch.cat(FrameStatistics.apply(_full(x), mask), dim=1)


class AttentiveStatisticsPooling(nn.Module):
    """Weighted mean and standard deviation over frames, each channel with weights of its own.

    Okabe et al. 2018 (arXiv 1803.10963), channel-wise and with the utterance's own mean and deviation beside every
    frame as in ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143). That context [x; mean; std] is never formed:
    W [x; mean; std] = Wx x + Wm mean + Ws std, and only the first term differs from frame to frame.

    Args:
        channels: of the input.
        attention_channels: hidden size of the attention.
        global_context: whether the attention sees the utterance's mean and deviation.
    """

    def __init__(self, channels: int, attention_channels: int = 128, global_context: bool = True):
        super().__init__()
        self.channels = channels
        self.global_context = global_context
        self.hidden = FrameConv(3 * channels if global_context else channels, attention_channels)
        self.norm = BatchNorm(attention_channels)
        self.weights = FrameConv(attention_channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, frames, channels) -> (batch, 2 * channels): means, then standard deviations.

        Args:
            mask: (batch, frames, 1), 1 for the frames that count and 0 for padding; None: all count.
        """
        x = _full(x)
        offset = None
        weight = self.hidden.weight
        if self.global_context:
            weight, for_mean, for_deviation = weight.split(self.channels, dim=1)
            mean, deviation = FrameStatistics.apply(x, mask)
            offset = F.linear(mean, for_mean.squeeze(2)) + F.linear(deviation, for_deviation.squeeze(2))
        hidden = self.hidden.convolve(x, weight, offset=offset, relu=True)
        logits = self.weights(torch.tanh(self.norm(hidden)))
        if mask is not None:
            logits = logits.masked_fill(mask == 0, float("-inf"))
        return torch.cat(AttentiveStatistics.apply(x, _full(logits)), dim=1)


class FrameStatistics(torch.autograd.Function):
    """Mean and standard deviation over frames; the gradient needs no copy of the input for either.

    (batch, frames, channels), mask (batch, frames, 1) or None -> two of (batch, channels).
    """

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if mask is None:
            count = x.new_full((1, 1), x.shape[1])
            mean = x.mean(dim=1)
            centred = x - mean.unsqueeze(1)
        else:
            count = mask.sum(dim=1)
            mean = (x * mask).sum(dim=1) / count
            centred = (x - mean.unsqueeze(1)) * mask
        deviation = torch.linalg.vector_norm(centred, dim=1) / count.sqrt()
        deviation = deviation.clamp_(_VARIANCE_FLOOR**0.5)
        ctx.save_for_backward(x, mask, mean, deviation, count)
        return mean, deviation

    @staticmethod
    @once_differentiable
    def backward(ctx, mean_gradient: Tensor, deviation_gradient: Tensor) -> tuple[Tensor, None]:
        x, mask, mean, deviation, count = ctx.saved_tensors
        scale = deviation_gradient / (count * deviation)
        scale = torch.where(deviation > _VARIANCE_FLOOR**0.5, scale, 0)
        shift = mean_gradient / count - scale * mean
        gradient = torch.addcmul(shift.unsqueeze(1), x, scale.unsqueeze(1))
        return gradient if mask is None else gradient * mask, None


class AttentiveStatistics(torch.autograd.Function):
    """Mean and standard deviation over frames with weights softmax(logits) over frames.

    (batch, frames, channels) twice -> two of (batch, channels). With weights e, mean m and deviation s, and the
    gradients dm and ds of the two results, v = ds / (2 s):
        dx = e (dm + 2 v (x - m)),    dlogits = e (dm (x - m) + v ((x - m)^2 - s^2))
    """

    @staticmethod
    def forward(ctx, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(logits, dim=1)
        mean = (weights * x).sum(dim=1)
        variance = (x - mean.unsqueeze(1)).square_().mul_(weights).sum(dim=1)
        deviation = variance.clamp_(_VARIANCE_FLOOR).sqrt_()
        ctx.save_for_backward(x, weights, mean, deviation)
        return mean, deviation

    @staticmethod
    @once_differentiable
    def backward(ctx, mean_gradient: Tensor, deviation_gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weights, mean, deviation = ctx.saved_tensors
        halved = deviation_gradient / (2 * deviation)
        halved = torch.where(deviation > _VARIANCE_FLOOR**0.5, halved, 0)
        centred = x - mean.unsqueeze(1)
        towards = torch.addcmul(mean_gradient.unsqueeze(1), centred, halved.unsqueeze(1))
        logits_gradient = (towards * centred).sub_((halved * deviation.square()).unsqueeze(1)).mul_(weights)
        x_gradient = towards.addcmul_(centred, halved.unsqueeze(1)).mul_(weights)
        return x_gradient, logits_gradient


def _full(x: Tensor) -> Tensor:
    """In single precision at least: sums over frames need it where the layers compute in bfloat16."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
