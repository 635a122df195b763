"""SDPN's student, teacher and prototypes, and the step that trains them (arXiv 2308.02774)."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.errors import SdpnError
from sdpn.models.head import Learner, ProjectedEncoder, ProjectionHead, Prototypes
from sdpn.models.input_norm import InputNorm
from sdpn.models.norm import norms_over_ranks
from sdpn.models.registry import build_encoder
from sdpn.training import indicators, losses
from sdpn.training.config import TrainConfig
from sdpn.training.descent import Descent, use_bfloat16
from sdpn.training.log import ADVICE, collapse, usage_window
from sdpn.training.losses import sinkhorn
from sdpn.training.prefetch import Batch
from sdpn.training.ranks import Ranks
from sdpn.training.schedules import learning_rate, teacher_momentum


class Trainer:
    """Everything that a training changes from step to step.

    Args:
        config: checked.
        num_bins: mel bins of the features.
        steps_per_epoch: of the run; the schedules run over `config.epochs` times as many.
        device: where to compute.
        ranks: the processes that train together; each is given its share of a step's views.
        statistics: of the training set, which `input_norm: level` needs; see `InputNorm.set_statistics`.
        encoder: to begin with, in the place of one with random weights; student and teacher are copies of it.

    Attributes:
        student, teacher: ProjectedEncoder, encoder and head.
        prototypes: shared by both.
        usage: which prototypes the teacher chose of late.
    """

    advice = ADVICE

    def __init__(
        self,
        config: TrainConfig,
        num_bins: int,
        steps_per_epoch: int,
        device: torch.device,
        ranks: Ranks | None = None,
        statistics: tuple[np.ndarray, np.ndarray] | None = None,
        encoder: nn.Module | None = None,
    ):
        torch.manual_seed(config.seed)
        self.config, self.device, self.ranks = config, device, ranks or Ranks()
        self.total_steps = config.epochs * steps_per_epoch
        self.warmup_steps = round(config.warmup_epochs * steps_per_epoch)
        encoder = build_encoder(**config.network_settings(num_bins)) if encoder is None else copy.deepcopy(encoder)
        if statistics is not None:
            assert isinstance(encoder.input_norm, InputNorm)
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
        self.descent = Descent(config, Learner(self.student, self.prototypes), self.student, device, self.ranks)
        self.usage = indicators.Usage(config.prototypes, usage_window(config, steps_per_epoch), device)

    @property
    def encoder(self) -> nn.Module:
        """What becomes the model: the teacher's encoder."""
        return self.teacher.encoder

    def learn(self, batch: Batch) -> dict[str, Any]:
        """Learn from a batch, see `step`."""
        assert batch.teacher is not None and batch.student is not None
        return self.step(batch.step, batch.teacher, batch.student)

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

        # The teacher's targets first, of the whole step: Sinkhorn balances over all of them
        with torch.no_grad():
            _, teacher_points = self.descent.outputs(self.teacher, teacher_views)
            teacher_points = self.ranks.gather(teacher_points, dim=1)
            temperature = config.student_temperature * config.teacher_sharpening
            logits = self.prototypes(teacher_points.flatten(0, 1)) / temperature
            self.usage.update(logits.softmax(dim=1))
            targets = sinkhorn(logits, config.sinkhorn_iterations).unflatten(0, teacher_points.shape[:2]).mean(dim=0)

        def compute_losses(embeddings: Tensor, points: Tensor, scores: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            return self._compute_losses(embeddings, points, scores, teacher_points, targets)

        # The student, and the losses of the whole step
        (embeddings, points, _), terms, log_p = self.descent.backward(student_views, compute_losses)
        gradient_norm = self._clip()
        self.descent.step(self.learning_rate(step))
        update_teacher(self.teacher, self.student, self.teacher_momentum(step))

        return {
            "terms": {name: term.detach() for name, term in terms.items()} | {"gradient_norm": gradient_norm},
            "embeddings": embeddings.detach(),
            "points": points.detach(),
            "log_p": log_p.detach(),
            "targets": targets,
        }

    def _compute_losses(
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
        if self.config.clip == "global":
            return self.descent.clip()
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

    def schedules(self, step: int) -> dict[str, float]:
        """What follows from the step alone, for its line of the log."""
        return {"lr": self.learning_rate(step), "teacher_momentum": self.teacher_momentum(step)}

    def collapse(self, line: dict[str, float]) -> str | None:
        """Why a line of the log speaks of a collapse; None where it does not."""
        return collapse(line, self.config, self.total_steps // self.config.epochs)

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

    def summary(self, line: dict[str, float]) -> str:
        """What of a line of the log a person who watches is shown."""
        return f"prototypes {line['prototypes_in_use']:.0f}  rank {line['effective_rank']:.1f}"

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "prototypes": self.prototypes.state_dict(),
            "optimizer": self.descent.optimizer.state_dict(),
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
            self.descent.optimizer.load_state_dict(state["optimizer"])
            self.usage.load_state_dict(state["usage"])
        except (RuntimeError, ValueError, KeyError) as error:  # what differs stands at the end of torch's text
            raise SdpnError(
                f"it is of another network than the settings describe ({' '.join(str(error).split())[-160:]})"
            ) from error
        torch.set_rng_state(state["random"].cpu())


def make_teacher(student: ProjectedEncoder) -> ProjectedEncoder:
    """A copy of `student` that gradients do not reach, in training mode: its batch norms see the global views."""
    return copy.deepcopy(student).requires_grad_(False).train()


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, for all parameters.

    Running statistics of batch norms are not averaged: each network has those of the views it sees.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
