#!/usr/bin/env python3
"""Augmented views a second on one core: ours, and other ways to the same, on the same speech and noises in one run.

    OMP_NUM_THREADS=1 taskset -c 0 python tests/bench/augment.py [--rounds 5]

A view is 2 s of 80-bin fbank; 70 % of the views get noise, none reverberation, since the others would have to convolve
while ours is cached. Ours are cut from the feature cache in each stored form, or from cached audio (--augment
waveform); Lhotse (its audio reading, mixing and fbank, as its dataset classes do on the fly) and audiomentations
(AddBackgroundNoise) begin with the audio files. Timings are medians over rounds in which all take turns. The last line
is one JSON object.
"""

import dataclasses
import json
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import audiomentations
import click
import numpy as np
import soundfile
import torch
from lhotse import CutSet, Fbank, FbankConfig, Recording

from sdpn.augment.audio import audio_config, make_audio_shard
from sdpn.augment.banks import Banks, Copy, Speed
from sdpn.augment.config import ViewConfig
from sdpn.augment.sources import Noise
from sdpn.augment.views import ViewSampler
from sdpn.augment.waveform import WaveformViewSampler
from sdpn.features.audio import stream_samples
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig as OurConfig
from sdpn.features.index import FeatureIndex
from sdpn.utterance import utterance_of

FRAMES = 200
SECONDS = 2.0
NOISY = 0.7
BATCH, VIEWS = 64, 4
CONFIG = ViewConfig(p_clean=1 - NOISY, p_both=0.0, p_reverb_of_one=0.0, p_equalize=0.0, p_band_limit=0.0)
EQUALIZED = "CM2, equalized"
FORMS = {
    "float32": {"compress": "none"},
    "CM2": {"compress": "16bit"},
    "CM3": {"compress": "8bit"},
    "HDF5": {"compress": "16bit", "feats_type": "hdf5"},
}


def write_audio(folder: Path, name: str, count: int, seconds: float) -> list:
    """FLAC files of noise with a slow envelope, as Lhotse cuts."""
    cuts = []
    for number in range(count):
        rng = np.random.default_rng([number, len(name)])
        length = int(seconds * 16000)
        envelope = np.abs(np.sin(2 * np.pi * 2.1 * np.arange(length) / 16000 + number)) + 0.05
        path = folder / f"{name}{number:04d}.flac"
        soundfile.write(path, (0.1 * envelope * rng.standard_normal(length)).clip(-1, 1), 16000, subtype="PCM_16")
        cut = Recording.from_file(path).to_cut()
        cut.id = path.stem
        cuts.append(cut)
    return cuts


def run_here(function, jobs):
    return (function(*job) for job in jobs)


def our_views(folder: Path, speech: list, noises: list) -> dict[str, Callable[[], int]]:
    """A task for each stored form, and one for audio."""
    speech, noises = ([utterance_of(cut) for cut in cuts] for cuts in (speech, noises))
    tasks, crops = {}, {"teacher_views": 0, "student_views": VIEWS, "student_frames": FRAMES}
    for form, settings in FORMS.items():
        config = OurConfig(**settings)
        fill(folder / form / "train", speech, stream_samples, config, {}, run_here)
        fill(folder / form / "noise", noises, Noise(config), config, {}, run_here)
        train = FeatureIndex.open(folder / form / "train")
        banks = Banks([], {"noise": FeatureIndex.open(folder / form / "noise")})
        tasks[form] = batches(ViewSampler(train, banks, CONFIG, 1, **crops))
        if form == "CM2":
            equalized = dataclasses.replace(CONFIG, p_equalize=1.0)
            tasks[EQUALIZED] = batches(ViewSampler(train, banks, equalized, 1, **crops))
    audio = audio_config(OurConfig())
    fill(folder / "audio", speech, stream_samples, audio, {}, run_here, make_audio_shard)
    fill(folder / "audio-noise", noises, Noise(OurConfig()), audio, {}, run_here, make_audio_shard)
    spoken = Speed(1.0, Copy(FeatureIndex.open(folder / "audio"), train))
    banks = Banks([], {"noise": FeatureIndex.open(folder / "audio-noise")}, [spoken], as_spoken=False)
    tasks["waveform"] = batches(WaveformViewSampler(train, banks, CONFIG, 1, **crops), BATCH // 8)
    return tasks


def batches(sampler: ViewSampler, size: int = BATCH) -> Callable[[], int]:
    """A task that renders the next batch into the memory of the last one, and says how many views that was."""
    out = sampler.empty(size)
    rng = np.random.default_rng(0)
    epoch = iter(range(10**9))
    sampler.views(0, np.arange(len(sampler.index)))  # every utterance's checksum is verified once

    def task() -> int:
        sampler.views(next(epoch), rng.choice(len(sampler.index), size, replace=False), out)
        return size * VIEWS

    return task


def by_lhotse(speech: list, noises: list) -> Callable[[], int]:
    """Lhotse on the fly: cut, mix at an SNR, load the audio, compute the fbank."""
    rng, pool = np.random.default_rng(0), CutSet.from_cuts(noises)
    fbank = Fbank(FbankConfig(snip_edges=False, high_freq=-400.0, dither=0.0, torchaudio_compatible_mel_scale=True))

    def task() -> int:
        for _ in range(32):
            cut = speech[int(rng.integers(len(speech)))]
            view = cut.truncate(offset=float(rng.uniform(0, cut.duration - SECONDS)), duration=SECONDS)
            if rng.random() < NOISY:
                noise = pool[noises[int(rng.integers(len(noises)))].id]
                noise = noise.truncate(offset=float(rng.uniform(0, noise.duration - SECONDS)), duration=SECONDS)
                view = view.mix(noise, snr=float(rng.uniform(0, 15)))
            fbank.extract(view.load_audio(), 16000)
        return 32

    return task


def by_audiomentations(speech: list, noises: list) -> Callable[[], int]:
    """audiomentations on the audio of a crop, then Lhotse's fbank."""
    rng = np.random.default_rng(0)
    paths = [cut.recording.sources[0].source for cut in noises]
    add = audiomentations.AddBackgroundNoise(sounds_path=paths, min_snr_db=0.0, max_snr_db=15.0, p=NOISY)
    fbank = Fbank(FbankConfig(snip_edges=False, high_freq=-400.0, dither=0.0, torchaudio_compatible_mel_scale=True))

    def task() -> int:
        for _ in range(32):
            cut = speech[int(rng.integers(len(speech)))]
            start = int(rng.integers(cut.num_samples - 32000))
            samples, _ = soundfile.read(cut.recording.sources[0].source, start=start, frames=32000, dtype="float32")
            fbank.extract(add(samples, sample_rate=16000), 16000)
        return 32

    return task


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True)
@click.option("--utterances", default=300, show_default=True, help="of 8 s")
def main(rounds: int, utterances: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech, noises = write_audio(folder, "speech", utterances, 8.0), write_audio(folder, "noise", 100, 5.0)
        tasks = our_views(folder, speech, noises)
        tasks |= {"Lhotse": by_lhotse(speech, noises), "audiomentations": by_audiomentations(speech, noises)}
        rates = defaultdict(list)
        for count in range(rounds + 1):
            for task, run in tasks.items():
                start = time.perf_counter()
                views = run()
                if count:
                    rates[task].append(views / (time.perf_counter() - start))
    rate = {task: float(np.median(found)) for task, found in rates.items()}
    ours = rate["CM2"]
    print("\nviews of 2 s, 80 bins, 70 % with noise       a second, one core     ours (CM2) is")
    for task, views in rate.items():
        label = f"ours, {task}" if task in (*FORMS, EQUALIZED, "waveform") else task
        print(f"  {label:42s} {views:14.0f} {'' if task == 'CM2' else f'{ours / views:14.1f} times'}")
    figures = {
        "views_per_s_core": {form: round(rate[form]) for form in FORMS},
        "views_per_s_core_equalized": round(rate[EQUALIZED]),
        "views_vs_lhotse": round(ours / rate["Lhotse"], 1),
        "views_vs_audiomentations": round(ours / rate["audiomentations"], 1),
        "views_vs_waveform": round(ours / rate["waveform"], 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
