"""Stage 8: a fine-tuning from an encoder that is there, over the loop of every training, to its model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sdpn.finetune.config import FineTuneConfig
from sdpn.finetune.labels import Labels
from sdpn.finetune.trainer import ClassTrainer
from sdpn.finetune.views import Crops
from sdpn.models.folder import write_model
from sdpn.training.card import Origin, write_card
from sdpn.training.loop import checkpoints_of, train
from sdpn.training.prefetch import BatchSampler
from sdpn.training.ranks import CommonError, Ranks
from sdpn.training.warm_start import WarmStart


def fine_tune(
    config: FineTuneConfig,
    start: WarmStart,
    labels: Labels,
    crops: Crops,
    exp_dir: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    examine: Callable[[nn.Module], dict[str, float]] | None = None,
) -> list[Path] | None:
    """Train an encoder and a classifier, and write `exp_dir`/{checkpoints/, train.jsonl, tensorboard/, model/}.

    Args, Returns, Raises: see `sdpn.training.fit.fit`.
    """
    index, ranks = crops.index, ranks or Ranks()
    check_fit(config, labels, ranks.count)
    chosen = np.flatnonzero(labels.classes >= 0)
    batches = BatchSampler(len(chosen), config.batch_size, config.seed, chosen)
    encoder, dimensions = start.encoder, start.network["embedding_size"]
    trainer = ClassTrainer(
        config, encoder, dimensions, labels.classes, batches.steps_per_epoch, crops.clean, device, ranks
    )
    checkpoints = checkpoints_of(exp_dir, config, batches.steps_per_epoch)
    if not train(trainer, crops, batches, exp_dir, checkpoints, examine):
        return None
    if not ranks.first:
        return []
    model = write_model(exp_dir / "model", trainer.encoder, start.network, index.config.spectral())
    write_card(exp_dir, origin_of(labels, start), config, start.network, index, trainer.encoder)
    return model


def origin_of(labels: Labels, start: WarmStart) -> Origin:
    """How the model came about, for its card."""
    what = "speakers that are known" if labels.given else "pseudo-speakers, without speaker labels,"
    return Origin(
        f"A speaker encoder fine-tuned on {'speaker labels' if labels.given else 'pseudo-speakers'}",
        f"the encoder of {start.directory}, fine-tuned",
        f"to tell {labels.n_classes} {what}",
        "AAM-softmax (arXiv 1801.07698) with a loss gate and label correction (arXiv 2208.01928)",
    )


def check_fit(config: FineTuneConfig, labels: Labels, ranks: int = 1) -> None:
    """Whether labelled utterances and a number of processes suit the settings.

    Raises:
        SdpnError: they do not.
    """
    if config.batch_size > labels.count:
        raise CommonError(
            f"batch_size is {config.batch_size} but {labels.count} utterances have a class: choose a smaller one"
        )
    parts = ranks * config.accumulate
    if config.batch_size % parts or config.batch_size // parts < 2:
        raise CommonError(
            f"batch_size is {config.batch_size}: it does not divide among {ranks} processes x {config.accumulate} "
            "micro-batches with at least 2 utterances in each: choose a multiple"
        )
