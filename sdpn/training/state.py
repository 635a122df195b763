"""The state of a training in plain words, from its files alone; also while it runs."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import yaml

from sdpn import config as configuration
from sdpn.console import counted
from sdpn.errors import SdpnError
from sdpn.locks import is_held
from sdpn.training.config import TrainConfig
from sdpn.training.log import collapse, read_log

_EER = {"probe_eer": "of an utterance's halves against others'", "dev_eer": "on the dev trials"}


class Kind(Protocol):
    """What is said of one kind of training.

    Attributes:
        headline: what is trained, in a line.
        epochs: of the whole training.
    """

    headline: str
    epochs: int

    def figures(self, line: dict[str, float]) -> list[str]:
        """What a line of the log says, but for loss, rate and speed."""

    def collapse(self, line: dict[str, float], total_steps: int) -> str | None:
        """Why a line of the log speaks of a collapse; None where it does not."""


class Sdpn:
    """What is said of stage 4, see `Kind`.

    Args:
        settings: of config.yaml.
    """

    def __init__(self, settings: dict[str, Any]):
        known = {name: setting for name, setting in settings.items() if name not in ("augment", "inputs", "init")}
        self.config = config = configuration.read(None, TrainConfig, known)
        self.epochs = config.epochs
        self.headline = (
            f"{config.network}, {config.width} channels, {config.prototypes} prototypes, "
            f"batches of {config.batch_size}, {counted(config.epochs, 'epoch')}"
        )

    def figures(self, line: dict[str, float]) -> list[str]:
        return [
            f"prototypes in use: {line['prototypes_in_use']:.0f} of {self.config.prototypes}, as many as "
            f"{line['assignment_perplexity']:.0f} equally used ones",
            f"embeddings: effective rank {line['effective_rank']:.1f} of {self.config.embedding_size}, "
            f"{line['neighbour_distance']:.2f} from their nearest neighbour",
        ]

    def collapse(self, line: dict[str, float], total_steps: int) -> str | None:
        return collapse(line, self.config, total_steps // self.epochs)


def describe(exp_dir: Path, kind_of: Callable[[dict[str, Any]], Kind] = Sdpn) -> list[str]:
    """What a person wants to know of the training in `exp_dir`, a line for each thing.

    Args:
        kind_of: settings of its config.yaml -> what is said of it.

    Raises:
        SdpnError: there is no training.
    """
    kind = kind_of(settings_of(exp_dir))
    lines = read_log(exp_dir / "train.jsonl")
    last = lines[-1] if lines else None
    text = [f"{exp_dir}: {kind.headline}", f"state: {_state(exp_dir, last)}"]
    if last is not None:
        total = last.get("total_steps") or round(last["step"] / last["epoch"] * kind.epochs)  # older logs lack it
        age = time.time() - (exp_dir / "train.jsonl").stat().st_mtime
        text.append(f"progress: step {last['step']} of {total}, epoch {last['epoch']} of {kind.epochs} ({_ago(age)})")
        left = timedelta(seconds=round((total - last["step"]) * last["seconds_per_step"]))
        if last["step"] < total:
            text.append(f"speed: {last['utterances_per_second']:.1f} utterances a second, {left} left at that speed")
        if last["waiting_share"] > 0.1:
            text.append(f"data: {last['waiting_share']:.0%} of the time is spent waiting for data")
        text.append(f"loss: {last['loss']:.3f}{_trend(lines)}, learning rate {last['lr']:.3g}")
        text += kind.figures(last)
        reason = kind.collapse(last, int(total))
        text.append(f"health: looks collapsed: {reason}" if reason else "health: no sign of a collapse")
        for name, meaning in _EER.items():
            figures = [line[name] for line in lines if name in line]
            if figures:
                text.append(f"equal error rate {meaning}: {figures[-1]:.2%} (lowest so far {min(figures):.2%})")
    checkpoints = sorted((exp_dir / "checkpoints").glob("step-*.pt"))
    if checkpoints:
        age = time.time() - checkpoints[-1].stat().st_mtime
        text.append(f"checkpoints: {len(checkpoints)}, the newest {checkpoints[-1].name} ({_ago(age)})")
    if (exp_dir / "model" / "weights.pt").exists():
        text.append(f"model: {exp_dir}/model")
    return text


def augmentation_of(exp_dir: Path) -> dict[str, Any]:
    """How the training in `exp_dir` augments views: settings of ViewConfig by name.

    Raises:
        SdpnError: there is no training.
    """
    settings = settings_of(exp_dir).get("augment")
    if not isinstance(settings, dict):
        raise SdpnError(f"{exp_dir}/config.yaml is damaged: it does not say how views are augmented")
    return settings


def recorded_augmentation(folder: Path) -> dict[str, Any]:
    """How views were augmented in the experiment `folder`, settings by name; empty where nothing tells."""
    if not (folder / "config.yaml").exists() or (folder / "weights.pt").exists():
        return {}
    return {"p_equalize": 0.0, **augmentation_of(folder)}  # an older version did not equalize, and did not say so


def trained_on_labels(exp_dir: Path) -> bool:
    """Whether the network in `exp_dir` was trained on speaker labels that a user gave (stage 8 with `--labels`)."""
    return (exp_dir / "config.yaml").exists() and settings_of(exp_dir).get("learned_from") == "labels"


def settings_of(exp_dir: Path) -> dict[str, Any]:
    """What config.yaml of an experiment says.

    Raises:
        SdpnError: there is no training, or it is damaged.
    """
    path = exp_dir / "config.yaml"
    if not path.exists():
        raise SdpnError(f"{exp_dir} holds no training: {path} is missing")
    try:
        settings = configuration.parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    if not isinstance(settings, dict):
        raise SdpnError(f"{path} is damaged: it does not say what is trained")
    return settings


def _state(exp_dir: Path, last: dict | None) -> str:
    if is_held(exp_dir / ".lock"):
        return "running" if last else "running, no line of train.jsonl yet"
    if (exp_dir / "done" / "train.json").exists():
        return "finished"
    if not any((exp_dir / "checkpoints").glob("step-*.pt")):
        return "not running, nothing saved yet; the command that began it begins anew"
    return "not running; the command that began it goes on from the newest checkpoint"


def _trend(lines: list[dict]) -> str:
    if len(lines) < 2:
        return ""
    return f" (at first {lines[0]['loss']:.3f}, lowest {min(line['loss'] for line in lines):.3f})"


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} seconds ago"
