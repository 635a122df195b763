"""What stands on an encoder during training: the projection head and the prototypes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdpn.errors import refuse_unknown
from sdpn.models.norm import BatchNorm

PROTOTYPE_INITS = ("sphere", "uniform")


class ProjectionHead(nn.Sequential):
    """Embedding -> point on the unit sphere, where it is compared with the prototypes.

    Two hidden layers with batch norm and GELU, then a linear layer; the output is L2-normalized.

    Args:
        embedding_size: of the input.
        hidden: size of the hidden layers.
        output: dimensions of the output.
    """

    def __init__(self, embedding_size: int = 512, hidden: int = 2048, output: int = 256):
        super().__init__(
            nn.Linear(embedding_size, hidden),
            BatchNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            BatchNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, output),
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(batch, embedding_size) -> (batch, output), rows of length 1."""
        return F.normalize(super().forward(embeddings), dim=-1)


class Prototypes(nn.Module):
    """K directions on the unit sphere; a point's scores are its cosines with them.

    Args:
        count: K.
        dimensions: of the head's output.
        init: `sphere`: uniform on the unit sphere; `uniform`: coordinates uniform in +- 1 / sqrt(dimensions), which
            are 0.58 long. Length does not matter to the scores, but a step turns a short prototype further.
    """

    def __init__(self, count: int = 1024, dimensions: int = 256, init: str = "sphere"):
        super().__init__()
        refuse_unknown("init", init, PROTOTYPE_INITS)
        if init == "uniform":
            weight = torch.empty(count, dimensions).uniform_(-(dimensions**-0.5), dimensions**-0.5)
        else:
            weight = F.normalize(torch.randn(count, dimensions), dim=1)
        self.weight = nn.Parameter(weight)

    def forward(self, points: Tensor) -> Tensor:
        """(..., dimensions) -> (..., K) cosines."""
        return F.linear(points, F.normalize(self.weight, dim=1))


class ProjectedEncoder(nn.Module):
    """An encoder with its projection head: what the student is, and what the teacher is.

    Args:
        in_bfloat16: whether the encoder computes in bfloat16 (torch's autocast: its weights and sums stay in single
            precision); the head does not.
    """

    encoder: nn.Module
    head: ProjectionHead

    def __init__(self, encoder: nn.Module, head: ProjectionHead, in_bfloat16: bool = False):
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.in_bfloat16 = in_bfloat16

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, bins) -> embeddings (batch, embedding_size) and points (batch, output) of length 1."""
        if not self.in_bfloat16:
            embeddings = self.encoder(features)
        else:
            with torch.autocast(features.device.type, dtype=torch.bfloat16):
                embeddings = self.encoder(features)
            embeddings = embeddings.float()
        return embeddings, self.head(embeddings)


class Learner(nn.Module):
    """All that learns by gradient, as one module: the student and the prototypes."""

    def __init__(self, student: ProjectedEncoder, prototypes: Prototypes):
        super().__init__()
        self.student = student
        self.prototypes = prototypes

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, frames, bins) -> embeddings (batch, embedding_size), points (batch, output) and scores (batch, K)."""
        embeddings, points = self.student(features)
        return embeddings, points, self.prototypes(points)
