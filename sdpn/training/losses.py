"""The losses of SDPN, one function each, and the balanced assignments that they take for targets.

Every loss is of a whole step's batch: with micro-batches or several ranks, gather first.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sdpn.errors import refuse_unknown
from sdpn.training.config import DIMENSION_NORMS

_TINY = 1e-8
_CLOSE = 1e-3  # of embeddings of length 1


def assignment_loss(log_p: Tensor, targets: Tensor) -> Tensor:
    """L_CE = mean over utterances i and views v of -sum_k q_k(i) log p_k(i, v).

    Args:
        log_p: (views, batch, K) the student's log-assignments.
        targets: (batch, K) the teacher's assignments q, without gradient.
    """
    return -torch.einsum("vbk,bk->", log_p, targets) / (log_p.shape[0] * log_p.shape[1])


def mean_entropy_loss(log_p: Tensor) -> Tensor:
    """L_ME = log K - H(mean over i and v of p), 0 where all prototypes are used equally.

    Args:
        log_p: (views, batch, K) the student's log-assignments.
    """
    views, batch, prototypes = log_p.shape
    log_mean = torch.logsumexp(log_p.flatten(0, 1), dim=0) - math.log(views * batch)
    return math.log(prototypes) + (log_mean.exp() * log_mean).sum()


def diversity_loss(embeddings: Tensor) -> Tensor:
    """L_DR = -mean over i of log(min over j != i of ||f(x_i) - f(x_j)||) in each view, summed over the views.

    KoLeo (Sablayrolles et al. 2019, arXiv 1806.03198) on L2-normalized embeddings. Below a distance of 1e-3, where
    single precision cannot tell which neighbour is nearest, the logarithm goes on as the parabola that touches it
    there: the gradient of equal embeddings would be 1e7, in a direction that rounding chooses. So it is 0, and nowhere
    above 1e3.

    Args:
        embeddings: (views, batch, dimensions).
    """
    points = F.normalize(embeddings, dim=2)
    nearest = nearest_neighbours(points.detach()).unsqueeze(2).expand_as(points)
    distances = torch.linalg.vector_norm(points - points.gather(1, nearest) + _TINY, dim=2)
    close = math.log(_CLOSE) - 0.5 + 0.5 * (distances / _CLOSE).square()
    return -torch.where(distances < _CLOSE, close, torch.log(distances + _TINY)).mean(dim=1).sum()


def nearest_neighbours(points: Tensor) -> Tensor:
    """(views, batch, dimensions) points of length 1 -> (views, batch): which other point of the view is nearest."""
    similarities = points @ points.transpose(1, 2)
    similarities.diagonal(dim1=1, dim2=2).fill_(-2.0)  # below every cosine
    return similarities.argmax(dim=2)


def dimension_loss(points: Tensor, norm: str = "frobenius") -> Tensor:
    """L_DIM: small where the dimensions of the head's output are uncorrelated (arXiv 2505.13826).

    With R the uncentred correlation matrix of the D columns of `points`, `frobenius` is log ||R||_F as in FroSSL
    (arXiv 2310.02903), `off_diagonal` the sum of the squared off-diagonal entries over D. Both are also small where
    dimensions are dead: watch the share of living ones.

    Args:
        points: (rows, D).
    """
    refuse_unknown("norm", norm, DIMENSION_NORMS)
    columns = F.normalize(points, dim=0)
    squares = (columns.T @ columns).square()
    if norm == "frobenius":
        return 0.5 * torch.log(squares.sum())
    return (squares.sum() - squares.diagonal().sum()) / points.shape[1]


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
