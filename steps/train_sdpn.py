#!/usr/bin/env python3
"""Stage 4: train SDPN on the cached features, without any label.

    steps/train_sdpn.py --config conf/sdpn/toy.yaml --epochs 20 data exp/toy

reads data/train and data/augment and writes EXP/{config.yaml,checkpoints/,train.jsonl,tensorboard/,model/}. Killed at
any moment, the same command goes on from the last checkpoint. SIGTERM and SIGUSR1 save at the next step and end with
status 85.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.console import run, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.features.index import open_features
from sdpn.files import exclusive
from sdpn.shards import Work
from sdpn.training.config import TrainConfig
from sdpn.training.identity import claim, training_work

if TYPE_CHECKING:
    from sdpn.augment.views import ViewSampler


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("exp", type=click.Path(path_type=Path))
@click.option("--config", "config_file", default="conf/sdpn/toy.yaml", show_default=True, help="settings (YAML)")
@click.option("--augment-config", default="conf/augment.yaml", show_default=True, help="how views are augmented (YAML)")
@click.option("--ngpu", default=0, show_default=True, type=click.IntRange(0), help="GPUs; 0: the CPU")
@config.options(TrainConfig)
@config.options(ViewConfig)
def main(data: Path, exp: Path, config_file: str, augment_config: str, ngpu: int, **overrides) -> int:
    settings = config.read(config_file, TrainConfig, config.given(TrainConfig, overrides))
    augment = config.read(augment_config, AugmentConfig, config.given(ViewConfig, overrides))
    index = open_features(data / Corpus.read(data).train)
    from sdpn.augment.banks import open_banks
    from sdpn.training.sampler import BatchSampler

    BatchSampler(len(index), settings.batch_size, settings.seed)  # refuses a batch that the corpus cannot fill
    banks = open_banks(data, index, augment.augment)
    resolved = {
        **config.to_dict(settings),
        "augment": {name: list(v) if isinstance(v, tuple) else v for name, v in augment.part(ViewConfig).items()},
        "inputs": {"features": index.fingerprint, "banks": banks.fingerprint},
    }
    with exclusive(exp):
        claim(exp, resolved)
        work = training_work(exp, resolved)
        if work.stale_reason() is None:
            say(f"{exp}: trained already, {exp}/model is up to date")
            return 0
        from sdpn.augment.sampling import make_sampler

        crops = ("teacher_views", "teacher_frames", "student_views", "student_frames")
        views = make_sampler(index, banks, augment, settings.seed, **{name: getattr(settings, name) for name in crops})
        return _train(settings, views, exp, ngpu, work)


def _train(settings: TrainConfig, views: "ViewSampler", exp: Path, ngpu: int, work: Work) -> int:
    """Train to the end, or until a signal; return the exit status."""
    from sdpn.training.fit import STOPPED_BY_SIGNAL, choose_device, computing_with, fit
    from sdpn.training.memory import keep_freed_memory

    device = choose_device(ngpu)
    keep_freed_memory()
    say(
        f"training {settings.network} ({settings.channels} channels, {settings.prototypes} prototypes) on "
        f"{len(views.index)} utterances, epochs: {settings.epochs}, batches of {settings.batch_size}, "
        f"with {computing_with(device)}"
    )
    work.begin()
    with timed("training"):
        outputs = fit(settings, views, exp, device)
    if outputs is None:
        return STOPPED_BY_SIGNAL
    work.finish(outputs)
    say(f"  wrote {exp}/model; the course of the training is in {exp}/train.jsonl and {exp}/tensorboard")
    return 0


if __name__ == "__main__":
    run(main)
