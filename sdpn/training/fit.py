"""A training from its first step or its last checkpoint to its model."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdpn.augment.views import ViewSampler
from sdpn.console import say, warn
from sdpn.errors import SdpnError
from sdpn.models.folder import write_model
from sdpn.training.card import write_card
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.config import TrainConfig
from sdpn.training.log import Interval, TrainLog
from sdpn.training.prefetch import Prefetcher
from sdpn.training.ranks import CommonError, Ranks
from sdpn.training.sampler import BatchSampler
from sdpn.training.stopping import CollapseWatch, check_finite, stop_signals
from sdpn.training.trainer import Trainer


def fit(
    config: TrainConfig,
    views: ViewSampler,
    exp_dir: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    examine: Callable[[nn.Module], dict[str, float]] | None = None,
) -> list[Path] | None:
    """Train, and write `exp_dir`/{checkpoints/, train.jsonl, tensorboard/, model/, systems/untrained/model/}.

    Goes on from the newest checkpoint. On a CPU a training that was stopped, at any moment and any number of times,
    ends with the same weights to the bit as an undisturbed one with as many threads.

    Args:
        ranks: the processes that train together; all call this alike, the first one writes and speaks.
        examine: figures of the teacher's encoder, for the line at the end of an epoch; they are looked at, no more.

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
    epoch_steps = batches.steps_per_epoch
    trainer = Trainer(config, index.num_bins, epoch_steps, device, ranks)
    settings = (config.network_settings(index.num_bins), index.config.spectral())
    kept_steps = config.keep_every_epochs * epoch_steps
    checkpoints = Checkpoints(
        exp_dir / "checkpoints", config.keep_checkpoints, config.checkpoint_every, keep_every=kept_steps
    )
    untrained: list[Path] = []
    if ranks.first:  # the teacher before its first step is the `untrained` baseline
        untrained = write_model(exp_dir / "systems" / "untrained" / "model", trainer.teacher.encoder, *settings)
    interval = Interval()
    # Utterances and views of a step follow from the step and these: the sampler's place and the augmentation's key
    draws = {"seed": config.seed, "steps_per_epoch": epoch_steps, "features": index.fingerprint}
    step = _go_on(trainer, interval, checkpoints, draws, ranks)
    watch = CollapseWatch(config, epoch_steps, speaking=ranks.first)

    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        log = stack.enter_context(TrainLog(exp_dir, step, trainer.total_steps, config.epochs)) if ranks.first else None
        prefetched = stack.enter_context(Prefetcher(views, batches, step, trainer.total_steps, device, ranks))
        unchecked, first_step = [], step
        for batch in prefetched:
            assert batch.teacher is not None and batch.student is not None
            if batch.step == first_step:  # the first batch waits for the kernels' compilation
                interval.start_clock(prefetched.waited)
            outcome = trainer.step(batch.step, batch.teacher, batch.student)
            step = batch.step + 1
            interval.add(outcome["terms"])
            vital = torch.stack([outcome["terms"]["loss"], outcome["terms"]["gradient_norm"]])
            unchecked.append((batch.without_views(), vital))

            last, epoch_ends = step == trainer.total_steps, step % epoch_steps == 0
            stopping = bool(ranks.largest(len(stop)))
            time_to_log = step % config.log_every == 0 or epoch_ends
            time_to_save = step % config.checkpoint_every == 0 or last or stopping
            time_to_save |= bool(kept_steps) and step % kept_steps == 0
            if time_to_log or time_to_save or device.type == "cpu":  # a look at the loss makes a GPU wait
                check_finite(unchecked, views, checkpoints)
                unchecked = []
            if log:
                log.count()
            if time_to_log:
                figures = interval.close(trainer.indicators(outcome), config.batch_size, prefetched.waited)
                schedules = {
                    "lr": trainer.learning_rate(batch.step),
                    "teacher_momentum": trainer.teacher_momentum(batch.step),
                }
                if log:
                    examined = _examine(examine, trainer.teacher.encoder) if epoch_ends else {}
                    place = {"step": step, "total_steps": trainer.total_steps, "epoch": batch.epoch + 1}
                    log.write({**place, **schedules, **figures, **examined})
                    interval.restart_clock()
                watch.look(step, figures)
            if time_to_save and ranks.first:
                state = {"trainer": trainer.state_dict(), "interval": interval.state_dict(), "draws": draws}
                checkpoints.save(step, {**state, **_computed_with(config, ranks)})
            if stopping and not last:
                ranks.largest(0)  # nobody leaves before the first rank has saved: launchers end whoever is left
                if ranks.first:
                    reason = stop[0] if stop else "a signal"
                    say(f"  stopped by {reason} after step {step}: the same command goes on from there")
                return None
    if not ranks.first:
        return []
    checkpoints.remove_old()  # of which a run that was killed after its last one left too many
    encoder = trainer.teacher.encoder
    averaged = _average(encoder, checkpoints, config.average_checkpoints)
    model = write_model(exp_dir / "model", encoder, *settings)
    write_card(exp_dir, config, index, encoder, averaged)
    return [*untrained, *model]


def check_fit(config: TrainConfig, frames: Any, ranks: int = 1) -> None:
    """Whether a training set, given by its utterances' frames, and a number of processes suit the settings.

    Raises:
        SdpnError: they do not.
    """
    if config.batch_size > len(frames):
        raise CommonError(
            f"batch_size is {config.batch_size} but the training set has {len(frames)} utterances: "
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
            f"prototypes is {config.prototypes} but the training set has {len(frames)} utterances, too few to use "
            "every prototype: choose fewer prototypes"
        )
    parts = ranks * config.accumulate
    if config.batch_size % parts or config.batch_size // parts < 2:
        raise CommonError(
            f"batch_size is {config.batch_size}: it does not divide among {ranks} processes x {config.accumulate} "
            "micro-batches with at least 2 utterances in each: choose a multiple"
        )


def _go_on(trainer: Trainer, interval: Interval, checkpoints: Checkpoints, draws: dict[str, Any], ranks: Ranks) -> int:
    """Take up the newest checkpoint; return the steps done."""
    state = checkpoints.newest(trainer.device)
    if state is None:
        return 0
    try:
        if state["draws"] != draws:
            raise SdpnError("it saw other utterances, or in another order")
        trainer.load_state_dict(state["trainer"])
        interval.load_state_dict(state["interval"])
    except (SdpnError, KeyError) as error:
        raise CommonError(
            f"{state['path']} cannot be gone on from: {error}: choose another experiment folder, or remove "
            f"{checkpoints.directory} to train anew"
        ) from error
    if ranks.first:
        say(f"  going on after step {state['step']} of {trainer.total_steps}")
        if trainer.device.type == "cpu":
            for name, now in _computed_with(trainer.config, ranks).items():
                before = state.get(name, now)  # an older version has not kept all of them
                if before != now:
                    warn(f"begun with {name} {before}, now {now}: the result will differ in its last bits")
    return state["step"]


def _computed_with(config: TrainConfig, ranks: Ranks) -> dict[str, int | bool]:
    """What decides the last bits of the result, besides the settings that decide all of it."""
    return {"threads": torch.get_num_threads(), "ranks": ranks.count, "compile": config.compile}


def _examine(examine: Callable[[nn.Module], dict[str, float]] | None, encoder: nn.Module) -> dict[str, float]:
    if examine is None:
        return {}
    encoder.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # utterances of all lengths: it would compile for each
            return examine(encoder)
    except SdpnError as error:  # what is only watched ends no training
        warn(f"no figures of this epoch besides the losses: {error}")
        return {}
    finally:
        encoder.train()


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
