#!/usr/bin/env python3
"""Stage 4: train SDPN on the cached features, without any label.

    steps/train_sdpn.py --config conf/sdpn/toy.yaml --epochs 20 data exp/toy

reads data/train and data/augment and writes EXP: config.yaml, checkpoints, train.jsonl, tensorboard, training.png and
model. Killed at any moment, the same command goes on from the last checkpoint. SIGTERM and SIGUSR1 save at the next
step and end with status 85. `sdpn info EXP` says how far it is. What a small training set has too few utterances for
(prototypes, batch_size, ...) is lowered and said, unless it is given as --name value. The config.yaml of an experiment
as --config makes it again, its augmentation included. With --init MODEL (an experiment or a model folder, an imported
checkpoint too) it begins with that encoder, at a lower rate, and the features must be those that it was trained on.

--cmd slurm trains in a job that saves before its limit and is requeued; its settings say on how many nodes.
Several GPUs of one machine: --ngpu N. Several machines: one task for each GPU by srun (or torchrun), each with --ngpu 1
and the same arguments. batch_size is that of the whole step, however many GPUs share it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.cluster.devices import on_devices
from sdpn.cluster.stage import Where, cluster_options, run_training
from sdpn.console import counted, run, say, warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex, open_features
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.program import program, settings, shared, training_config
from sdpn.training.config import TrainConfig, read_settings
from sdpn.training.sizes import fit_to_corpus
from sdpn.training.start import leave_on_signals, sleep_at_barriers

if TYPE_CHECKING:
    import torch

    from sdpn.augment.banks import Banks
    from sdpn.augment.views import ViewSampler
    from sdpn.training.ranks import Ranks
    from sdpn.training.warm_start import WarmStart


@program(__doc__, "data", "exp")
@training_config
@click.option("--augment-config", default="conf/augment.yaml", help="how views are augmented (YAML)")
@shared("init", "ngpu")
@cluster_options(shards=False)
@click.option(
    "--dev-trials",
    metavar="LIST",
    help="a trial list of DATA, or a file; its EER is shown after each epoch and decides nothing",
)
@settings(TrainConfig)
@settings(ViewConfig)
def main(
    data: Path,
    exp: Path,
    config_file: str | None,
    augment_config: str,
    init: Path | None,
    ngpu: int,
    dev_trials: str | None,
    where: Where,
    **overrides,
) -> int:
    if where.slurm is not None:
        run_training(where, exp, "train_sdpn", ngpu)
        return 0
    leave_on_signals()
    sleep_at_barriers()
    given = config.given(TrainConfig, overrides)
    corpus = Corpus.read(data)
    config_file = config_file or kind_of(corpus.name).config
    settings, as_recorded, inputs, recorded_init = read_settings(config_file, given)
    augment = config.read(augment_config, AugmentConfig, {**as_recorded, **config.given(ViewConfig, overrides)})
    index = open_features(data / corpus.train)
    from sdpn.augment.banks import open_banks, warn_of_other_settings
    from sdpn.training.warm_start import begin_with, read_start

    banks = open_banks(data, index, augment.augment)
    start, chosen = None, settings
    sentences: list[str] = []
    if init is not None:
        start = read_start(init, index)
        chosen, sentences = begin_with(start, settings, given)
    elif recorded_init is not None:  # settings as they were recorded are gentle already
        start = read_start(recorded_init, index)

    def act(device: "torch.device", ranks: "Ranks") -> int:
        if ranks.first:
            warn_of_other_settings(data, augment_config, augment)
            now = {"features": index.fingerprint, "banks": banks.fingerprint}
            other = [name for name in now if name in inputs and inputs[name] != now[name]]
            if other:
                which = " and the ".join(other)
                warn(f"the {which} of {data} are not those of {config_file}: the result will differ")
        fitted = fitting(chosen, given, index, ranks)
        if ranks.first and start is not None:
            for sentence in sentences:
                say(f"  {sentence}")
        return _train(fitted, augment, index, banks, (data, dev_trials), exp, device, ranks, start)

    return on_devices(ngpu, act)


def fitting(settings: TrainConfig, given: dict[str, Any], index: FeatureIndex, ranks: "Ranks") -> TrainConfig:
    """Return the settings with what the training set is too small for lowered, and say what was."""
    from sdpn.training.ranks import CommonError

    longest = int(index.frames.max()) if len(index) else None
    try:
        settings, lowered = fit_to_corpus(settings, given, len(index), longest, ranks.count)
    except SdpnError as error:
        raise CommonError(str(error)) from None
    if ranks.first:
        for sentence in lowered:
            say(f"  {sentence}")
    return settings


def _train(
    settings: TrainConfig,
    augment: AugmentConfig,
    index: FeatureIndex,
    banks: "Banks",
    dev: tuple[Path, str | None],
    exp: Path,
    device: "torch.device",
    ranks: "Ranks",
    start: "WarmStart | None",
) -> int:
    """Train to the end, or until a signal; return the exit status."""
    from sdpn.augment.sampling import make_sampler
    from sdpn.augment.views import foreign_cross_term
    from sdpn.scoring.probe import examination
    from sdpn.training.devices import computing_with
    from sdpn.training.fit import check_fit, fit
    from sdpn.training.sitting import sit

    inputs = {"features": index.fingerprint, "banks": banks.fingerprint}
    resolved = {**config.to_dict(settings), "augment": augment.recorded(), "inputs": inputs}
    if start is not None:
        resolved = {**resolved, "init": str(start.directory), "inputs": {**inputs, "init": start.digest}}
    examine = None
    crops = ("teacher_views", "teacher_frames", "student_views", "student_frames")

    def sampler() -> "ViewSampler":
        return make_sampler(index, banks, augment, settings.seed, **{name: getattr(settings, name) for name in crops})

    def prepare() -> None:
        nonlocal examine
        check_fit(settings, index.frames, ranks.count)
        sampler()
        examine = examination(index, device, settings.probe_utterances, *dev)
        foreign = foreign_cross_term(augment, index.config)
        if foreign:
            warn(foreign)

    announcement = (
        f"training {settings.network} ({settings.width} channels, {settings.prototypes} prototypes) on "
        f"{counted(len(index), 'utterance')}, epochs: {settings.epochs}, batches of {settings.batch_size}, "
        f"with {computing_with(device, ranks.count)}"
    )
    return sit(
        exp,
        resolved,
        ranks,
        prepare,
        lambda: fit(settings, sampler(), exp, device, ranks, examine, start),
        announcement,
    )


if __name__ == "__main__":
    run(main)
