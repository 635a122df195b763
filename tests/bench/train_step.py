"""How many utterances a second one core trains on: the whole step of SDPN with ECAPA-TDNN, data included.

    python tests/bench/train_step.py [--channels 1024,512,256] [--repeats 3] [--device cuda]

Everything is done by one thread. Views come from a feature cache on disk, each of the student's with a crop, noise and
masks as conf/augment.yaml says. In turn with the steps it times their parts, among them the bare passes of the two
networks (the teacher's forward, the student's forward and backward).

Then, on two cores, a training by conf/sdpn/toy.yaml as stage 4 runs it: alone, alone with OpenMP's threads as libgomp
has them by itself, and beside four busy processes; it wants a machine that does nothing else. The last line is one JSON
object: `utt_per_s_core` by channels, `bare_share` (time of the bare passes / time of the step, the lowest),
`bare_shares`, `contended_share` (speed beside the busy processes / speed alone; a fair share is 1/3), `idle_loss` (what
stage 4's way of waiting costs alone).
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

BATCHES = {1024: 8, 512: 16, 256: 32}
REFERENCE = {1024: 0.239, 512: 0.668, 256: 1.67}  # the public code on one core of the same kind, same batches
UTTERANCES, FRAMES = 64, 600
TOY = Path(__file__).parents[2] / "conf" / "sdpn" / "toy.yaml"
SPINNING = [sys.executable, "-c", "while True: pass"]
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "NUMBA_NUM_THREADS")
SECONDS = 15.0


@click.command(help=__doc__)
@click.option("--channels", default="1024,512,256")
@click.option("--repeats", default=3, help="steps timed, after one that is not")
@click.option("--device", default="cpu", help="cpu or cuda")
@click.option("--precision", default="float32", help="of the encoder, float32 or bfloat16")
@click.option("--compile", "compiled", is_flag=True, help="compile the encoder")
@click.option("--contention/--no-contention", "contended", default=True, help="measure two cores beside others, too")
@click.option("--speed", is_flag=True, hidden=True)
@click.option("--batch", type=int, help="utterances in a step (default: 8, 16, 32 for 1024, 512, 256 channels)")
def main(
    channels: str,
    repeats: int,
    device: str,
    precision: str,
    compiled: bool,
    batch: int | None,
    contended: bool,
    speed: bool,
) -> None:
    if speed:
        print_speed(SECONDS)
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from sdpn.training.config import TrainConfig
    from sdpn.training.devices import keep_freed_memory

    keep_freed_memory()
    speeds, shares = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        index, banks = make_data(Path(folder))
        for width in map(int, channels.split(",")):
            size = batch or BATCHES[width]
            config = dataclasses.replace(
                TrainConfig(), channels=width, batch_size=size, precision=precision, compile=compiled
            )
            begin = time.perf_counter(), time.process_time()
            step, bare, parts = measure(config, index, banks, torch.device(device), repeats)
            core = (time.process_time() - begin[1]) / (time.perf_counter() - begin[0])
            speeds[str(width)], shares[str(width)] = size / step, bare / step
            against = f", {size / step / REFERENCE[width]:.2f} x the public code" if width in REFERENCE else ""
            print(f"{width} channels, batch {size}: {step:.3f} s a step, {size / step:.3f} utterances/s{against}")
            print(
                "  alone: "
                + ", ".join(f"{name} {seconds:.3f} s ({seconds / step:.1%})" for name, seconds in parts.items())
            )
            print(f"  bare forward and backward: {bare:.3f} s ({bare / step:.1%})", flush=True)
            if device == "cpu" and core < 0.97:
                print(f"  others used the core, too: this process had {core:.0%} of it, so it is faster than that")
    found = {"utt_per_s_core": speeds, "bare_share": min(shares.values()), "bare_shares": shares}
    print(json.dumps(found | (contention() if device == "cpu" and contended else {})))


def contention() -> dict[str, float]:
    """Measure a training on two cores, alone and beside busy processes."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    own: dict[str, list[float]] = {"alone": [], "libgomp's way": [], "beside others": []}
    for _ in range(3):  # in turn, so that what else the machine does hits all of them
        own["alone"].append(speed_on(cores, {}))
        own["libgomp's way"].append(speed_on(cores, {"SDPN_BENCH_SPIN": "1"}))
        busy = [subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *SPINNING]) for _ in range(4)]
        try:
            own["beside others"].append(speed_on(cores, {}))
        finally:
            for process in busy:
                process.kill()
                process.wait()
    medians = {name: statistics.median(values) for name, values in own.items()}
    print("  toy training on two cores, utterances/s: " + ", ".join(f"{name} {s:.1f}" for name, s in medians.items()))
    alone = medians["alone"]
    return {"contended_share": medians["beside others"] / alone, "idle_loss": 1 - alone / medians["libgomp's way"]}


def speed_on(cores: list[int], environment: dict[str, str]) -> float:
    """Utterances a second of a training in a process of its own on these cores."""
    command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, __file__, "--speed"]
    inherited = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run(command, env=inherited | environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def print_speed(seconds: float) -> None:
    """Train by conf/sdpn/toy.yaml for some seconds, and print the utterances a second."""
    from sdpn import config
    from sdpn.training.start import sleep_at_barriers

    if "SDPN_BENCH_SPIN" not in os.environ:
        sleep_at_barriers()
    import torch

    from sdpn.augment.config import ViewConfig
    from sdpn.augment.views import ViewSampler
    from sdpn.training.config import TrainConfig
    from sdpn.training.devices import keep_freed_memory
    from sdpn.training.prefetch import BatchSampler, Prefetcher
    from sdpn.training.trainer import Trainer

    keep_freed_memory()
    toy, device = config.read(TOY, TrainConfig), torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        index, banks = make_data(Path(folder))
        lengths = {"teacher_frames": toy.teacher_frames, "student_frames": toy.student_frames}
        views = ViewSampler(index, banks, ViewConfig(), toy.seed, **lengths)
        batches = BatchSampler(len(index), toy.batch_size, toy.seed)
        trainer = Trainer(toy, index.num_bins, batches.steps_per_epoch, device)
        with Prefetcher(views, batches, 0, 1_000_000, device) as prefetched:
            stream, steps = iter(prefetched), 0
            for _ in range(3):
                trainer.learn(next(stream))
            begin = time.perf_counter()
            while time.perf_counter() - begin < seconds:
                trainer.learn(next(stream))
                steps += 1
            print(steps * toy.batch_size / (time.perf_counter() - begin))


def make_data(folder: Path):
    """A cache of random log-mel frames, in 16 bit as by default, and a bank of noise."""
    from sdpn.augment.banks import Banks
    from sdpn.features.cache import fill
    from sdpn.features.config import FbankConfig
    from sdpn.features.index import FeatureIndex

    @dataclasses.dataclass(frozen=True)
    class Noise:
        id: str
        num_samples: int

        is_resampled = False

        def identity(self) -> list:
            return [self.id, self.num_samples]

        def sources(self) -> list[str]:
            return []

    def load(item: Noise) -> np.ndarray:
        random = np.random.default_rng(sum(item.id.encode()))
        return (0.1 * random.standard_normal(item.num_samples)).astype(np.float32)

    def run(function: Callable, jobs: list[tuple]):
        return (function(*job) for job in jobs)

    for name in ("train", "noise"):
        items = [Noise(f"{name}{i:03d}", FRAMES * 160) for i in range(UTTERANCES)]
        fill(folder / name, items, load, FbankConfig(), {}, run)
    return FeatureIndex.open(folder / "train"), Banks([], {"noise": FeatureIndex.open(folder / "noise")})


def measure(config, index, banks, device, repeats: int) -> tuple[float, float, dict[str, float]]:
    """Median seconds of a step, of the bare passes, and of the step's parts one by one."""
    import torch

    from sdpn.augment.config import ViewConfig
    from sdpn.augment.views import ViewSampler
    from sdpn.training.prefetch import BatchSampler, Prefetcher
    from sdpn.training.trainer import Trainer

    lengths = {"teacher_frames": config.teacher_frames, "student_frames": config.student_frames}
    views = ViewSampler(index, banks, ViewConfig(), config.seed, **lengths)
    batches = BatchSampler(len(index), config.batch_size, config.seed)
    trainer = Trainer(config, index.num_bins, batches.steps_per_epoch, device)

    def timed(act: Callable) -> float:
        begin = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    def draw(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = views.views(*batches.batch(number))
        return torch.from_numpy(drawn.teacher).to(device), torch.from_numpy(drawn.student).to(device)

    def step(number: int) -> None:
        trainer.step(number, *draw(number))

    batch = draw(0)
    seconds: dict[str, list[float]] = {}
    for repeat in range(1 + repeats):  # in turn, so that what else the machine does hits all of them
        acts = {"step": lambda number=repeat: step(number), **parts_of(trainer, *batch), "data": lambda: draw(1)}
        for name, act in acts.items():
            seconds.setdefault(name, []).append(timed(act))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    if device.type == "cuda":  # the views are made beside the GPU's work, as in stage 4
        with Prefetcher(views, batches, 0, 2 + 10 * repeats, device) as prefetched:
            stream = iter(prefetched)

            def steps(count: int) -> None:
                for _ in range(count):
                    ahead = next(stream)
                    trainer.step(ahead.step, ahead.teacher, ahead.student)

            timed(lambda: steps(2))
            medians["step"] = timed(lambda: steps(10 * repeats)) / (10 * repeats)
    return medians.pop("step"), medians["teacher"] + medians["student"], medians


def parts_of(trainer, teacher_views, student_views) -> dict[str, Callable]:
    """The parts of a step, each to be called alone, in order."""
    import torch

    from sdpn.training.losses import sinkhorn
    from sdpn.training.trainer import update_teacher

    config, outputs = trainer.config, {}

    def teacher() -> None:
        with torch.no_grad():
            outputs["teacher"] = trainer.teacher(teacher_views.flatten(0, 1))[1]

    def student() -> None:
        seen = trainer.descent.learner(student_views.flatten(0, 1))
        outputs["student"] = [output.detach().unflatten(0, student_views.shape[:2]).requires_grad_() for output in seen]
        torch.autograd.backward(seen, [torch.ones_like(output) for output in seen])

    def losses() -> None:
        points = outputs["teacher"].unsqueeze(0)
        with torch.no_grad():
            logits = trainer.prototypes(points[0]) / (config.student_temperature * config.teacher_sharpening)
            targets = sinkhorn(logits, config.sinkhorn_iterations)
        trainer._compute_losses(*outputs["student"], points, targets)[0]["loss"].backward()

    def optimizer() -> None:
        trainer._clip()
        trainer.descent.optimizer.step()
        update_teacher(trainer.teacher, trainer.student, 0.99)

    return {"teacher": teacher, "student": student, "losses": losses, "optimizer": optimizer}


if __name__ == "__main__":
    main()
