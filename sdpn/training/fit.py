"""A training from its first step or its last checkpoint to its model."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sdpn.augment.views import ViewSampler
from sdpn.console import say, warn
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.models.folder import write_model
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.config import TrainConfig
from sdpn.training.indicators import collapse
from sdpn.training.log import Interval, TrainLog
from sdpn.training.prefetch import Batch, Prefetcher
from sdpn.training.sampler import BatchSampler
from sdpn.training.trainer import Trainer

STOPPED_BY_SIGNAL = 85


def fit(config: TrainConfig, views: ViewSampler, exp_dir: Path, device: torch.device) -> list[Path] | None:
    """Train, and write `exp_dir`/{checkpoints/, train.jsonl, tensorboard/, model/, systems/untrained/model/}.

    Goes on from the newest checkpoint. On a CPU a training that was stopped, at any moment and any number of times,
    ends with the same weights to the bit as an undisturbed one with as many threads.

    Returns:
        The files of the model; None where SIGTERM or SIGUSR1 asked to stop, after saving.

    Raises:
        SdpnError: the batch is larger than the training set; the loss is not finite; training has collapsed and
            `config.abort_on_collapse` is set.
    """
    index = views.index
    batches = BatchSampler(len(index), config.batch_size, config.seed)
    trainer = Trainer(config, index.num_bins, batches.steps_per_epoch, device)
    settings = (config.network_settings(index.num_bins), index.config.spectral())
    checkpoints = Checkpoints(exp_dir / "checkpoints", config.keep_checkpoints)

    # The teacher before its first step is the `untrained` baseline
    untrained = write_model(exp_dir / "systems" / "untrained" / "model", trainer.teacher.encoder, *settings)

    step, interval, threads = 0, Interval(), torch.get_num_threads()
    state = checkpoints.newest(device)
    if state is not None:
        step = state["step"]
        trainer.load_state_dict(state["trainer"])
        interval.load_state_dict(state["interval"])
        say(f"  going on after step {step} of {trainer.total_steps}")
        if device.type == "cpu" and state["threads"] != threads:
            warn(f"begun with {state['threads']} threads, now {threads}: the result will differ in its last bits")

    with (
        _stop_signals() as stop,
        TrainLog(exp_dir, step, trainer.total_steps, config.epochs) as log,
        Prefetcher(views, batches, step, trainer.total_steps, device) as prefetched,
    ):
        unchecked: list[tuple[Batch, torch.Tensor]] = []
        collapsed = False
        for batch in prefetched:
            outcome = trainer.step(batch.step, batch.teacher, batch.student)
            step = batch.step + 1
            interval.add(outcome["terms"])
            log.count()
            unchecked.append((batch.without_views(), outcome["terms"]["loss"]))

            last, stopping = step == trainer.total_steps, bool(stop)
            time_to_log = step % config.log_every == 0 or last
            time_to_save = step % config.checkpoint_every == 0 or last or stopping
            if time_to_log or time_to_save or device.type == "cpu":  # a look at the loss makes a GPU wait
                _check_finite(unchecked, index, checkpoints)
                unchecked = []
            if time_to_log:
                figures = interval.close(trainer.indicators(outcome), config.batch_size, prefetched.waited)
                schedules = {
                    "lr": trainer.learning_rate(batch.step),
                    "teacher_momentum": trainer.teacher_momentum(batch.step),
                }
                log.write({"step": step, "epoch": batch.epoch + 1, **schedules, **figures})
                collapsed = _watch(step, figures, config, collapsed)
            if time_to_save:
                state = {"trainer": trainer.state_dict(), "interval": interval.state_dict(), "threads": threads}
                checkpoints.save(step, state)
            if stopping and not last:
                say(f"  stopped by {stop[0]} after step {step}: the same command goes on from there")
                return None
    return [*untrained, *write_model(exp_dir / "model", trainer.teacher.encoder, *settings)]


def _watch(step: int, figures: dict[str, float], config: TrainConfig, collapsed: bool) -> bool:
    """Warn where the figures begin to speak of a collapse, or stop; return whether they do."""
    reason = collapse(figures, config)
    if reason is None:
        return False
    advice = "try a lower lr, a larger batch_size or a larger diversity_weight"
    if config.abort_on_collapse:
        raise SdpnError(f"training has collapsed at step {step}: {reason}: {advice}")
    if not collapsed:
        warn(f"training looks collapsed at step {step}: {reason}; {advice}")
    return True


def _check_finite(steps: list[tuple[Batch, torch.Tensor]], index: FeatureIndex, checkpoints: Checkpoints) -> None:
    """Raise SdpnError for the first step whose loss is not a finite number."""
    finite = torch.isfinite(torch.stack([loss for _, loss in steps])).tolist()
    if all(finite):
        return
    batch, _ = steps[finite.index(False)]
    names = [index.ids[utterance] for utterance in batch.utterances]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise SdpnError(
        f"the loss is not finite at step {batch.step + 1} (epoch {batch.epoch + 1}; utterances {shown}); the last good "
        f"checkpoint is {checkpoints.newest_path() or 'none'}: look at these utterances, or train with a lower lr"
    )


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Collect the names of SIGTERM and SIGUSR1 as they arrive, in place of dying of them."""
    arrived: list[str] = []

    def note(number: int, frame: object) -> None:
        arrived.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def choose_device(ngpu: int) -> torch.device:
    """The CPU, or the GPU.

    Raises:
        SdpnError: there is no GPU, or more than one is asked for.
    """
    if ngpu == 0:
        return torch.device("cpu")
    if ngpu > 1:
        raise SdpnError(f"--ngpu is {ngpu}: using several GPUs is not supported; use --ngpu 1")
    if not torch.cuda.is_available():
        raise SdpnError("--ngpu is 1 but torch finds no GPU here: use --ngpu 0, or install a CUDA build of torch")
    return torch.device("cuda", 0)


def computing_with(device: torch.device) -> str:
    """What computes, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads on {os.cpu_count()} CPU cores"
