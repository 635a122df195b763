"""Label correction: the class of which the network is sure, for an utterance whose label is not trusted."""

import torch
from torch import Tensor


def sure_classes(cosines: Tensor, temperature: float, confidence: float) -> Tensor:
    """The class whose posterior exceeds `confidence`, -1 where none does (arXiv 2208.01928, with its own temperature).

    The posterior is softmax(W x / temperature), W x being cosines.

    Args:
        cosines: (..., classes) of a clean view's embedding with the classes.

    Returns:
        (...) integers.
    """
    posterior, chosen = torch.softmax(cosines / temperature, dim=-1).max(dim=-1)
    return torch.where(posterior > confidence, chosen, -1)
