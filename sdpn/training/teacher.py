"""The teacher: an exponential moving average of the student."""

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def make_teacher(student: Network) -> Network:
    """A copy of `student` that gradients do not reach, in training mode: its batch norms see the global views."""
    return copy.deepcopy(student).requires_grad_(False).train()


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, for all parameters.

    Running statistics of batch norms are not averaged: each network has those of the views it sees.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
