"""How many utterances a second one core fine-tunes on: the whole step of stage 8 with ECAPA-TDNN, data included.

    python tests/bench/finetune.py [--channels 1024,512,256] [--repeats 3]

Everything is done by one thread. Crops of 2 s come from a feature cache on disk, each with noise and masks as
conf/augment.yaml says. In turn with the steps it times the bare network: its forward and backward pass without a loss.
The last line is one JSON object: `utt_per_s_core` and `share_of_network` (time of the bare network / time of the step),
by channels.
"""

import dataclasses
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from train_step import UTTERANCES, make_data

BATCHES = {1024: 16, 512: 32, 256: 64}
CLASSES = 16


@click.command(help=__doc__)
@click.option("--channels", default="1024,512,256")
@click.option("--repeats", default=3, help="steps timed, after one that is not")
def main(channels: str, repeats: int) -> None:
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from sdpn.training.devices import keep_freed_memory

    keep_freed_memory()
    speeds, shares = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        index, banks = make_data(Path(folder))
        for width in map(int, channels.split(",")):
            size = BATCHES.get(width, 32)
            step, bare = measure(width, size, index, banks, repeats)
            speeds[str(width)], shares[str(width)] = size / step, bare / step
            print(f"{width} channels, batch {size}: {step:.3f} s a step, {size / step:.3f} utterances/s", flush=True)
    print(json.dumps({"utt_per_s_core": speeds, "share_of_network": shares}))


def measure(width: int, size: int, index, banks, repeats: int) -> tuple[float, float]:
    """Median seconds of a step, data included, and of the bare network's forward and backward pass."""
    import torch

    from sdpn.augment.config import ViewConfig
    from sdpn.augment.views import ViewSampler
    from sdpn.finetune.config import FineTuneConfig
    from sdpn.finetune.trainer import ClassTrainer
    from sdpn.finetune.views import Crops
    from sdpn.models.registry import build_encoder
    from sdpn.training.prefetch import BatchSampler

    config = dataclasses.replace(FineTuneConfig(), batch_size=size, precision="float32")
    crops = Crops(lambda **views: ViewSampler(index, banks, ViewConfig(), config.seed, **views), config)
    batches = BatchSampler(len(index), size, config.seed)
    encoder = build_encoder("ecapa", num_bins=index.num_bins, channels=width)
    classes = np.arange(UTTERANCES) % CLASSES
    trainer = ClassTrainer(config, encoder, 512, classes, batches.steps_per_epoch, crops.clean, torch.device("cpu"))

    def step(number: int) -> None:
        epoch, utterances = batches.batch(number)
        trainer.step(number, utterances, torch.from_numpy(crops.views(epoch, utterances).student))

    views = torch.from_numpy(crops.views(0, batches.batch(0)[1]).student)[0]

    def bare(number: int) -> None:
        embeddings = encoder(views)
        embeddings.backward(torch.ones_like(embeddings))

    seconds: dict[str, list[float]] = {"step": [], "bare": []}
    for repeat in range(1 + repeats):  # in turn, so that what else the machine does hits both
        for name, act in (("step", step), ("bare", bare)):
            begin = time.perf_counter()
            act(repeat)
            seconds[name].append(time.perf_counter() - begin)
    return tuple(statistics.median(seconds[name][1:]) for name in ("step", "bare"))


if __name__ == "__main__":
    main()
