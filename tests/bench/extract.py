#!/usr/bin/env python3
"""Extraction of x-vectors on one thread: whole utterances of 3 to 20 s, in batches of similar length and one by one.

    tests/bench/extract.py
    tests/bench/extract.py --channels 512 --utterances 60

Both ways embed the same cached fbank of ECAPA-TDNN's size in the paper; the real-time factor is computing time over
duration of the speech. The last line is one JSON object.
"""

import json
import os
import time

import click

PUBLIC_RTF = 0.136  # 3D-Speaker's extraction at 1024 channels, one utterance at a time, measured on one core


@click.command(help=__doc__)
@click.option("--channels", default=1024, show_default=True, type=click.IntRange(8))
@click.option("--utterances", default=40, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="the median counts")
def main(channels: int, utterances: int, repeats: int) -> None:
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    import numpy as np
    import torch

    torch.set_num_threads(1)
    from sdpn.extraction.extractor import Extractor, Held
    from sdpn.models.registry import build_encoder
    from sdpn.training.devices import keep_freed_memory

    keep_freed_memory()
    rng = np.random.default_rng(0)
    frames = rng.integers(300, 2001, utterances)
    features = Held([rng.standard_normal((count, 80)).astype(np.float32) for count in frames])
    encoder = build_encoder("ecapa", channels=channels).eval()
    extractor = Extractor(encoder, torch.device("cpu"))

    def one_by_one() -> np.ndarray:
        with torch.inference_mode():
            return np.stack([encoder(torch.from_numpy(matrix[None]))[0].numpy() for matrix in features.matrices])

    ways = {
        "in batches": lambda: extractor.extract(features, range(utterances)),
        "one by one": one_by_one,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {}
    for name, way in ways.items():  # a first time, which warms up
        vectors[name] = way()
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    factors = {name: float(np.median(times)) / (frames.sum() / 100) for name, times in seconds.items()}
    difference = np.abs(vectors["in batches"] - vectors["one by one"]).max()
    print(f"ECAPA-TDNN, {channels} channels, {utterances} utterances, {frames.sum() / 100:.0f} s of speech, one thread")
    for name, factor in factors.items():
        print(f"  {name}: real-time factor {factor:.4f}, {1 / factor:.0f} s of speech a second")
    print(f"  the largest difference between the two: {difference:.1e}")
    if channels == 1024:
        print(f"  the public code, one by one, on such a core: {PUBLIC_RTF}")
    figures = {f"rtf_{channels}": factors["in batches"], "vs_one_by_one": factors["one by one"] / factors["in batches"]}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
