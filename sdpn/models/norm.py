"""Batch norm over rows, of one process or of all ranks together."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def exporting() -> bool:
    """Whether a graph is made for use elsewhere; torch 2.6 cannot tell, and makes none."""
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of (..., channels), with statistics over everything but the last dimension.

    Attributes:
        over_ranks: whether, in training mode, the statistics are those of all ranks' rows together; see
            `norms_over_ranks`.
    """

    over_ranks = False
    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if exporting():  # in evaluation mode; a graph cannot flatten frames it cannot count
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            return x * scale + (self.bias - self.running_mean * scale)
        rows = x.flatten(0, -2)
        if not (self.over_ranks and self.training):
            return super().forward(rows).view(x.shape)
        self.num_batches_tracked += 1
        full = rows if rows.dtype == torch.float64 else rows.float()
        y, mean, variance, count = NormOverRanks.apply(full, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y.to(x.dtype).view(x.shape)


class NormOverRanks(torch.autograd.Function):
    """Batch norm of (rows, channels) with the mean and variance of the rows of all ranks.

    torch's SyncBatchNorm computes the same on GPUs only; this one runs wherever torch.distributed does, gloo on CPUs
    included, and needs one collective forward and one backward.

    Returns:
        The normalized rows, and without gradient the mean, the biased variance and the number of rows.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        packed = torch.cat([mean, variance, mean.new_full((1,), x.shape[0])])
        gathered = packed.new_empty(dist.get_world_size(), packed.shape[0])
        dist.all_gather(list(gathered), packed)
        means, variances, counts = gathered.split([len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(dim=0) / count
        variance = (counts * (variances + (means - mean).square())).sum(dim=0) / count
        inverse = torch.rsqrt(variance + eps)
        scale = weight * inverse
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return torch.addcmul(bias - mean * scale, x, scale), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        bias_gradient = gradient.sum(dim=0)
        weight_gradient = ((gradient * x).sum(dim=0) - mean * bias_gradient) * inverse
        sums = torch.cat([bias_gradient, weight_gradient])
        dist.all_reduce(sums)
        of_bias, of_weight = (sums / count).split(len(mean))
        slope = of_weight * inverse
        x_gradient = (gradient - of_bias + slope * mean).addcmul_(x, slope, value=-1).mul_(weight * inverse)
        return x_gradient, weight_gradient, bias_gradient, None


def norms_over_ranks(network: nn.Module) -> None:
    """Have every BatchNorm of `network` count the rows of all ranks of the default process group together."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.over_ranks = True
