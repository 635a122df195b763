#!/usr/bin/env python3
"""The feature cache beside Lhotse's, kaldiio's and h5py's, in one run on one core.

    OMP_NUM_THREADS=1 taskset -c 0 python tests/bench/features.py [--seconds 1500] [--utterances 1100000]

Speech comes from a folder of FLAC files (--flac), or is made of noise with a speech-like envelope. Timings are medians
over rounds in which everything is measured once, one after another, so that a busy machine slows all alike. The last
line is one JSON object.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import kaldiio
import numpy as np
import soundfile
import torch
from lhotse import CutSet, LilcomChunkyWriter, Recording
from lhotse import Fbank as LhotseFbank
from lhotse import FbankConfig as LhotseFbankConfig

from sdpn.features.audio import load_samples, stream_samples
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import ENERGY_FLOOR, Fbank
from sdpn.features.index import FeatureIndex
from sdpn.features.index_files import StoredFile, write_index
from sdpn.features.storage import Extent
from sdpn.files import write_jsonl_gz
from sdpn.utterance import utterance_of

CROP = 200  # frames, 2 s


def speech_like(folder: Path, seconds: float) -> list[Path]:
    """FLAC files of 4 to 12 s, together as long as asked for."""
    rng = np.random.default_rng(0)
    paths, done = [], 0.0
    while done < seconds:
        length = int(rng.uniform(4, 12) * 16000)
        envelope = np.abs(np.sin(2 * np.pi * 2.1 * np.arange(length) / 16000)) + 0.02
        samples = 0.1 * envelope * np.convolve(rng.standard_normal(length), [1, 0.9, 0.6, 0.3], mode="same")
        paths.append(folder / f"utt{len(paths):05d}.flac")
        soundfile.write(paths[-1], samples.clip(-1, 1), 16000, subtype="PCM_16")
        done += length / 16000
    return paths


def medians(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each task, all taken in turn in each round, after one round that does not count."""
    taken = defaultdict(list)
    for count in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if count:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in taken.items()}


def lhotse_fbank() -> LhotseFbank:
    """Lhotse's fbank with our default profile's settings."""
    return LhotseFbank(
        LhotseFbankConfig(
            snip_edges=False,
            high_freq=-400.0,
            dither=0.0,
            energy_floor=ENERGY_FLOOR,
            torchaudio_compatible_mel_scale=True,
        )
    )


def stage(folder: Path, paths: list[Path], rounds: int) -> dict[str, float]:
    """FLAC in, cache out: ours, Lhotse's, and what decoding and computing alone take."""
    recordings = [Recording.from_file(path) for path in paths]
    cuts = [recording.to_cut() for recording in recordings]
    mine = [utterance_of(cut) for cut in cuts]
    audio = sum(cut.duration for cut in cuts)
    ours, theirs = Fbank(FbankConfig()), lhotse_fbank()
    whole = [load_samples(cut) for cut in mine]
    number = iter(range(10**6))

    def run_here(function, jobs):
        return (function(*job) for job in jobs)

    def our_stage():
        fill(folder / f"ours{next(number)}", mine, stream_samples, FbankConfig(), {}, run_here)

    def lhotses_stage():
        CutSet.from_cuts(cuts).compute_and_store_features(
            theirs, folder / f"lhotse{next(number)}", storage_type=LilcomChunkyWriter
        )

    taken = medians(
        {
            "decoding (soundfile)": lambda: [soundfile.read(path, dtype="float32") for path in paths],
            "fbank, ours": lambda: [ours(samples) for samples in whole],
            "fbank, Lhotse's": lambda: [theirs.extract(samples, 16000) for samples in whole],
            "decoding + fbank, ours": lambda: [ours(soundfile.read(path, dtype="float32")[0]) for path in paths],
            "stage 2, ours": our_stage,
            "stage 2, Lhotse's compute_and_store_features": lhotses_stage,
        },
        rounds,
    )
    print(f"\n{audio:.0f} s of audio in {len(paths)} FLAC files, one core      seconds of audio a second")
    for name, seconds in taken.items():
        print(f"  {name:50s} {audio / seconds:10.0f}")
    return {
        "stage_vs_lhotse": taken["stage 2, Lhotse's compute_and_store_features"] / taken["stage 2, ours"],
        "stage_vs_floor": taken["stage 2, ours"] / taken["decoding + fbank, ours"],
        "fbank_vs_lhotse": taken["fbank, Lhotse's"] / taken["fbank, ours"],
    }


def crops(folder: Path, paths: list[Path], rounds: int) -> dict[str, float]:
    """A random crop of 2 s from a warm page cache, by each reader."""
    cuts = [Recording.from_file(path).to_cut() for path in paths]
    mine = [utterance_of(cut) for cut in cuts]

    def run_here(function, jobs):
        return (function(*job) for job in jobs)

    indices = {}
    for compress, feats_type in (("none", "ark"), ("16bit", "ark"), ("8bit", "ark"), ("16bit", "hdf5")):
        config = FbankConfig(compress=compress, feats_type=feats_type)
        fill(folder / f"{compress}-{feats_type}", mine, stream_samples, config, {}, run_here)
        indices[compress, feats_type] = FeatureIndex.open(folder / f"{compress}-{feats_type}")
    stored = CutSet.from_cuts(cuts).compute_and_store_features(
        lhotse_fbank(), folder / "lhotse-crops", storage_type=LilcomChunkyWriter
    )
    manifests = {cut.id: cut.features for cut in stored}
    index = indices["16bit", "ark"]
    scp = kaldiio.load_scp(str(folder / "16bit-ark" / "feats.scp"))
    shards = {}
    for path in sorted((folder / "16bit-hdf5").glob("*.h5")):
        file = h5py.File(path)
        for row, name in enumerate(file["ids"][:].astype(str)):
            scale = file["minimum"][row], file["step"][row]
            shards[name] = file["feats"], int(file["first_row"][row]), scale
    rng = np.random.default_rng(0)
    rows = rng.integers(len(index), size=1000)
    places = [(int(row), int(rng.integers(max(int(index.frames[row]) - CROP, 1)))) for row in rows]
    out = np.empty((CROP, 80), dtype=np.float32)

    def ours(index):
        return lambda: [index.read(row, start, start + CROP, out) for row, start in places]

    def by_h5py():
        for row, start in places:
            feats, first, (minimum, step) = shards[index.ids[row]]
            feats[first + start : first + start + CROP].astype(np.float32) * step + minimum

    def by_lhotse():
        for row, start in places:
            features = manifests[index.ids[row]]
            features.load(start=start / 100, duration=min(CROP, features.num_frames - start) / 100)

    tasks = {f"ours, {compress} {feats_type}": ours(one) for (compress, feats_type), one in indices.items()}
    tasks["kaldiio.load_scp"] = lambda: [scp[index.ids[row]][start : start + CROP] for row, start in places]
    tasks["h5py slice"] = by_h5py
    tasks["Lhotse's reader (lilcom)"] = by_lhotse
    taken = {name: 1e6 * seconds / len(places) for name, seconds in medians(tasks, rounds).items()}

    fresh = FeatureIndex.open(folder / "16bit-ark")
    start = time.perf_counter()
    for row in range(len(fresh)):
        fresh.read(row, 0, CROP, out)
    first = 1e6 * (time.perf_counter() - start) / len(fresh)
    print("\na random crop of 2 s, warm page cache                  microseconds")
    for name, microseconds in taken.items():
        print(f"  {name:50s} {microseconds:10.1f}")
    print(f"  {'ours, 16bit ark, first touch (verifies the CRC)':50s} {first:10.1f}")
    mine_us = taken["ours, 16bit ark"]
    return {
        "crop_us": mine_us,
        "crop_vs_kaldiio": taken["kaldiio.load_scp"] / mine_us,
        "crop_vs_hdf5": taken["h5py slice"] / mine_us,
        "crop_vs_lhotse": taken["Lhotse's reader (lilcom)"] / mine_us,
        "crop_first_touch_us": first,
        "bytes_per_frame_default": bytes_per_frame(folder / "16bit-ark", index),
    }


def bytes_per_frame(directory: Path, index: FeatureIndex) -> float:
    return sum(path.stat().st_size for path in directory.glob("feats.*.ark")) / int(index.frames.sum())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def large_index(folder: Path, count: int) -> dict[str, float]:
    """Building and opening the index of as many utterances as VoxCeleb2 has, beside kaldiio and Lhotse."""
    rng = np.random.default_rng(0)
    frames = rng.integers(400, 1100, size=count)
    names = [f"id{i // 180:05d}-{i * 2654435761 % 2**40:011x}-{i % 180:05d}" for i in range(count)]
    per_file = 2200
    entries = [
        (name, i // per_file, Extent(22 + i * 160, int(frames[i]), -15.9, 3e-4, 1, i + 1, 1.1))
        for i, name in enumerate(names)
    ]
    files = [StoredFile(f"feats.{i:04d}.ark", 1) for i in range(-(-count // per_file))]
    folder.mkdir()
    start = time.perf_counter()
    write_index(folder, files, entries, FbankConfig(), "benchmark")
    built = time.perf_counter() - start
    del entries
    (folder / "feats.scp").write_text(
        "".join(f"{name} feats.{i // per_file:04d}.ark:{i}\n" for i, name in enumerate(names))
    )
    few = 20_000
    features = {"type": "fbank", "num_frames": 800, "num_features": 80, "frame_shift": 0.01, "sampling_rate": 16000}
    features |= {"start": 0, "duration": 8.0, "storage_type": "lilcom_chunky", "storage_path": "feats.lca"}
    features |= {"storage_key": "0,46562", "channels": 0, "recording_id": "r"}
    write_jsonl_gz(
        folder / "cuts.jsonl.gz",
        (
            {"id": name, "start": 0, "duration": 8.0, "channel": 0, "type": "MonoCut", "features": features}
            for name in names[:few]
        ),
    )

    opened, before = [], resident()
    for _ in range(5):
        start = time.perf_counter()
        index = FeatureIndex.open(folder)
        total = int(index.frames.sum()) + int(index.offsets[-1])
        opened.append(time.perf_counter() - start)
    assert total > 0
    for column in (
        index.offsets,
        index.keys,
        index.frames,
        index.files,
        index.minima,
        index.steps,
        index.crcs,
        index.power_ratios,
    ):
        column.sum()
    grown = resident() - before
    start = time.perf_counter()
    _ = index.ids
    ids = time.perf_counter() - start
    start = time.perf_counter()
    kaldiio.load_scp(str(folder / "feats.scp"))
    by_kaldiio = time.perf_counter() - start
    start = time.perf_counter()
    CutSet.from_jsonl_lazy(folder / "cuts.jsonl.gz").to_eager()
    by_lhotse = (time.perf_counter() - start) * count / few
    table = (folder / "index" / "table.bin").stat().st_size / 1e6
    print(f"\nthe index of {count} utterances")
    print(f"  {'built in':50s} {built:10.1f} s")
    print(f"  {'opened and summed over in':50s} {np.median(opened):10.3f} s")
    print(f"  {'the ids, when they are asked for':50s} {ids:10.2f} s")
    print(f"  {'on disk, without / with the ids':50s} {table:10.1f} MB / {table + ids_mb(folder):.1f} MB")
    print(f"  {'in memory, every column touched':50s} {grown / 1e6:10.1f} MB")
    print(f"  {'kaldiio.load_scp':50s} {by_kaldiio:10.2f} s")
    print(f"  {'Lhotse, cuts with features, eager':50s} {by_lhotse:10.1f} s (from {few} cuts)")
    return {"index_open_1m_s": float(np.median(opened)), "index_mb": table, "index_build_s": built}


def ids_mb(folder: Path) -> float:
    return (folder / "index" / "ids.txt").stat().st_size / 1e6


def long_recording(folder: Path, hours: float) -> dict[str, float]:
    """What a process needs at most that makes the features of one very long recording."""
    folder.mkdir()
    block = np.random.default_rng(0).standard_normal(600 * 16000).astype(np.float32) * 0.1
    with soundfile.SoundFile(folder / "long.flac", "w", 16000, 1) as opened:
        for _ in range(round(hours * 6)):
            opened.write(block)
    figures = {}
    print(f"\na recording of {hours:g} hours in one shard                 peak memory, MB")
    for options in ("", "--feats-type hdf5", "--cmvn sliding --vad energy", "--compress none"):
        script = (
            "from lhotse import Recording\n"
            f"entry = Recording.from_file({str(folder / 'long.flac')!r}).to_cut().to_dict()\n"
            "import json; print(json.dumps(entry))"
        )
        line = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        with gzip.open(folder / "cuts.jsonl.gz", "wt") as cuts:
            cuts.write(line)
        make = (
            "import re, sys\nfrom pathlib import Path\n"
            "from sdpn.features.config import FbankConfig\nfrom sdpn.features.sets import make_set\n"
            "settings = FbankConfig(**dict(zip([o[2:].replace('-', '_') for o in sys.argv[2::2]], sys.argv[3::2])))\n"
            "make_set(Path(sys.argv[1]), settings, lambda function, jobs: (function(*job) for job in jobs))\n"
            # not ru_maxrss, in which a child begins with what its parent had
            "print(re.search('VmHWM:\\\\s+(\\\\d+)', Path('/proc/self/status').read_text())[1])"
        )
        command = [sys.executable, "-c", make, str(folder), *options.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peak = int(done.splitlines()[-1]) / 1000
        print(f"  {options or 'default':50s} {peak:10.0f}")
        figures[f"long_peak_mb {options}".strip()] = peak
    return {"long_peak_mb": max(figures.values())}


@click.command(help=__doc__)
@click.option("--seconds", default=1500.0, show_default=True, help="of audio")
@click.option("--flac", type=click.Path(path_type=Path, exists=True), help="folder of 16 kHz FLAC files")
@click.option("--utterances", default=1_100_000, show_default=True, help="in the large index")
@click.option("--hours", default=4.0, show_default=True, help="of the very long recording")
@click.option("--rounds", default=5, show_default=True)
def main(seconds: float, flac: Path | None, utterances: int, hours: float, rounds: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = sorted(flac.glob("**/*.flac")) if flac else speech_like(folder, seconds)
        figures = stage(folder, paths, rounds) | crops(folder, paths[:200], rounds)
        figures |= large_index(folder / "large", utterances)
        figures |= long_recording(folder / "long", hours)
    print(json.dumps({name: round(figure, 4) for name, figure in figures.items()}))


if __name__ == "__main__":
    main()
