"""What changes over stage 8: the margin, the learning rate and the length of the crops, by phase."""

from dataclasses import dataclass

from sdpn.finetune.config import FineTuneConfig
from sdpn.training.schedules import learning_rate


@dataclass(frozen=True)
class Schedule:
    """The main phase, then the one with a large margin, long crops and a small learning rate (arXiv 2010.11255).

    Attributes:
        config: of the fine-tuning.
        epoch_steps: steps of an epoch.
    """

    config: FineTuneConfig
    epoch_steps: int

    @property
    def main_steps(self) -> int:
        """Steps of the main phase."""
        return self.config.epochs * self.epoch_steps

    @property
    def total_steps(self) -> int:
        """Steps of both phases."""
        return self.config.all_epochs * self.epoch_steps

    def margin(self, step: int) -> float:
        """Rises from 0 in equal parts to its value, and jumps where the large margin begins."""
        if step >= self.main_steps:
            return self.config.large_margin
        warmup = self.config.margin_warmup_epochs * self.epoch_steps
        return self.config.margin * (min(step / warmup, 1.0) if warmup > 0 else 1.0)

    def learning_rate(self, step: int) -> float:
        """In each phase along half a cosine to `final_lr`, in the main one after a warm-up."""
        config = self.config
        if step < self.main_steps:
            warmup = round(config.warmup_epochs * self.epoch_steps)
            return learning_rate(step, self.main_steps, warmup, config.peak_lr, config.final_lr)
        peak = config.large_margin_lr * config.peak_lr
        rest = self.total_steps - self.main_steps
        return learning_rate(step - self.main_steps, rest, 0, peak, min(config.final_lr, peak))
