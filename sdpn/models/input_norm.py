"""What an encoder does to the log-mel frames of an utterance before its first layer."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.errors import refuse_unknown

INPUT_NORMS = ("instance", "mean", "level", "none")

_VARIANCE_FLOOR = 1e-5  # added to the variance, as torch's InstanceNorm1d does
_LEAST_DEVIATION = 1e-3


class InputNorm(nn.Module):
    """Normalize the log-mel frames of each utterance (or of each view of one).

    With x (frames, bins), the utterance's own mean m_b in each bin b, and its level l, the mean of m_b over the bins:

    - `instance`: (x_b - m_b) / sqrt(variance of x_b + 1e-5), as torch's InstanceNorm1d. It removes a channel, and with
      it the long-term spectrum, which tells much of a speaker.
    - `mean`: x_b - m_b.
    - `level`: (x_b - c_b) / deviation_b with c_b = l + mean_b, where mean and deviation are those of the training set
      (`level_statistics`). A gain removes itself; the shape of the long-term spectrum stays. With a `mean_share` s,
      c_b = (1 - s) (l + mean_b) + s m_b: so much of the utterance's own spectrum is removed after all.
    - `none`: x_b.

    Args:
        num_bins: mel bins of the input.
        kind: one of INPUT_NORMS.
        mean_share: s, for `level` alone.

    Attributes:
        mean, deviation: (bins,) of the training set; `level` alone has them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_bins: int, kind: str = "instance", mean_share: float = 0.0):
        super().__init__()
        refuse_unknown("input_norm", kind, INPUT_NORMS)
        self.kind, self.mean_share = kind, mean_share
        if kind == "level":
            self.register_buffer("mean", torch.zeros(num_bins))
            self.register_buffer("deviation", torch.ones(num_bins))

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Take the statistics of a training set, (bins,) each; see `level_statistics`."""
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, frames, bins) -> the same shape.

        Args:
            mask: (batch, frames, 1), 1 for the frames that count; the others become 0. None: all count.
        """
        if self.kind == "none":
            return features if mask is None else features * mask
        count: Tensor | int
        if mask is None:
            count, own = features.shape[1], features.mean(dim=1, keepdim=True)
        else:
            count = mask.sum(dim=1, keepdim=True)
            own = (features * mask).sum(dim=1, keepdim=True) / count
        centre = own
        if self.kind == "level":
            centre = torch.lerp(own.mean(dim=2, keepdim=True) + self.mean, own, self.mean_share)
        centred = features - centre if mask is None else (features - centre) * mask
        if self.kind == "level":
            return centred / self.deviation
        if self.kind == "mean":
            return centred
        variance = torch.linalg.vector_norm(centred, dim=1, keepdim=True).square() / count
        return centred * torch.rsqrt(variance + _VARIANCE_FLOOR)


def level_statistics(utterances: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and the standard deviation of each bin, over all frames of utterances whose level is removed.

    Args:
        utterances: (frames, bins) log-mel each; of each its mean over frames and bins is subtracted first.

    Returns:
        Two of (bins,) float64, the deviations at least 1e-3.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for matrix in utterances:
        frames = matrix.astype(np.float64)
        frames -= frames.mean()
        count += len(frames)
        total = total + frames.sum(axis=0)
        squares = squares + np.square(frames).sum(axis=0)
    mean = total / count
    return mean, np.maximum(np.sqrt(np.maximum(squares / count - np.square(mean), 0)), _LEAST_DEVIATION)
