"""Classes as directions: what stands on the encoder in stage 8."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """Cosines of embeddings with classes, each of one or several centres, of which the nearest counts.

    Several centres let a class keep its outliers apart (sub-centre ArcFace, Deng et al. 2020, ECCV).

    Args:
        classes: how many.
        dimensions: of an embedding.
        sub_centres: centres of each class.
    """

    def __init__(self, classes: int, dimensions: int, sub_centres: int = 1):
        super().__init__()
        self.sub_centres = sub_centres
        self.weight = nn.Parameter(F.normalize(torch.randn(classes * sub_centres, dimensions), dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., dimensions) -> (..., classes) cosines."""
        cosines = F.linear(F.normalize(embeddings, dim=-1), F.normalize(self.weight, dim=1))
        if self.sub_centres == 1:
            return cosines
        return cosines.unflatten(-1, (-1, self.sub_centres)).amax(dim=-1)


class ClassifiedEncoder(nn.Module):
    """An encoder with its classifier: all that learns.

    Args:
        in_bfloat16: whether the encoder computes in bfloat16; the classifier does not.
    """

    def __init__(self, encoder: nn.Module, classifier: Classifier, in_bfloat16: bool = False):
        super().__init__()
        self.encoder, self.classifier, self.in_bfloat16 = encoder, classifier, in_bfloat16

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, bins) -> embeddings (batch, embedding_size) and cosines (batch, classes)."""
        with torch.autocast(features.device.type, dtype=torch.bfloat16, enabled=self.in_bfloat16):
            embeddings = self.encoder(features)
        embeddings = embeddings.float() if self.in_bfloat16 else embeddings
        return embeddings, self.classifier(embeddings)
