"""How a network learns from the losses of a whole step, in one piece or split over micro-batches and ranks."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sdpn.errors import refuse_unknown
from sdpn.training.config import PRECISIONS, LoopConfig
from sdpn.training.ranks import Ranks

Losses = Callable[..., tuple[dict[str, Tensor], Any]]
"""The network's outputs, of the whole step -> losses by name, their sum as `loss`, and what else is wanted of them."""


class Descent:
    """Stochastic gradient descent of a network whose losses are of a whole step.

    Args:
        config: of the optimizer; checked.
        network: all that learns, (batch, frames, bins) -> a tuple of outputs (batch, ...).
        decaying: its part whose matrices and kernels decay; biases, norms and all other weights do not.
        device: where to compute.
        ranks: the processes that train together; each is given its share of a step's views.
    """

    def __init__(self, config: LoopConfig, network: nn.Module, decaying: nn.Module, device: torch.device, ranks: Ranks):
        self.config, self.device, self.ranks, self.network = config, device, ranks, network
        matrices = [weight for weight in decaying.parameters() if weight.ndim > 1]
        known = {id(weight) for weight in matrices}
        rest = [weight for weight in network.parameters() if id(weight) not in known]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, foreach=True)
        self._learner: nn.Module | None = None

    @property
    def learner(self) -> Any:
        """The network as one module whose gradients are averaged over the ranks."""
        if self._learner is None:
            self._learner = self.network
            if self.ranks.count > 1:
                # Gradients of kernels that cover one frame have strides of their own; copying them costs little
                warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name from torch 2.13
                    # Running statistics are the first rank's views', or all ranks' where norms are synchronized
                    self._learner = DistributedDataParallel(
                        self._learner,
                        device_ids=[self.device] if self.device.type == "cuda" else None,
                        broadcast_buffers=False,
                        gradient_as_bucket_view=True,
                    )
        return self._learner

    def backward(self, views: Tensor, losses: Losses) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Any]:
        """Leave the gradients of the whole step's losses on the weights.

        Args:
            views: (views, batch, frames, bins), this rank's share of the step's utterances.

        Returns:
            The network's outputs (views, batch, ...) of the whole step, the losses by name, and what else they gave.
        """
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.accumulate == 1 and self.ranks.count == 1:
            outputs = self.outputs(self.learner, views)
            terms, others = losses(*outputs)
            terms["loss"].backward()
            return outputs, terms, others
        return self._backward_in_parts(views, losses)

    def _backward_in_parts(self, views: Tensor, losses: Losses) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Any]:
        """Gradients of the whole step's losses where a step is split over micro-batches or ranks.

        No sum of parts' losses is the loss of the whole (nearest neighbours, mean entropy and correlations look at
        all utterances), but the gradient is exact in two moves: take the losses of all outputs, gathered without their
        graph, and their gradients with respect to those outputs; then pass each part its own gradients. The outputs
        are small. With micro-batches it costs one forward pass more, which keeps no activations.
        """
        at_once = self.config.accumulate == 1
        with nullcontext() if at_once else torch.no_grad(), nullcontext() if at_once else _norms_at_rest(self.network):
            outputs = self.outputs(self.learner, views)
        whole = tuple(self.ranks.gather(output.detach(), dim=1).requires_grad_() for output in outputs)
        terms, others = losses(*whole)
        gradients = torch.autograd.grad(terms["loss"], whole, materialize_grads=True)
        # Every rank has the gradient of the whole loss, and the average over ranks is to be their sum
        own = [self.ranks.own(gradient, dim=1) * self.ranks.count for gradient in gradients]
        if at_once:
            torch.autograd.backward(outputs, own)
        else:
            pieces = list(zip(*(tensor.chunk(self.config.accumulate, dim=1) for tensor in (views, *own)), strict=True))
            for i, (piece, *piece_gradients) in enumerate(pieces):
                alone = i < len(pieces) - 1 and self.ranks.count > 1
                with self.learner.no_sync() if alone else nullcontext():
                    torch.autograd.backward(_outputs_at_once(self.learner, piece), piece_gradients)
        return whole, terms, others

    def outputs(self, network: nn.Module, views: Tensor) -> tuple[Tensor, ...]:
        """(views, batch, frames, bins) -> a network's outputs (views, batch, ...), in micro-batches."""
        pieces = [_outputs_at_once(network, piece) for piece in views.chunk(self.config.accumulate, dim=1)]
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))

    def clip(self) -> Tensor:
        """Shorten the whole gradient to `clip_norm`; return the norm it had."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return nn.utils.clip_grad_norm_(weights, self.config.clip_norm, foreach=True)

    def step(self, lr: float) -> None:
        """Move the weights along their gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()


def _outputs_at_once(network: nn.Module, views: Tensor) -> tuple[Tensor, ...]:
    return tuple(output.unflatten(0, views.shape[:2]) for output in network(views.flatten(0, 1)))


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether an encoder computes in bfloat16: where asked for, or by `auto` on a GPU whose hardware has it."""
    refuse_unknown("precision", precision, PRECISIONS)
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bfloat16"


@contextmanager
def _norms_at_rest(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are, so that views seen twice count once."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
