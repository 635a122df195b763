"""The TDNN x-vector network (Snyder et al. 2018, "X-vectors: robust DNN embeddings for speaker recognition").

All tensors over frames are (batch, frames, channels), see sdpn.models.frames.
"""

from torch import Tensor, nn

from sdpn.models.frames import TDNNBlock, mask_of
from sdpn.models.input_norm import InputNorm
from sdpn.models.pooling import make_pooling


class XVector(nn.Module):
    """Five layers over frames, pooling, and the embedding: what Kaldi's egs/sre16/v2 reads at tdnn6.affine.

    Args:
        num_bins: mel bins of the input.
        channels: of the layers over frames; the last of them has three times as many.
        embedding_size: of the output.
        attention_channels, global_context: of an attentive pooling.
        pooling: `statistics` as published, or `attentive`.
        padding: of the convolutions, see FrameConv. Unlike Kaldi's, the layers keep the number of frames.
        input_norm, input_mean_share: what is done to the input, see InputNorm.
    """

    def __init__(
        self,
        num_bins: int = 80,
        channels: int = 512,
        embedding_size: int = 512,
        attention_channels: int = 128,
        global_context: bool = True,
        pooling: str = "statistics",
        padding: str = "zeros",
        input_norm: str = "instance",
        input_mean_share: float = 0.0,
    ):
        super().__init__()
        self.embedding_size = embedding_size
        self.input_norm = InputNorm(num_bins, input_norm, input_mean_share)
        self.layers = nn.ModuleList(
            [
                TDNNBlock(num_bins, channels, 5, 1, padding),
                TDNNBlock(channels, channels, 3, 2, padding),
                TDNNBlock(channels, channels, 3, 3, padding),
                TDNNBlock(channels, channels),
                TDNNBlock(channels, 3 * channels),
            ]
        )
        self.pooling = make_pooling(pooling, 3 * channels, attention_channels, global_context)
        self.embedding = nn.Linear(6 * channels, embedding_size)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, frames, bins) log-mel -> (batch, embedding_size).

        Args:
            lengths: (batch,) frames of each utterance, in evaluation mode only; what follows is padding.
        """
        mask = mask_of(lengths, features, self.training)
        x = self.input_norm(features, mask)
        for layer in self.layers:
            x = layer(x, mask)
        return self.embedding(self.pooling(x, mask))
