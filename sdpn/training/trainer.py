"""SDPN's student, teacher and prototypes, and the step that trains them (arXiv 2308.02774)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sdpn.models.head import ProjectedEncoder, ProjectionHead, Prototypes
from sdpn.models.registry import build_encoder
from sdpn.training import indicators, losses
from sdpn.training.config import TrainConfig
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

    Attributes:
        student, teacher: ProjectedEncoder, encoder and head.
        prototypes: shared by both.
        usage: which prototypes the teacher chose of late.
    """

    def __init__(self, config: TrainConfig, num_bins: int, steps_per_epoch: int, device: torch.device):
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.total_steps = config.epochs * steps_per_epoch
        self.warmup_steps = round(config.warmup_epochs * steps_per_epoch)
        encoder = build_encoder(**config.network_settings(num_bins))
        head = ProjectionHead(config.embedding_size, config.head_hidden, config.head_output)
        self.student = ProjectedEncoder(encoder, head).to(device).train()
        self.teacher = make_teacher(self.student)
        self.prototypes = Prototypes(config.prototypes, config.head_output).to(device)
        self.optimizer = torch.optim.SGD(self._groups(), lr=0.0, momentum=config.momentum, foreach=True)
        # Four utterances to a prototype, but never more than an epoch: a collapse is to be seen within one
        window = min(4 * config.prototypes, steps_per_epoch * config.batch_size * config.teacher_views)
        self.usage = indicators.Usage(config.prototypes, window, device)

    def _groups(self) -> list[dict]:
        """The student's matrices and kernels decay; its biases and norms, and the prototypes, do not."""
        matrices = [weight for weight in self.student.parameters() if weight.ndim > 1]
        rest = [weight for weight in self.student.parameters() if weight.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": [*rest, *self.prototypes.parameters()], "weight_decay": 0.0},
        ]

    def step(self, step: int, teacher_views: Tensor, student_views: Tensor) -> dict[str, Any]:
        """Learn from one batch.

        Args:
            step: counted from 0 over the whole training; the schedules follow from it.
            teacher_views: (teacher_views, batch, frames, bins) log-mel.
            student_views: (student_views, batch, frames, bins) log-mel.

        Returns:
            The losses and what the indicators are computed from, without gradient; nothing waits for the device.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)

        # The teacher's targets first, of the whole step: Sinkhorn balances over all of them
        with torch.no_grad():
            _, teacher_points = self._look(self.teacher, teacher_views)
            temperature = config.student_temperature * config.teacher_sharpening
            logits = self.prototypes(teacher_points.flatten(0, 1)) / temperature
            self.usage.update(logits.softmax(dim=1))
            targets = sinkhorn(logits, config.sinkhorn_iterations).unflatten(0, teacher_points.shape[:2]).mean(dim=0)

        # The student, and the losses of the whole step
        self.optimizer.zero_grad(set_to_none=True)
        if config.accumulate == 1:
            embeddings, points = self._look(self.student, student_views)
            terms, log_p = self._losses(embeddings, points, teacher_points, targets)
            terms["loss"].backward()
        else:
            # In micro-batches: see all views once without gradient, take the losses of the whole step and their
            # gradients with respect to embeddings and points, then see each micro-batch again and pass those on.
            # One forward pass more, and exact, which sums of micro-batches' losses are not.
            with torch.no_grad(), _norms_at_rest(self.student):
                embeddings, points = self._look(self.student, student_views)
            embeddings.requires_grad_()
            points.requires_grad_()
            terms, log_p = self._losses(embeddings, points, teacher_points, targets)
            terms["loss"].backward()
            pieces = (
                tensor.chunk(config.accumulate, dim=1) for tensor in (student_views, embeddings.grad, points.grad)
            )
            for views, embeddings_gradient, points_gradient in zip(*pieces, strict=True):
                outputs = self._look_at_once(self.student, views)
                torch.autograd.backward(outputs, (embeddings_gradient, points_gradient))

        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        gradient_norm = nn.utils.clip_grad_norm_(weights, config.clip_norm, foreach=True)
        self.optimizer.step()
        update_teacher(self.teacher, self.student, self.teacher_momentum(step))

        return {
            "terms": {name: term.detach() for name, term in terms.items()} | {"gradient_norm": gradient_norm},
            "embeddings": embeddings.detach(),
            "points": points.detach(),
            "log_p": log_p.detach(),
            "targets": targets,
        }

    def _look(self, network: nn.Module, views: Tensor) -> tuple[Tensor, Tensor]:
        """(views, batch, frames, bins) -> embeddings and points (views, batch, ...), in micro-batches."""
        pieces = [self._look_at_once(network, piece) for piece in views.chunk(self.config.accumulate, dim=1)]
        if len(pieces) == 1:
            return pieces[0]
        embeddings, points = zip(*pieces, strict=True)
        return torch.cat(embeddings, dim=1), torch.cat(points, dim=1)

    @staticmethod
    def _look_at_once(network: nn.Module, views: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, points = network(views.flatten(0, 1))
        return embeddings.unflatten(0, views.shape[:2]), points.unflatten(0, views.shape[:2])

    def _losses(
        self, embeddings: Tensor, points: Tensor, teacher_points: Tensor, targets: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of a step by name, their weighted sum as `loss`, and the student's log-assignments."""
        config = self.config
        log_p = torch.log_softmax(self.prototypes(points) / config.student_temperature, dim=2)
        terms = {"assignment_loss": losses.assignment_loss(log_p, targets)}
        total = terms["assignment_loss"]
        if config.mean_entropy_weight > 0:
            terms["mean_entropy_loss"] = losses.mean_entropy_loss(log_p)
            total = total + config.mean_entropy_weight * terms["mean_entropy_loss"]
        if config.diversity_weight > 0:
            terms["diversity_loss"] = losses.diversity_loss(embeddings)
            total = total + config.diversity_weight * terms["diversity_loss"]
        if config.dimension_weight > 0:
            both = (points.flatten(0, 1), teacher_points.flatten(0, 1))
            terms["dimension_loss"] = sum(losses.dimension_loss(each, config.dimension_norm) for each in both)
            total = total + config.dimension_weight * terms["dimension_loss"]
        return {"loss": total, **terms}, log_p

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
        """Take up what `state_dict` gave."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.prototypes.load_state_dict(state["prototypes"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.usage.load_state_dict(state["usage"])
        torch.set_rng_state(state["random"].cpu())


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
