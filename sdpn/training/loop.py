"""The loop of every training, from its first step or its last checkpoint to its last step, whatever is learned."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdpn.console import say, warn
from sdpn.errors import SdpnError
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.config import LoopConfig
from sdpn.training.log import Interval, TrainLog
from sdpn.training.prefetch import Batch, BatchSampler, Prefetcher, ViewSource
from sdpn.training.ranks import CommonError, Ranks
from sdpn.training.stopping import CollapseWatch, check_finite, stop_signals


class Objective(Protocol):
    """What is learned: SDPN in stage 4, classes in stage 8.

    Attributes:
        device: where it computes.
        ranks: the processes that train together.
        total_steps: from the first to the last.
        advice: what to try where training has collapsed.
    """

    device: torch.device
    ranks: Ranks
    total_steps: int
    advice: str

    @property
    def config(self) -> LoopConfig:
        """The settings of the training."""

    @property
    def encoder(self) -> nn.Module:
        """What becomes the model."""

    def learn(self, batch: Batch) -> dict[str, Any]:
        """Learn from a batch; return `terms`, losses and `gradient_norm`, and what `indicators` looks at."""

    def schedules(self, step: int) -> dict[str, float]:
        """What follows from the step alone, for its line of the log; `lr` is among it."""

    def indicators(self, outcome: dict[str, Any]) -> dict[str, Tensor]:
        """What tells whether training is healthy, from what `learn` returned."""

    def summary(self, line: dict[str, float]) -> str:
        """What of a line of the log a person who watches is shown."""

    def collapse(self, line: dict[str, float]) -> str | None:
        """Why a line of the log speaks of a collapse; None where it does not."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; raise SdpnError where it is of another network."""


def train(
    objective: Objective,
    views: ViewSource,
    batches: BatchSampler,
    exp_dir: Path,
    checkpoints: Checkpoints,
    examine: Callable[[nn.Module], dict[str, float]] | None = None,
) -> bool:
    """Train to the last step, and write `exp_dir`/{checkpoints/, train.jsonl, tensorboard/}.

    Goes on from the newest checkpoint. On a CPU a training that was stopped, at any moment and any number of times,
    ends with the same weights to the bit as an undisturbed one with as many threads.

    Args:
        examine: figures of the encoder, for the line at the end of an epoch; they are looked at, no more.

    Returns:
        Whether it is done; False where SIGTERM or SIGUSR1 asked to stop, after saving.

    Raises:
        SdpnError: a checkpoint is of another network; the loss is not finite; training has collapsed and
            `abort_on_collapse` is set.
    """
    config, device, ranks = objective.config, objective.device, objective.ranks
    epoch_steps, total_steps = batches.steps_per_epoch, objective.total_steps
    interval = Interval()
    # Utterances and views of a step follow from the step and these: the sampler's order and the augmentation's key
    draws = {"seed": config.seed, "steps_per_epoch": epoch_steps, "features": views.index.fingerprint}
    step = _go_on(objective, interval, checkpoints, draws)
    watch = CollapseWatch(objective.collapse, objective.advice, config.abort_on_collapse, speaking=ranks.first)

    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        epochs = total_steps // epoch_steps
        log = stack.enter_context(TrainLog(exp_dir, step, total_steps, epochs)) if ranks.first else None
        prefetched = stack.enter_context(Prefetcher(views, batches, step, total_steps, device, ranks))
        unchecked, first_step = [], step
        for batch in prefetched:
            if batch.step == first_step:  # the first batch waits for the kernels' compilation
                interval.start_clock(prefetched.waited)
            outcome = objective.learn(batch)
            step = batch.step + 1
            interval.add(outcome["terms"])
            vital = torch.stack([outcome["terms"]["loss"], outcome["terms"]["gradient_norm"]])
            unchecked.append((batch.without_views(), vital))

            last, epoch_ends = step == total_steps, step % epoch_steps == 0
            stopping = bool(ranks.largest(len(stop)))
            time_to_log = step % config.log_every == 0 or epoch_ends
            time_to_save = step % config.checkpoint_every == 0 or last or stopping
            time_to_save |= bool(checkpoints.keep_every) and step % checkpoints.keep_every == 0
            if time_to_log or time_to_save or device.type == "cpu":  # a look at the loss makes a GPU wait
                check_finite(unchecked, views, checkpoints)
                unchecked = []
            if log:
                log.count()
            if time_to_log:
                figures = interval.close(objective.indicators(outcome), config.batch_size, prefetched.waited)
                line: dict[str, float] = {"step": step, "total_steps": total_steps, "epoch": batch.epoch + 1}
                line |= {**objective.schedules(batch.step), **figures}
                if log:
                    examined = _examine(examine, objective.encoder) if epoch_ends else {}
                    log.write({**line, **examined}, objective.summary(line))
                    interval.restart_clock()
                watch.check(line)
            if time_to_save and ranks.first:
                state = {"trainer": objective.state_dict(), "interval": interval.state_dict(), "draws": draws}
                checkpoints.save(step, {**state, **_computed_with(config, ranks)})
            if stopping and not last:
                ranks.largest(0)  # nobody leaves before the first rank has saved: launchers end whoever is left
                if ranks.first:
                    reason = stop[0] if stop else "a signal"
                    say(f"  stopped by {reason} after step {step}: the same command goes on from there")
                return False
    if ranks.first:
        checkpoints.remove_old()  # of which a run that was killed after its last one left too many
    return True


def checkpoints_of(exp_dir: Path, config: LoopConfig, epoch_steps: int) -> Checkpoints:
    """The checkpoints of a training, kept as its settings say."""
    kept_steps = config.keep_every_epochs * epoch_steps
    return Checkpoints(exp_dir / "checkpoints", config.keep_checkpoints, config.checkpoint_every, keep_every=kept_steps)


def _go_on(objective: Objective, interval: Interval, checkpoints: Checkpoints, draws: dict[str, Any]) -> int:
    """Take up the newest checkpoint; return the steps done."""
    state = checkpoints.newest(objective.device)
    if state is None:
        return 0
    try:
        if state["draws"] != draws:
            raise SdpnError("it saw other utterances, or in another order")
        objective.load_state_dict(state["trainer"])
        interval.load_state_dict(state["interval"])
    except (SdpnError, KeyError) as error:
        raise CommonError(
            f"{state['path']} cannot be gone on from: {error}: choose another experiment folder, or remove "
            f"{checkpoints.directory} to train anew"
        ) from error
    if objective.ranks.first:
        say(f"  going on after step {state['step']} of {objective.total_steps}")
        if objective.device.type == "cpu":
            for name, now in _computed_with(objective.config, objective.ranks).items():
                before = state.get(name, now)  # an older version has not kept all of them
                if before != now:
                    warn(f"begun with {name} {before}, now {now}: the result will differ in its last bits")
    return state["step"]


def _computed_with(config: LoopConfig, ranks: Ranks) -> dict[str, int | bool]:
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
