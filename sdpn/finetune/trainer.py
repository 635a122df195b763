"""An encoder and its classifier, and the step that trains them on classes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.errors import SdpnError
from sdpn.finetune.classifier import ClassifiedEncoder, Classifier
from sdpn.finetune.collapse import ADVICE, collapse
from sdpn.finetune.config import FineTuneConfig
from sdpn.finetune.correction import sure_classes
from sdpn.finetune.gate import gate_threshold
from sdpn.finetune.margin import margin_losses
from sdpn.finetune.schedules import Schedule
from sdpn.models.norm import norms_over_ranks
from sdpn.training import indicators
from sdpn.training.descent import Descent, use_bfloat16
from sdpn.training.prefetch import Batch
from sdpn.training.ranks import Ranks

_AT_ONCE = 32  # clean views that are looked at together


class ClassTrainer:
    """Everything that a fine-tuning changes from step to step.

    Args:
        config: checked.
        encoder: that it begins with; it is changed.
        dimensions: of its embeddings.
        classes: (n_utterances,) the class of each utterance of the training set, -1 for those that are left out.
        steps_per_epoch: of the run.
        clean: (epoch, utterances) -> their clean views (batch, frames, bins) float32, for label correction.
        device: where to compute.
        ranks: the processes that train together; each is given its share of a step's views.

    Attributes:
        network: the encoder and the classifier.
        losses: (n_utterances,) of this epoch with each one's own class, NaN where it has not been seen yet.
        corrected: (n_utterances,) the class that it takes in this epoch in place of its own, -1 for none.
        threshold: of the gate in this epoch.
    """

    advice = ADVICE

    def __init__(
        self,
        config: FineTuneConfig,
        encoder: nn.Module,
        dimensions: int,
        classes: np.ndarray,
        steps_per_epoch: int,
        clean: Callable[[int, np.ndarray], np.ndarray],
        device: torch.device,
        ranks: Ranks | None = None,
    ):
        torch.manual_seed(config.seed)
        self.config, self.device, self.ranks, self._clean = config, device, ranks or Ranks(), clean
        self.schedule = Schedule(config, steps_per_epoch)
        self.total_steps = self.schedule.total_steps
        self.n_classes = int(classes.max()) + 1
        classifier = Classifier(self.n_classes, dimensions, config.sub_centres)
        in_bfloat16 = use_bfloat16(config.precision, device)
        self.network = ClassifiedEncoder(encoder.requires_grad_(), classifier, in_bfloat16).to(device).train()
        if config.sync_norms and self.ranks.count > 1:
            norms_over_ranks(self.network)
        if config.compile:
            encoder.compile()
        self.descent = Descent(config, self.network, encoder, device, self.ranks)
        self.classes = torch.from_numpy(classes.astype(np.int64)).to(device)
        self.losses = torch.full((len(classes),), math.nan, device=device)
        self.corrected = torch.full_like(self.classes, -1)
        self.threshold = math.inf
        self.chosen = torch.zeros(self.n_classes, device=device)  # how often each class, in this epoch

    @property
    def encoder(self) -> nn.Module:
        """What becomes the model."""
        return self.network.encoder

    def learn(self, batch: Batch) -> dict[str, Any]:
        """Learn from a batch, see `step`; the first one of an epoch is preceded by `begin_epoch`."""
        assert batch.student is not None
        if batch.position == 0:
            self.begin_epoch(batch.epoch)
        return self.step(batch.step, batch.utterances, batch.student)

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Set the gate by the losses of the last epoch, and correct the labels of what it excludes.

        Args:
            epoch: counted from 0.
        """
        config, last = self.config, self.losses
        self.corrected = torch.full_like(self.classes, -1)
        if config.gate and epoch + 1 >= config.gate_from:
            before = self.threshold
            self.threshold = self.ranks.on_first(lambda: gate_threshold(last.cpu().numpy(), before))
            excluded = np.flatnonzero((last > self.threshold).cpu().numpy())
            if config.correction and epoch + 1 >= config.correction_from and len(excluded):
                found = self._sure_classes(epoch, excluded)
                self.corrected[torch.from_numpy(excluded).to(self.device)] = found
        self.losses = torch.full_like(last, math.nan)
        self.chosen = torch.zeros_like(self.chosen)

    def _sure_classes(self, epoch: int, utterances: np.ndarray) -> Tensor:
        """The class of which the network at rest is sure for each of the utterances, -1 for none; all ranks share."""
        config = self.config
        share = -(-len(utterances) // self.ranks.count)
        padded = np.resize(utterances, share * self.ranks.count)  # gathering takes equal shares
        self.network.eval()
        found = []
        for begin in range(0, share, _AT_ONCE):
            own = self.ranks.share(padded)[begin : begin + _AT_ONCE]
            views = torch.from_numpy(self._clean(epoch, own)).to(self.device)
            _, cosines = self.network(views.to(self.network.classifier.weight.dtype))
            found.append(sure_classes(cosines, config.correction_temperature, config.correction_confidence))
        self.network.train()
        return self.ranks.gather(torch.cat(found), dim=0)[: len(utterances)]

    def step(self, step: int, utterances: np.ndarray, views: Tensor) -> dict[str, Any]:
        """Learn from one batch.

        Args:
            step: counted from 0 over the whole fine-tuning; the schedules follow from it.
            utterances: (batch,) numbers in the training set, of the whole step.
            views: (views, batch, frames, bins) log-mel, of this rank's share of them.

        Returns:
            The losses and what the indicators are computed from, of the whole step, without gradient; nothing waits
            for the device.
        """
        config, margin = self.config, self.schedule.margin(step)
        rows = torch.from_numpy(utterances).to(self.device, non_blocking=True)
        own, corrected = self.classes[rows], self.corrected[rows]

        def lose(embeddings: Tensor, cosines: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
            # The gate compares losses of one margin, whatever that of this step is
            with torch.no_grad():
                gated = margin_losses(cosines, own.expand(cosines.shape[:2]), config.scale, config.margin).mean(dim=0)
                counts = ((gated <= self.threshold) | (corrected >= 0)).to(cosines.dtype)
            targets = torch.where(corrected >= 0, corrected, own)
            of_views = margin_losses(cosines, targets.expand(cosines.shape[:2]), config.scale, margin).mean(dim=0)
            loss = (of_views * counts).sum() / counts.sum().clamp(min=1)
            kept, mended = counts.mean(), (corrected >= 0).to(cosines.dtype).mean()
            return {"loss": loss, "kept_share": kept, "corrected_share": mended}, (gated, targets)

        (embeddings, cosines), terms, (gated, targets) = self.descent.backward(views, lose)
        gradient_norm = self.descent.clip()
        self.descent.step(self.schedule.learning_rate(step))

        with torch.no_grad():
            self.losses[rows] = gated.to(self.losses.dtype)
            chosen = cosines.argmax(dim=2)
            self.chosen.index_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten(), dtype=self.chosen.dtype))
            accuracy = (chosen == targets).to(cosines.dtype).mean()
        terms = {name: term.detach() for name, term in terms.items()}
        return {
            "terms": terms | {"accuracy": accuracy, "gradient_norm": gradient_norm},
            "embeddings": embeddings.detach(),
        }

    def schedules(self, step: int) -> dict[str, float]:
        """What follows from the step alone, and the threshold of the gate once there is one."""
        line = {"lr": self.schedule.learning_rate(step), "margin": self.schedule.margin(step)}
        return line | ({"gate_threshold": self.threshold} if math.isfinite(self.threshold) else {})

    def indicators(self, outcome: dict[str, Any]) -> dict[str, Tensor]:
        """The indicators of health, from what `step` returned."""
        embeddings = outcome["embeddings"][0]
        return {
            "largest_class_share": self.chosen.max() / self.chosen.sum(),
            "classes_in_use": (self.chosen > 0).sum(),
            "n_classes": torch.full((), float(self.n_classes), device=self.device),
            "neighbour_distance": indicators.neighbour_distance(embeddings),
            "effective_rank": indicators.effective_rank(embeddings),
        }

    def summary(self, line: dict[str, float]) -> str:
        """What of a line of the log a person who watches is shown."""
        return (
            f"margin {line['margin']:.2f}  right {line['accuracy']:.0%}  kept {line['kept_share']:.0%}"
            f"  corrected {line['corrected_share']:.1%}"
        )

    def collapse(self, line: dict[str, float]) -> str | None:
        """Why a line of the log speaks of a collapse; None where it does not."""
        return collapse(line, self.config, self.n_classes)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.descent.optimizer.state_dict(),
            "classes": self.classes,
            "losses": self.losses,
            "corrected": self.corrected,
            "threshold": self.threshold,
            "chosen": self.chosen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises:
            SdpnError: it is of another network, or of other classes.
        """
        if not torch.equal(state["classes"], self.classes):
            raise SdpnError("it is of other classes")
        try:
            self.network.load_state_dict(state["network"])
            self.descent.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:  # what differs stands at the end of torch's text
            raise SdpnError(
                f"it is of another network than the settings describe ({' '.join(str(error).split())[-160:]})"
            ) from error
        self.losses, self.corrected, self.chosen = state["losses"], state["corrected"], state["chosen"]
        self.threshold = state["threshold"]
