"""ResNet34 over the time-frequency plane (He et al. 2016, arXiv 1512.03385), as speaker recognition uses it.

Tensors are (batch, channels, frames, bins), channels-last in memory.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdpn.errors import refuse_unknown
from sdpn.models.frames import mask_of
from sdpn.models.input_norm import InputNorm
from sdpn.models.norm import BatchNorm
from sdpn.models.pooling import make_pooling

_BLOCKS = (3, 4, 6, 3)


class PlaneNorm(BatchNorm):
    """Batch norm of (batch, channels, frames, bins), rectified if asked for."""

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        y = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.relu_(y) if relu else y


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a shortcut around them.

    Args:
        stride: of the first convolution, over frames and bins.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = PlaneNorm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = PlaneNorm(out_channels)
        self.stride = stride
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut_norm = PlaneNorm(out_channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, in_channels, frames, bins) -> (batch, out_channels, ...); `mask` is that of the output's frames."""
        y = _masked(self.norm1(self.conv1(x), relu=True), mask)
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            # The frames and bins of a stride are chosen first: with AVX-512 and 8 channels, oneDNN writes past the end
            # of a buffer in the backward pass of a convolution of one by one that has a stride
            if self.stride != 1:
                x = F.avg_pool2d(x, 1, self.stride)
            x = self.shortcut_norm(self.shortcut(x))
        return _masked(F.relu(x + y), mask)


class ResNet34(nn.Module):
    """Four stages of residual blocks, each but the first halving frames and bins; pooling over frames; the embedding.

    Args:
        num_bins: mel bins of the input.
        channels: of the first stage; the others have 2, 4 and 8 times as many.
        embedding_size: of the output.
        attention_channels, global_context: of an attentive pooling.
        pooling: `statistics` or `attentive`, over the last stage's channels x bins.
        padding: zeros; there is no other here.
        input_norm, input_mean_share: what is done to the input, see InputNorm.
    """

    def __init__(
        self,
        num_bins: int = 80,
        channels: int = 32,
        embedding_size: int = 512,
        attention_channels: int = 128,
        global_context: bool = True,
        pooling: str = "statistics",
        padding: str = "zeros",
        input_norm: str = "instance",
        input_mean_share: float = 0.0,
    ):
        super().__init__()
        refuse_unknown("padding of ResNet34", padding, ("zeros",))
        self.embedding_size = embedding_size
        self.input_norm = InputNorm(num_bins, input_norm, input_mean_share)
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.stem_norm = PlaneNorm(channels)
        self.stages = nn.ModuleList()
        inside, bins = channels, num_bins
        for stage, blocks in enumerate(_BLOCKS):
            outside, stride = channels * 2**stage, 1 if stage == 0 else 2
            layers = [
                BasicBlock(inside if i == 0 else outside, outside, stride if i == 0 else 1) for i in range(blocks)
            ]
            self.stages.append(nn.ModuleList(layers))
            inside, bins = outside, -(-bins // stride)
        self.pooling = make_pooling(pooling, inside * bins, attention_channels, global_context)
        self.embedding = nn.Linear(2 * inside * bins, embedding_size)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch documents it

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, frames, bins) log-mel -> (batch, embedding_size).

        Args:
            lengths: (batch,) frames of each utterance, in evaluation mode only; what follows is padding.
        """
        mask = mask_of(lengths, features, self.training)
        x = self.input_norm(features, mask).unsqueeze(1).to(memory_format=torch.channels_last)
        x = _masked(self.stem_norm(self.stem(x), relu=True), mask)
        for stage, blocks in enumerate(self.stages):
            if stage > 0 and mask is not None:
                mask = F.max_pool2d(mask, 1, stride=(2, 1))  # every second frame, as the convolution takes them
            for block in blocks.children():
                x = block(x, mask)
        x = x.permute(0, 2, 3, 1).flatten(2)  # (batch, frames, bins * channels)
        return self.embedding(self.pooling(x, mask))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero where (batch, frames, 1) `mask` is."""
    return x if mask is None else x * mask.unsqueeze(1)
