"""ECAPA-TDNN (Desplanques, Thienpondt and Demuynck 2020, arXiv 2005.07143).

All tensors over frames are (batch, frames, channels), see sdpn.models.frames.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdpn.models.frames import TDNNBlock, mask_of
from sdpn.models.input_norm import InputNorm
from sdpn.models.norm import BatchNorm
from sdpn.models.pooling import make_pooling


class Res2Block(nn.Module):
    """Groups of channels convolved one after the other, each with the output of the one before added (Res2Net)."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, padding: str = "zeros", scale: int = 8):
        super().__init__()
        self.scale = scale
        width = channels // scale
        self.blocks = nn.ModuleList(TDNNBlock(width, width, kernel_size, dilation, padding) for _ in range(scale - 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        groups = x.chunk(self.scale, dim=2)
        outputs = [groups[0]]
        for block, group in zip(self.blocks, groups[1:], strict=True):
            x = group.contiguous() if len(outputs) == 1 else group + outputs[-1]
            outputs.append(block(x, mask))
        return torch.cat(outputs, dim=2)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from the utterance's mean over frames, and add the shortcut."""

    def __init__(self, channels: int, bottleneck: int = 128):
        super().__init__()
        self.down = nn.Linear(channels, bottleneck)
        self.up = nn.Linear(bottleneck, channels)

    def forward(self, x: Tensor, shortcut: Tensor, mask: Tensor | None = None) -> Tensor:
        mean = x.mean(dim=1) if mask is None else (x * mask).sum(dim=1) / mask.sum(dim=1)
        gate = torch.sigmoid(self.up(F.relu(self.down(mean))))
        return torch.addcmul(shortcut, x, gate.unsqueeze(1))


class SERes2Block(nn.Module):
    """TDNN, Res2Net and TDNN with squeeze-excitation, and a shortcut around them."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, padding: str = "zeros"):
        super().__init__()
        self.tdnn1 = TDNNBlock(channels, channels)
        self.res2 = Res2Block(channels, kernel_size, dilation, padding)
        self.tdnn2 = TDNNBlock(channels, channels)
        self.excitation = SqueezeExcitation(channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.tdnn2(self.res2(self.tdnn1(x), mask))
        return self.excitation(y, x, mask)


class ECAPA(nn.Module):
    """ECAPA-TDNN: log-mel frames of an utterance -> its embedding.

    Args:
        num_bins: mel bins of the input.
        channels: of the convolutions, a multiple of 8; three times as many before the pooling.
        embedding_size: of the output.
        attention_channels: hidden size of the pooling's attention.
        global_context: whether that attention sees the utterance's mean and deviation.
        pooling: `attentive`, or `statistics` for the plain mean and deviation over frames.
        padding: of the convolutions, see FrameConv.
        input_norm, input_mean_share: what is done to the input, see InputNorm.

    22.7 million parameters with 1024 channels and a 512-dimensional embedding.
    """

    def __init__(
        self,
        num_bins: int = 80,
        channels: int = 1024,
        embedding_size: int = 512,
        attention_channels: int = 128,
        global_context: bool = True,
        pooling: str = "attentive",
        padding: str = "zeros",
        input_norm: str = "instance",
        input_mean_share: float = 0.0,
    ):
        super().__init__()
        if channels % 8 != 0:
            raise ValueError(f"channels is {channels}; expected a multiple of 8")
        self.embedding_size = embedding_size
        self.input_norm = InputNorm(num_bins, input_norm, input_mean_share)
        self.stem = TDNNBlock(num_bins, channels, kernel_size=5, padding=padding)
        self.blocks = nn.ModuleList(SERes2Block(channels, 3, dilation, padding) for dilation in (2, 3, 4))
        self.aggregation = TDNNBlock(3 * channels, 3 * channels)
        self.pooling = make_pooling(pooling, 3 * channels, attention_channels, global_context)
        self.pooling_norm = BatchNorm(6 * channels)
        self.embedding = nn.Linear(6 * channels, embedding_size)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, frames, bins) log-mel -> (batch, embedding_size).

        Args:
            lengths: (batch,) frames of each utterance, what follows is padding; the embedding is then the same as
                without padding. In evaluation mode only: batch norm would count the padding.
        """
        mask = mask_of(lengths, features, self.training)
        x = self.stem(self.input_norm(features, mask), mask)
        outputs = []
        for block in self.blocks:
            x = block(x, mask)
            outputs.append(x)
        x = self.aggregation(torch.cat(outputs, dim=2))
        return self.embedding(self.pooling_norm(self.pooling(x, mask)))
