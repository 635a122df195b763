"""SDPN's student, teacher and prototypes, and the step that trains them (arXiv 2308.02774)."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sdpn.errors import SdpnError, refuse_unknown
from sdpn.models.head import Learner, ProjectedEncoder, ProjectionHead, Prototypes
from sdpn.models.norm import norms_over_ranks
from sdpn.models.registry import build_encoder
from sdpn.training import indicators, losses
from sdpn.training.collapse import usage_window
from sdpn.training.config import PRECISIONS, TrainConfig
from sdpn.training.ranks import Ranks
from sdpn.training.schedules import learning_rate, teacher_momentum
from sdpn.training.sinkhorn import sinkhorn
from sdpn.training.teacher import make_teacher, update_teacher


class Trainer:
    """Everything that a training changes from step to step.

    Args:
        config: checked.
        num_bins: mel bins of the features.
        steps_per_epoch: of the run; the schedules run over `config.epochs` times as many.
        device: where to compute.
        ranks: the processes that train together; each is given its share of a step's views.
        statistics: of the training set, which `input_norm: level` needs; see `InputNorm.set_statistics`.

    Attributes:
        student, teacher: ProjectedEncoder, encoder and head.
        prototypes: shared by both.
        usage: which prototypes the teacher chose of late.
    """

    def __init__(
        self,
        config: TrainConfig,
        num_bins: int,
        steps_per_epoch: int,
        device: torch.device,
        ranks: Ranks | None = None,
        statistics: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        torch.manual_seed(config.seed)
        self.config, self.device, self.ranks = config, device, ranks or Ranks()
        self.total_steps = config.epochs * steps_per_epoch
        self.warmup_steps = round(config.warmup_epochs * steps_per_epoch)
        encoder = build_encoder(**config.network_settings(num_bins))
        if statistics is not None:
            encoder.input_norm.set_statistics(*statistics)
        head = ProjectionHead(config.embedding_size, config.head_hidden, config.head_output)
        self.student = ProjectedEncoder(encoder, head, use_bfloat16(config.precision, device)).to(device).train()
        self.teacher = make_teacher(self.student)
        self.prototypes = Prototypes(config.prototypes, config.head_output, config.prototype_init).to(device)
        if config.sync_norms and self.ranks.count > 1:
            norms_over_ranks(self.student)
            norms_over_ranks(self.teacher)
        if config.compile:
            self.student.encoder.compile()
            self.teacher.encoder.compile()
        self.optimizer = torch.optim.SGD(self._groups(), lr=0.0, momentum=config.momentum, foreach=True)
        self.usage = indicators.Usage(config.prototypes, usage_window(config, steps_per_epoch), device)
        self._learner: nn.Module | None = None

    def _groups(self) -> list[dict]:
        """The student's matrices and kernels decay; its biases and norms, and the prototypes, do not."""
        matrices = [weight for weight in self.student.parameters() if weight.ndim > 1]
        rest = [weight for weight in self.student.parameters() if weight.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": [*rest, *self.prototypes.parameters()], "weight_decay": 0.0},
        ]

    @property
    def learner(self) -> Any:
        """Student and prototypes as one module, whose gradients are averaged over the ranks."""
        if self._learner is None:
            self._learner = Learner(self.student, self.prototypes)
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

    def step(self, step: int, teacher_views: Tensor, student_views: Tensor) -> dict[str, Any]:
        """Learn from one batch.

        Args:
            step: counted from 0 over the whole training; the schedules follow from it.
            teacher_views: (teacher_views, batch, frames, bins) log-mel, this rank's share of the step's utterances.
            student_views: (student_views, batch, frames, bins) log-mel.

        Returns:
            The losses and what the indicators are computed from, of the whole step, without gradient; nothing waits
            for the device.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)

        # The teacher's targets first, of the whole step: Sinkhorn balances over all of them
        with torch.no_grad():
            _, teacher_points = self._look(self.teacher, teacher_views)
            teacher_points = self.ranks.gather(teacher_points, dim=1)
            temperature = config.student_temperature * config.teacher_sharpening
            logits = self.prototypes(teacher_points.flatten(0, 1)) / temperature
            self.usage.update(logits.softmax(dim=1))
            targets = sinkhorn(logits, config.sinkhorn_iterations).unflatten(0, teacher_points.shape[:2]).mean(dim=0)

        def lose(embeddings: Tensor, points: Tensor, scores: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            return self._losses(embeddings, points, scores, teacher_points, targets)

        # The student, and the losses of the whole step
        self.optimizer.zero_grad(set_to_none=True)
        if config.accumulate == 1 and self.ranks.count == 1:
            embeddings, points, scores = self._look(self.learner, student_views)
            terms, log_p = lose(embeddings, points, scores)
            terms["loss"].backward()
        else:
            embeddings, points, terms, log_p = self._learn_in_parts(student_views, lose)

        gradient_norm = self._clip()
        self.optimizer.step()
        update_teacher(self.teacher, self.student, self.teacher_momentum(step))

        return {
            "terms": {name: term.detach() for name, term in terms.items()} | {"gradient_norm": gradient_norm},
            "embeddings": embeddings.detach(),
            "points": points.detach(),
            "log_p": log_p.detach(),
            "targets": targets,
        }

    def _learn_in_parts(self, views: Tensor, lose: Callable) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """Gradients of the whole step's losses where a step is split over micro-batches or ranks.

        No sum of parts' losses is the loss of the whole (nearest neighbours, mean entropy and correlations look at
        all utterances), but the gradient is exact in two moves: take the losses of all outputs, gathered without their
        graph, and their gradients with respect to those outputs; then pass each part its own gradients. The outputs
        are small. With micro-batches it costs one forward pass more, which keeps no activations.
        """
        at_once = self.config.accumulate == 1
        with nullcontext() if at_once else torch.no_grad(), nullcontext() if at_once else _norms_at_rest(self.student):
            outputs = self._look(self.learner, views)
        whole = [self.ranks.gather(output.detach(), dim=1).requires_grad_() for output in outputs]
        terms, log_p = lose(*whole)
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
                    torch.autograd.backward(self._look_at_once(self.learner, piece), piece_gradients)
        embeddings, points, _ = whole
        return embeddings, points, terms, log_p

    def _look(self, network: nn.Module, views: Tensor) -> tuple[Tensor, ...]:
        """(views, batch, frames, bins) -> the network's outputs (views, batch, ...), in micro-batches."""
        pieces = [self._look_at_once(network, piece) for piece in views.chunk(self.config.accumulate, dim=1)]
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))

    @staticmethod
    def _look_at_once(network: nn.Module, views: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.unflatten(0, views.shape[:2]) for output in network(views.flatten(0, 1)))

    def _losses(
        self, embeddings: Tensor, points: Tensor, scores: Tensor, teacher_points: Tensor, targets: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of a step by name, their weighted sum as `loss`, and the student's log-assignments."""
        config = self.config
        log_p = torch.log_softmax(scores / config.student_temperature, dim=2)
        terms: dict[str, Any] = {"assignment_loss": losses.assignment_loss(log_p, targets)}
        total = terms["assignment_loss"]
        if config.mean_entropy_weight > 0:
            terms["mean_entropy_loss"] = losses.mean_entropy_loss(log_p)
            total = total + config.mean_entropy_weight * terms["mean_entropy_loss"]
        if config.diversity_weight > 0:
            parts = embeddings.chunk(self.ranks.count if config.diversity_over == "rank" else 1, dim=1)
            terms["diversity_loss"] = sum(losses.diversity_loss(part) for part in parts) / len(parts)
            total = total + config.diversity_weight * terms["diversity_loss"]
        if config.dimension_weight > 0:
            both = (points.flatten(0, 1), teacher_points.flatten(0, 1))
            terms["dimension_loss"] = sum(losses.dimension_loss(each, config.dimension_norm) for each in both)
            total = total + config.dimension_weight * terms["dimension_loss"]
        return {"loss": total, **terms}, log_p

    def _clip(self) -> Tensor:
        """Shorten the gradient as configured; return the norm it had."""
        if self.config.prototype_gradients == "sum" and self.ranks.count > 1:
            assert self.prototypes.weight.grad is not None
            self.prototypes.weight.grad.mul_(self.ranks.count)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        if self.config.clip == "global":
            return nn.utils.clip_grad_norm_(weights, self.config.clip_norm, foreach=True)
        gradients = [
            weight.grad for weight in self.student.parameters() if weight.grad is not None
        ]  # the prototypes' go free
        assert self.prototypes.weight.grad is not None
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [(self.config.clip_norm / (norm + 1e-6)).clamp(max=1) for norm in norms])
        return torch.linalg.vector_norm(torch.stack([*norms, self.prototypes.weight.grad.norm()]))

    def learning_rate(self, step: int) -> float:
        """The learning rate at `step`."""
        return learning_rate(step, self.total_steps, self.warmup_steps, self.config.peak_lr, self.config.final_lr)

    def teacher_momentum(self, step: int) -> float:
        """The share of the teacher that stays at `step`."""
        return teacher_momentum(step, self.total_steps, self.config.teacher_momentum)

    def indicators(self, outcome: dict[str, Any]) -> dict[str, Tensor]:
        """The indicators of health, from what `step` returned; embeddings are those of the first student view."""
        embeddings = outcome["embeddings"][0]
        return {
            "prototypes_in_use": self.usage.in_use(),
            "assignment_perplexity": self.usage.perplexity(),
            "target_entropy": indicators.entropy(outcome["targets"]),
            "neighbour_distance": indicators.neighbour_distance(embeddings),
            "effective_rank": indicators.effective_rank(embeddings),
            "living_dimensions": indicators.living_dimensions(outcome["points"].flatten(0, 1)),
            "agreement": indicators.agreement(outcome["log_p"], outcome["targets"]),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "prototypes": self.prototypes.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "usage": self.usage.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises:
            SdpnError: it is of another architecture.
        """
        try:
            self.student.load_state_dict(state["student"])
            self.teacher.load_state_dict(state["teacher"])
            self.prototypes.load_state_dict(state["prototypes"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.usage.load_state_dict(state["usage"])
        except (RuntimeError, ValueError, KeyError) as error:  # what differs stands at the end of torch's text
            raise SdpnError(
                f"it is of another network than the settings describe ({' '.join(str(error).split())[-160:]})"
            ) from error
        torch.set_rng_state(state["random"].cpu())


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
