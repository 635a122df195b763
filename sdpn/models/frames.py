"""What networks over frames are built of: normalized input, convolution and batch norm on (batch, frames, channels).

The channels of a frame stand together in memory (torch calls it channels-last): oneDNN and cuDNN then convolve without
reordering, batch norm runs over rows, and a convolution of one frame is a matrix product. Against torch's usual
(batch, channels, frames) a training step of a small ECAPA-TDNN takes about half the time on a CPU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameConv(nn.Conv1d):
    """A convolution over frames with zero padding, (batch, frames, in_channels) -> (batch, frames, out_channels).

    Args:
        kernel_size: odd.
        dilation: distance of the kernel's frames.
        relu: whether the output is rectified, which costs nothing here and a copy elsewhere.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1, relu: bool = False
    ):
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, relu=self.relu)

    def convolve(self, x: Tensor, weight: Tensor, offset: Tensor | None = None, relu: bool = False) -> Tensor:
        """Convolve with `weight` in place of the layer's own; `offset` (batch, out_channels) is added to all frames."""
        batch, frames, _ = x.shape
        rows = _rows(x) if weight.shape[2] == 1 else batch
        x = x.reshape(rows, batch * frames // rows, -1)
        distance = self.dilation[0]
        y = F.conv2d(
            x.transpose(1, 2).unsqueeze(2),
            weight.unsqueeze(2),
            self.bias,
            padding=(0, distance * (weight.shape[2] - 1) // 2),
            dilation=(1, distance),
        )
        if offset is not None:
            y = y + offset.repeat_interleave(rows // batch, dim=0)[:, :, None, None]
        if relu:
            y = F.relu_(y)  # before the views below: in place on a view, autograd would copy the whole
        return y.squeeze(2).transpose(1, 2).reshape(batch, frames, -1)


def _rows(x: Tensor) -> int:
    """How many rows to cut a batch into before a convolution of one frame.

    With one thread torch gives such a convolution to oneDNN, which is half again as fast as the other way, only where
    the batch has 16 rows or more.
    """
    batch, frames, _ = x.shape
    if x.device.type != "cpu" or batch >= 16:
        return batch
    pieces = next((n for n in range(16 // batch, min(frames, 64) + 1) if frames % n == 0 and n * batch >= 16), 1)
    return batch * pieces


class FrameNorm(nn.BatchNorm1d):
    """Batch norm over all frames of all utterances, (batch, frames, channels) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).view(x.shape)


def normalize_bins(features: Tensor, mask: Tensor | None = None, floor: float = 1e-5) -> Tensor:
    """Give each mel bin of each utterance mean 0 and variance 1 over its frames, as torch's InstanceNorm1d does.

    Args:
        features: (batch, frames, bins) log-mel.
        mask: (batch, frames, 1), 1 for the frames that count; the others become 0. None: all count.
        floor: added to the variance.
    """
    if mask is None:
        centred = features - features.mean(dim=1, keepdim=True)
        count = features.shape[1]
    else:
        count = mask.sum(dim=1, keepdim=True)
        centred = (features - (features * mask).sum(dim=1, keepdim=True) / count) * mask
    variance = torch.linalg.vector_norm(centred, dim=1, keepdim=True).square() / count
    return centred * torch.rsqrt(variance + floor)


def frame_mask(lengths: Tensor, frames: int, like: Tensor) -> Tensor:
    """(batch,) lengths -> (batch, frames, 1) of `like`'s type: 1 where a frame belongs to its utterance, else 0."""
    counts = torch.arange(frames, device=like.device)
    return (counts < lengths.to(like.device).unsqueeze(1)).unsqueeze(2).to(like.dtype)
