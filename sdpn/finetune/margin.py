"""The loss of the classes: softmax over cosines with an additive angular margin."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def margin_losses(cosines: Tensor, classes: Tensor, scale: float, margin: float) -> Tensor:
    """The loss of each utterance with an additive angular margin (AAM-softmax, ArcFace; arXiv 1801.07698, eq. 3).

    -log( exp(s cos(t_y + m)) / (exp(s cos(t_y + m)) + sum over j != y of exp(s cos t_j)) )

    Where t_y + m would exceed pi, cos(t_y + m) goes on as cos t_y - m sin m, so that it keeps falling.

    Args:
        cosines: (..., classes) of embeddings with the classes.
        classes: (...) of each utterance, integers.
        scale: s.
        margin: m, radians.

    Returns:
        (...).
    """
    own = cosines.gather(-1, classes.unsqueeze(-1))
    if margin > 0:
        # The root is steep at the ends, where a gradient would be infinite
        sines = torch.sqrt((1 - own.square()).clamp(min=1e-7))
        turned = own * math.cos(margin) - sines * math.sin(margin)
        own = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
    logits = scale * cosines.scatter(-1, classes.unsqueeze(-1), own)
    return F.cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="none").view_as(classes)
