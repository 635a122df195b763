"""Balanced assignments: every utterance wholly assigned, every prototype equally used."""

import torch
from torch import Tensor


@torch.no_grad()
def sinkhorn(logits: Tensor, iterations: int = 3) -> Tensor:
    """Balance softmax(logits) over a batch by Sinkhorn and Knopp's iteration (Cuturi 2013, arXiv 1306.0895).

    Each iteration scales the columns (prototypes) to equal sums, then the rows (utterances) to 1, in logarithms:
    nothing under- or overflows however sharp the assignments are.

    Args:
        logits: (batch, K) scores over temperature.
        iterations: 0: softmax alone.

    Returns:
        (batch, K), each row sums to 1.
    """
    log_q = torch.log_softmax(logits, dim=1)
    for _ in range(iterations):
        log_q = log_q - torch.logsumexp(log_q, dim=0, keepdim=True)
        log_q = log_q - torch.logsumexp(log_q, dim=1, keepdim=True)
    return log_q.exp()
