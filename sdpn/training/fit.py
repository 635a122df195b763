"""Stage 4: a training of SDPN from its first step or its last checkpoint to its model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sdpn.augment.views import ViewSampler
from sdpn.console import counted
from sdpn.features.index import FeatureIndex
from sdpn.models.folder import write_model
from sdpn.models.input_norm import level_statistics
from sdpn.training.card import Origin, write_card
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.config import TrainConfig
from sdpn.training.loop import checkpoints_of, train
from sdpn.training.prefetch import BatchSampler
from sdpn.training.ranks import CommonError, Ranks
from sdpn.training.trainer import Trainer
from sdpn.training.warm_start import WarmStart

PAPER = "arXiv 2308.02774"
_SAMPLED = 5000  # utterances whose statistics stand for those of the training set


def fit(
    config: TrainConfig,
    views: ViewSampler,
    exp_dir: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    examine: Callable[[nn.Module], dict[str, float]] | None = None,
    start: WarmStart | None = None,
) -> list[Path] | None:
    """Train, and write `exp_dir`/{checkpoints/, train.jsonl, tensorboard/, model/, systems/untrained/model/}.

    Goes on from the newest checkpoint. On a CPU a training that was stopped, at any moment and any number of times,
    ends with the same weights to the bit as an undisturbed one with as many threads.

    Args:
        ranks: the processes that train together; all call this alike, the first one writes and speaks.
        examine: figures of the teacher's encoder, for the line at the end of an epoch; they are looked at, no more.
        start: the encoder to begin with, which then stands for no untrained baseline; `config` describes it.

    Returns:
        The files of the model; None where SIGTERM or SIGUSR1 asked to stop, after saving.

    Raises:
        SdpnError: the batch is larger than the training set, or does not divide among the ranks; a view is longer than
            every utterance; a checkpoint is of another network; the loss is not finite; training has collapsed and
            `config.abort_on_collapse` is set.
    """
    index, ranks = views.index, ranks or Ranks()
    check_fit(config, index.frames, ranks.count)
    batches = BatchSampler(len(index), config.batch_size, config.seed)
    statistics = None
    if config.input_norm == "level" and start is None:  # an encoder that is there has its own
        statistics = ranks.on_first(lambda: level_statistics(_sample(index)))
    encoder = start.encoder if start else None
    trainer = Trainer(config, index.num_bins, batches.steps_per_epoch, device, ranks, statistics, encoder)
    network = start.network if start else config.network_settings(index.num_bins)
    settings = (network, index.config.spectral())
    untrained: list[Path] = []
    if ranks.first and start is None:  # the teacher before its first step is the `untrained` baseline
        untrained = write_model(exp_dir / "systems" / "untrained" / "model", trainer.teacher.encoder, *settings)
    checkpoints = checkpoints_of(exp_dir, config, batches.steps_per_epoch)
    if not train(trainer, views, batches, exp_dir, checkpoints, examine):
        return None
    if not ranks.first:
        return []
    averaged = _average(trainer.encoder, checkpoints, config.average_checkpoints)
    model = write_model(exp_dir / "model", trainer.encoder, *settings)
    teacher = "the teacher's encoder after the last step"
    if averaged > 1:
        teacher = f"the mean of the teacher's encoders in the last {averaged} checkpoints"
    labels = "without speaker labels" + (f", beginning with {start.directory}," if start else "")
    origin = Origin("A speaker encoder trained by self-supervision (SDPN)", teacher, labels, PAPER)
    write_card(exp_dir, origin, config, network, index, trainer.encoder)
    return [*untrained, *model]


def check_fit(config: TrainConfig, frames: Any, ranks: int = 1) -> None:
    """Whether a training set, given by its utterances' frames, and a number of processes suit the settings.

    Raises:
        SdpnError: they do not.
    """
    if config.batch_size > len(frames):
        raise CommonError(
            f"batch_size is {config.batch_size} but the training set has {counted(len(frames), 'utterance')}: "
            "choose a smaller batch_size"
        )
    for name in ("teacher_frames", "student_frames"):
        if getattr(config, name) > frames.max():
            raise CommonError(
                f"{name} is {getattr(config, name)} but the longest training utterance has {frames.max()} frames: "
                "choose shorter views"
            )
    if config.prototypes > len(frames):
        raise CommonError(
            f"prototypes is {config.prototypes} but the training set has {counted(len(frames), 'utterance')}, "
            "too few to use every prototype: choose fewer prototypes"
        )
    parts = ranks * config.accumulate
    if config.batch_size % parts or config.batch_size // parts < 2:
        raise CommonError(
            f"batch_size is {config.batch_size}: it does not divide among {ranks} processes x {config.accumulate} "
            "micro-batches with at least 2 utterances in each: choose a multiple"
        )


def _sample(index: FeatureIndex) -> Iterator[np.ndarray]:
    """Yield the features of utterances that are evenly spread over the index, at most _SAMPLED of them."""
    for utterance in np.unique(np.linspace(0, len(index) - 1, min(len(index), _SAMPLED)).astype(int)):
        yield index.read(int(utterance))


@torch.no_grad()
def _average(encoder: nn.Module, checkpoints: Checkpoints, count: int) -> int:
    """Give the encoder the mean of the last `count` checkpoints' teachers; return how many there were."""
    if count == 1:
        return 1
    states = checkpoints.last(count)
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            values = [state["trainer"]["teacher"][f"encoder.{name}"].double() for state in states]
            tensor.copy_(torch.stack(values).mean(dim=0))
    return len(states)
