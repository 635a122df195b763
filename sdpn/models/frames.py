"""What networks over frames are built of: convolution and batch norm on (batch, frames, channels).

The channels of a frame stand together in memory (torch calls it channels-last): oneDNN and cuDNN then convolve without
reordering, batch norm runs over rows, and a convolution of one frame is a matrix product. Against torch's usual
(batch, channels, frames) a training step of a small ECAPA-TDNN takes about half the time on a CPU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdpn.errors import refuse_unknown
from sdpn.models.norm import BatchNorm, exporting

PADDINGS = ("zeros", "reflect")


class FrameConv(nn.Conv1d):
    """A convolution over frames that keeps their number, (batch, frames, in_channels) -> (batch, frames, out_channels).

    Args:
        kernel_size: odd.
        dilation: distance of the kernel's frames.
        relu: whether the output is rectified, which costs nothing here and a copy elsewhere.
        padding: what stands before the first and after the last frame: `zeros`, or the frames mirrored (`reflect`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        dilation: int = 1,
        relu: bool = False,
        padding: str = "zeros",
    ):
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        refuse_unknown("padding", padding, PADDINGS)
        self.relu, self.reflect = relu, padding == "reflect"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Args:
        mask: (batch, frames, 1), 1 for the frames that count; the output is then as if the others were not there.
        """
        return self.convolve(x, self.weight, relu=self.relu, mask=mask)

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        offset: Tensor | None = None,
        relu: bool = False,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Convolve with `weight` in place of the layer's own; `offset` (batch, out_channels) is added to all frames."""
        batch, frames, _ = x.shape
        distance = self.dilation[0]
        reach = distance * (weight.shape[2] - 1) // 2
        rows = _rows(x) if reach == 0 else batch
        padding = reach
        if reach and self.reflect:
            x, padding = _mirrored(x, reach, mask), 0
        elif reach and mask is not None:
            x = x * mask
        x = x.reshape(rows, batch * x.shape[1] // rows, -1)
        y = F.conv2d(
            x.transpose(1, 2).unsqueeze(2),
            weight.unsqueeze(2),
            self.bias,
            padding=(0, padding),
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
    the batch has 16 rows or more. A graph for export is for any number of frames, and cuts nothing.
    """
    batch, frames, _ = x.shape
    if exporting() or x.device.type != "cpu" or batch >= 16:
        return batch
    pieces = next((n for n in range(16 // batch, min(frames, 64) + 1) if frames % n == 0 and n * batch >= 16), 1)
    return batch * pieces


def _mirrored(x: Tensor, reach: int, mask: Tensor | None) -> Tensor:
    """(batch, frames, channels) -> (batch, frames + 2 reach, channels), mirrored at the first and last frame."""
    batch, frames, channels = x.shape
    wanted = torch.arange(-reach, frames + reach, device=x.device)
    if mask is None:
        last = torch.full((), frames - 1, device=x.device)  # a GPU does not wait for it
        return x.index_select(1, _reflected(wanted, last))
    last = mask.sum(dim=1).long() - 1  # (batch, 1)
    return x.gather(1, _reflected(wanted, last).unsqueeze(2).expand(batch, -1, channels))


def _reflected(places: Tensor, last: Tensor) -> Tensor:
    """Places on the line -> places in [0, last], turning back at both ends."""
    period = (2 * last).clamp(min=1)
    places = places.abs() % period
    return torch.minimum(places, period - places).clamp(max=last)


class TDNNBlock(nn.Module):
    """Convolution, ReLU, batch norm: (batch, frames, in_channels) -> (batch, frames, out_channels)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1, padding: str = "zeros"
    ):
        super().__init__()
        self.conv = FrameConv(in_channels, out_channels, kernel_size, dilation, relu=True, padding=padding)
        self.norm = BatchNorm(out_channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.norm(self.conv(x, mask))


def mask_of(lengths: Tensor | None, features: Tensor, training: bool) -> Tensor | None:
    """The mask of a padded batch (batch, frames, bins): (batch, frames, 1) of its type, 1 where a frame counts, else 0.

    Args:
        lengths: (batch,) frames of each utterance; None: there is no padding, and no mask.

    Raises:
        ValueError: the network is in training mode, where batch norm would count the padding.
    """
    if lengths is None:
        return None
    if training:
        raise ValueError("lengths are for evaluation mode: in training mode batch norm counts the padding")
    counts = torch.arange(features.shape[1], device=features.device)
    return (counts < lengths.to(features.device).unsqueeze(1)).unsqueeze(2).to(features.dtype)
