#!/usr/bin/env python3
"""Stage 8: fine-tune an encoder on the labels of stage 7.

    steps/finetune.py --config conf/finetune/toy.yaml data exp/toy/round1

reads data/train, data/augment and ROUND/labels, begins with the model of the experiment that the labels are of (or
--init MODEL), augments views as that one did, and writes ROUND as stage 4 writes an experiment: config.yaml,
checkpoints, train.jsonl, tensorboard, training.png and model. Killed at any moment, the same command goes on from the
last checkpoint. SIGTERM and SIGUSR1 save at the next step and end with status 85. A new classifier is trained by
AAM-softmax on augmented crops; what has a high loss is excluded, or takes the class that the network is sure of; the
last epochs have a large margin and long crops.

Several GPUs: as for steps/train_sdpn.py.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.cluster.devices import on_devices
from sdpn.cluster.stage import Where, cluster_options, run_training
from sdpn.console import run, say
from sdpn.corpus.layout import Corpus
from sdpn.features.index import open_features
from sdpn.finetune.config import FineTuneConfig, RoundConfig
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.program import program, round_config, settings, shared
from sdpn.training.start import leave_on_signals, sleep_at_barriers

if TYPE_CHECKING:
    import torch

    from sdpn.training.ranks import Ranks


@program(__doc__, "data", "round")
@round_config
@click.option("--augment-config", default="conf/augment.yaml", help="how views are augmented (YAML)")
@click.option(
    "--init",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="experiment or model folder to begin with  [default: the experiment that the labels are of]",
)
@shared("ngpu")
@cluster_options(shards=False)
@click.option(
    "--dev-trials",
    metavar="LIST",
    help="a trial list of DATA, or a file; its EER is shown after each epoch and decides nothing",
)
@settings(FineTuneConfig)
@settings(ViewConfig)
def main(
    data: Path,
    round: Path,
    config_file: str | None,
    augment_config: str,
    init: Path | None,
    ngpu: int,
    dev_trials: str | None,
    where: Where,
    **overrides,
) -> int:
    if where.slurm is not None:
        run_training(where, round, "finetune", ngpu)
        return 0
    leave_on_signals()
    sleep_at_barriers()
    given = config.given(FineTuneConfig, overrides)
    corpus = Corpus.read(data)
    chosen = config.read(config_file or kind_of(corpus.name).finetune, RoundConfig, given).part(FineTuneConfig)
    index = open_features(data / corpus.train)
    from sdpn.augment.banks import open_banks, warn_of_other_settings
    from sdpn.augment.sampling import make_sampler
    from sdpn.finetune.fit import check_fit, fine_tune
    from sdpn.finetune.labels import read_labels
    from sdpn.finetune.views import Crops
    from sdpn.scoring.probe import examination
    from sdpn.training.devices import computing_with
    from sdpn.training.sitting import sit
    from sdpn.training.state import recorded_augmentation
    from sdpn.training.warm_start import read_start

    labels = read_labels(round, index.ids)
    before = Path(labels.experiment) if init is None else init
    as_recorded = recorded_augmentation(before)
    augment = config.read(augment_config, AugmentConfig, {**as_recorded, **config.given(ViewConfig, overrides)})
    banks = open_banks(data, index, augment.augment)
    start = read_start(before, index)

    def act(device: "torch.device", ranks: "Ranks") -> int:
        fitted = fitting(chosen, given, labels.count, ranks)
        if ranks.first:
            warn_of_other_settings(data, augment_config, augment)
        inputs = {"features": index.fingerprint, "banks": banks.fingerprint, "labels": labels.digest}
        resolved = {
            **config.to_dict(fitted),
            "augment": augment.recorded(),
            "learned_from": "labels" if labels.given else "clusters",
            "init": str(start.directory),
            "inputs": {**inputs, "init": start.digest},
        }
        examine = None

        def crops() -> Crops:
            return Crops(partial(make_sampler, index, banks, augment, fitted.seed), fitted)

        def prepare() -> None:
            nonlocal examine
            check_fit(fitted, labels, ranks.count)
            crops()
            examine = examination(index, device, fitted.probe_utterances, data, dev_trials)

        announcement = (
            f"fine-tuning {start.directory} on {labels.n_classes} classes of {labels.count} utterances, "
            f"epochs: {fitted.epochs} and {fitted.large_margin_epochs} with a large margin, batches of "
            f"{fitted.batch_size}, with {computing_with(device, ranks.count)}"
        )
        tune = partial(fine_tune, fitted, start, labels, crops(), round, device, ranks)
        return sit(round, resolved, ranks, prepare, lambda: tune(examine), announcement)

    return on_devices(ngpu, act)


def fitting(settings: FineTuneConfig, given: dict[str, Any], utterances: int, ranks: "Ranks") -> FineTuneConfig:
    """Return the settings with a batch lowered to the labelled utterances, which is said, unless the user gave it."""
    parts = ranks.count * settings.accumulate
    batch = min(settings.batch_size, utterances) // parts * parts
    if batch == settings.batch_size or "batch_size" in given or batch < 2 * parts:
        return settings
    if ranks.first:
        say(f"  batch_size lowered from {settings.batch_size} to {batch}: {utterances} utterances have a class")
    return replace(settings, batch_size=batch)


if __name__ == "__main__":
    run(main)
