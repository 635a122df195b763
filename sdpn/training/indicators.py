"""What tells, without labels, whether training is healthy."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sdpn.training.losses import nearest_neighbours


class Usage:
    """Which prototypes the teacher has chosen of late, before its assignments are balanced.

    One batch says little (32 utterances cannot use 256 prototypes), hence the window.

    Args:
        prototypes: K.
        window: assignments that are looked back upon.
    """

    def __init__(self, prototypes: int, window: int, device: torch.device):
        self.chosen = torch.full((window,), -1, dtype=torch.int64, device=device)
        self.mean = torch.zeros(prototypes, device=device)
        self.seen = 0

    @torch.no_grad()
    def update(self, assignments: Tensor) -> None:
        """Count the (rows, K) assignments of a step."""
        chosen = assignments.argmax(dim=1)[-len(self.chosen) :]
        rows = len(chosen)
        start = self.seen % len(self.chosen)
        places = torch.arange(start, start + rows, device=self.chosen.device) % len(self.chosen)
        self.chosen[places] = chosen
        self.seen += rows
        window = min(self.seen, len(self.chosen))
        self.mean.lerp_(assignments.float().mean(dim=0), min(1.0, rows / window))

    def in_use(self) -> Tensor:
        """The number of prototypes chosen by at least one utterance of the window."""
        counts = torch.bincount(self.chosen + 1, minlength=len(self.mean) + 1)
        return (counts[1:] > 0).sum()

    def perplexity(self) -> Tensor:
        """exp(H) of the mean assignment over the window: as many prototypes, equally used, would give it."""
        return torch.exp(-torch.xlogy(self.mean, self.mean).sum())

    def state_dict(self) -> dict:
        return {"chosen": self.chosen, "mean": self.mean, "seen": self.seen}

    def load_state_dict(self, state: dict) -> None:
        chosen, self.seen = state["chosen"], state["seen"]
        if len(chosen) != len(self.chosen):  # of a version that looked back upon another number: take the latest
            chosen = chosen.roll(-(self.seen % len(chosen)))[-len(self.chosen) :]
            self.seen = len(chosen)
        self.chosen[: len(chosen)] = chosen
        self.mean.copy_(state["mean"])


def entropy(assignments: Tensor) -> Tensor:
    """Mean over rows of -sum_k q_k log q_k, in nats."""
    return -torch.xlogy(assignments, assignments).sum(dim=1).mean()


def neighbour_distance(embeddings: Tensor) -> Tensor:
    """Mean distance of each of (batch, dimensions) to its nearest other one, on the unit sphere."""
    points = F.normalize(embeddings.float(), dim=1)
    nearest = nearest_neighbours(points.unsqueeze(0)).squeeze(0)
    return (points - points[nearest]).norm(dim=1).mean()


def effective_rank(embeddings: Tensor) -> Tensor:
    """exp of the entropy of the singular values' shares (Roy and Vetterli 2007) of (batch, dimensions), on the sphere.

    1 where all embeddings are one; at most the smaller of batch and dimensions.
    """
    values = torch.linalg.svdvals(F.normalize(embeddings.float(), dim=1))
    shares = values / values.sum()
    return torch.exp(-torch.xlogy(shares, shares).sum())


def living_dimensions(points: Tensor) -> Tensor:
    """The share of columns of (rows, dimensions) whose standard deviation is above 1e-4."""
    return (points.std(dim=0) > 1e-4).float().mean()


def agreement(log_p: Tensor, targets: Tensor) -> Tensor:
    """The share of student views, log_p (views, batch, K), that choose the prototype of their targets (batch, K)."""
    return (log_p.argmax(dim=2) == targets.argmax(dim=1)).float().mean()
