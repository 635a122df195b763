"""The record of a training: train.jsonl, TensorBoard, a line for who watches; when it tells of a collapse."""

import json
import math
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.console import Progress
from sdpn.files import write_text
from sdpn.training.config import LoopConfig, TrainConfig

if TYPE_CHECKING:
    from torch import Tensor


EXAMINED = ("probe_eer", "dev_eer")
"""Figures that lines at the end of an epoch may carry besides, see sdpn.scoring.probe."""

HEALTH = (
    "gradient_norm",
    "prototypes_in_use",
    "assignment_perplexity",
    "target_entropy",
    "neighbour_distance",
    "effective_rank",
    "living_dimensions",
    "agreement",
)
"""Figures that tell whether training is healthy, for TensorBoard."""

ADVICE = (
    "try another folder with a lower lr, a larger batch_size, a larger diversity_weight or a smaller teacher_sharpening"
)


class TrainLog:
    """Appends the figures of a step to `train.jsonl` and to `tensorboard/`, and prints the important ones.

    Args:
        directory: of the experiment.
        step: the steps done; figures of later ones, which a killed run left behind, are removed.
        total_steps, epochs: of the run, for the line that is printed.
    """

    def __init__(self, directory: Path, step: int, total_steps: int, epochs: int):
        self.epochs = epochs
        path = directory / "train.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        if path.exists():
            write_text(path, "".join(json.dumps(line) + "\n" for line in read_log(path) if line["step"] <= step))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  (closed by close)
        if step == 0:
            shutil.rmtree(directory / "tensorboard", ignore_errors=True)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)
        settings = directory / "config.yaml"
        if settings.exists():
            self._board.add_text("settings", f"```yaml\n{settings.read_text(encoding='utf-8')}\n```", step)
        self._progress = Progress("training", total_steps, "steps", done=step, own_lines=True)

    def count(self) -> None:
        """Count a step that is done."""
        self._progress.advance()

    def write(self, line: dict[str, float], summary: str) -> None:
        """Record a line; `step` in it counts the steps done, `total_steps` those of the whole training.

        Args:
            summary: of the figures, for a person.
        """
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, figure in line.items():
            if name not in ("step", "total_steps", "epoch"):
                group = "eval" if name in EXAMINED else "health" if name in HEALTH else "train"
                self._board.add_scalar(f"{group}/{name}", figure, line["step"])
        left = timedelta(seconds=round((line["total_steps"] - line["step"]) * line["seconds_per_step"]))
        text = (
            f"epoch {line['epoch']}/{self.epochs} step {line['step']}/{line['total_steps']}"
            f"  loss {line['loss']:.3f}  lr {line['lr']:.3g}  {summary}"
            + "".join(f"  {name.removesuffix('_eer')} EER {line[name]:.2%}" for name in EXAMINED if name in line)
            + f"  {line['utterances_per_second']:.1f} utt/s  {left} left"
        )
        self._progress.advance(0, text)
        if line["step"] * self.epochs % line["total_steps"] == 0:  # an epoch ends
            self._progress.keep(text)

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(self, *exc_info) -> None:
        self._progress.close()
        self._file.close()
        self._board.close()


class Interval:
    """What has gathered since the last line: sums of the losses, which checkpoints keep, and the time."""

    def __init__(self):
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self.start_clock(0.0)

    def start_clock(self, waited: float) -> None:
        """Count the time from here on, and the waiting beyond the `waited` seconds so far."""
        self._began, self._timed_steps, self._waited_before = time.perf_counter(), 0, waited
        self._cpu_began = time.process_time()

    def add(self, terms: "dict[str, Tensor]") -> None:
        """Count a step and its losses."""
        self._sums = {name: self._sums.get(name, 0) + term for name, term in terms.items()}
        self._steps += 1
        self._timed_steps += 1

    def close(self, indicators: "dict[str, Tensor]", batch_size: int, waited: float) -> dict[str, float]:
        """The figures of the interval, and begin the next one. The one place where a step waits for a GPU.

        Args:
            indicators: of the last step.
            waited: seconds spent waiting for data, since this process began.
        """
        import torch

        figures = {name: total / self._steps for name, total in self._sums.items()} | indicators
        values = torch.stack([value.double() for value in figures.values()]).tolist()
        seconds = time.perf_counter() - self._began
        line = {
            **dict(zip(figures, values, strict=True)),
            "utterances_per_second": self._timed_steps * batch_size / seconds,
            "seconds_per_step": seconds / self._timed_steps,
            "cpu_seconds_per_step": (time.process_time() - self._cpu_began) / self._timed_steps,
            "waiting_share": (waited - self._waited_before) / seconds,
        }
        self._sums, self._steps = {}, 0
        self.start_clock(waited)
        return line

    def restart_clock(self) -> None:
        """Leave out of the time what was done since `close`."""
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def state_dict(self) -> dict:
        return {"sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: dict) -> None:
        self._sums, self._steps = state["sums"], state["steps"]


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a `train.jsonl`, up to one that a kill cut off, or that is damaged; none where there is no file."""
    lines = []
    for text in path.read_bytes().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:  # JSON's, or Unicode's
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


def usage_window(config: TrainConfig, epoch_steps: int) -> int:
    """The teacher's last assignments in which prototypes in use are counted.

    Two utterances to a prototype, of which equal use takes 86 % of the prototypes; but never more than half an epoch,
    nor less than a step: a network that has collapsed in the first half of an epoch is to be seen at its end.
    """
    step_assignments = config.batch_size * config.teacher_views
    return max(step_assignments, min(2 * config.prototypes, epoch_steps * step_assignments // 2))


def collapse(line: dict[str, float], config: TrainConfig, epoch_steps: int) -> str | None:
    """Return why a line of the log indicates a collapse, in words; None if it does not.

    Prototypes in use and the entropy of the targets are judged only once the window in which they are counted is full,
    since a few utterances cannot use many prototypes. The entropy is needed, too: if all targets are alike, chance
    puts one prototype or another ahead, so that many seem to be in use.
    """
    reasons = []
    counted = line["step"] * config.batch_size * config.teacher_views >= usage_window(config, epoch_steps)
    if counted and line["prototypes_in_use"] < max(2, config.min_prototypes_in_use * config.prototypes):
        reasons.append(f"{line['prototypes_in_use']:.0f} of {config.prototypes} prototypes in use")
    entropy, largest = line["target_entropy"], math.log(config.prototypes)
    if counted and entropy > config.max_target_entropy * largest:
        reasons.append(f"targets that choose no prototype, entropy {entropy:.2f} of at most {largest:.2f}")
    return ", ".join(reasons + embeddings_alike(line, config)) or None


def embeddings_alike(line: dict[str, float], config: LoopConfig) -> list[str]:
    """Return in what respects a line of the log says that all embeddings are alike, in words; none if they are not."""
    reasons = []
    if line["effective_rank"] < min(config.min_effective_rank, (1 + config.batch_size) / 2):  # that of 2 is at most 2
        reasons.append(f"effective rank {line['effective_rank']:.2f}")
    if line["neighbour_distance"] < config.min_neighbour_distance:
        reasons.append(f"embeddings {line['neighbour_distance']:.3f} from their nearest neighbour")
    return reasons
