"""Stage 3 as a whole: which banks there are, what each is made of, and filling them."""

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

from sdpn.augment.audio import audio_config, make_audio_shard
from sdpn.augment.banks import bank_names
from sdpn.augment.config import NOISE_KINDS, AugmentConfig, BankConfig
from sdpn.augment.sources import (
    BabbleClip,
    Noise,
    Reverberated,
    SpedCut,
    load_babble,
    load_utterance,
    plan_babble,
)
from sdpn.console import say
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.audio import stream_samples
from sdpn.features.cache import VERSION, Listed, describe, fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex, open_features
from sdpn.features.sets import listed_cuts, read_cuts
from sdpn.files import digest, exclusive
from sdpn.shards import Work, completes, prepares


def make_banks(data: Path, corpus: Corpus, config: AugmentConfig, seed: int, run: Callable) -> None:
    """Cache the noise, music and babble banks and the copies of the training set that `config` asks for.

    For the mode `mel` they are fbank with the settings of the training set's; for `waveform` they are audio, with the
    training set and the room impulse responses beside them; with `off` there is nothing to make. See
    `features.cache.fill` for `run`.

    Raises:
        SdpnError: stage 1 or 2 has not been run; a bank has no usable clip; the disk is full; another run is at it;
            the training set's features are of a kind that the mode cannot augment.
    """
    if config.augment == "off":
        say("  augmentation is off: there is nothing to make")
        return
    train = open_features(data / corpus.train)
    _check_mode(train, config.augment)
    with exclusive(data / "augment") if prepares(run) else nullcontext():
        _make(data, corpus, config, seed, train, run)


def _make(data: Path, corpus: Corpus, config: AugmentConfig, seed: int, train: FeatureIndex, run: Callable) -> None:
    folder = data / "augment"
    settings = config.part(BankConfig)
    depends = {"augment": settings, "seed": seed, "train": train.fingerprint, "version": VERSION}
    whole = Work(folder, "augment", depends)
    if prepares(run) and whole.stale_reason() is not None:  # banks made by halves are not to be trained on
        whole.begin()
    cuts = cache(partial(read_cuts, data / corpus.train))  # read where something is made of them
    rirs = read_cuts(data / corpus.rir) if corpus.rir else []
    if config.reverb_copies and not rirs:
        say("  no reverberation: the corpus has no room impulse responses, so views get noise in its place")
    in_audio = config.augment == "waveform"
    stored = audio_config(train.config) if in_audio else train.config
    make = make_audio_shard if in_audio else None

    def bank(name: str, items: Listed, load: Callable, depends: dict, stored: FbankConfig = stored) -> str:
        fill(folder / name, items, load, stored, depends, run, make)
        return name

    def copy_of_train(speed: float) -> Listed:
        def read() -> list:
            return cuts() if speed == 1 else [SpedCut(cut, speed) for cut in cuts()]

        # The features change where the audio does
        return Listed(read, {"speed": speed}, audio=train.fingerprint)

    of_noise = dataclasses.replace(stored, vad="none")  # which finds speech, not noise
    noises: list[str] = []
    for kind in NOISE_KINDS:
        if kind in corpus.noises:
            noises.append(bank(kind, listed_cuts(data / corpus.noises[kind]), Noise(train.config), {}, of_noise))
        elif kind == "babble" and config.babble_clips:
            talkers = listed_cuts(data / corpus.talkers) if corpus.talkers else copy_of_train(1)
            clips = partial(_babble, talkers, config, stored.sampling_rate, seed)
            settings_of_babble = {name: settings[name] for name in settings if name.startswith("babble")}
            items = dataclasses.replace(talkers, read=clips, inputs={**talkers.inputs, **settings_of_babble})
            noises.append(bank(kind, items, load_babble, {"seed": seed}, of_noise))
        else:
            say(f"  no {kind}: the corpus has none, so no view gets any")
    max_taps = round(config.max_rir_seconds * stored.sampling_rate)
    if in_audio:
        copies = {speed: ["audio" if speed == 1 else f"audio-speed{speed:g}"] for speed in config.speed_factors}
    else:
        copies = bank_names(config.reverb_copies if rirs else 0, config.speed_factors)
    for speed, (clean, *reverbs) in copies.items():
        if clean:
            bank(clean, copy_of_train(speed), load_utterance, {})
        for copy, name in enumerate(reverbs, 1):
            rooms = digest([describe(room) for room in rirs], max_taps)
            bank(name, copy_of_train(speed), Reverberated(rirs, max_taps, seed, copy), {"rooms": rooms, "seed": seed})
    planned = [*noises, *(name for names in copies.values() for name in names if name)]
    has_rooms = in_audio and bool(rirs) and config.reverb_copies > 0
    if has_rooms:
        planned.append(bank("rooms", listed_cuts(data / corpus.rir), stream_samples, {}, of_noise))
    if not completes(run) or (whole.stale_reason() is None and whole.report().get("settings")):
        return
    for old in folder.iterdir():
        if old.is_dir() and old.name not in {*planned, "done"}:
            shutil.rmtree(old)
    outputs = [folder / name / "index" / "index.json" for name in planned]
    made = {"settings": settings, "mode": config.augment, "noises": noises, "copies": list(copies.items())}
    whole.finish(outputs, **made, rooms=has_rooms, max_taps=max_taps)


def _babble(talkers: Listed, config: AugmentConfig, sampling_rate: int, seed: int) -> list[BabbleClip]:
    return list(plan_babble(talkers.read(), config, sampling_rate, seed))


def _check_mode(train: FeatureIndex, mode: str) -> None:
    """Raise SdpnError where the mode cannot augment the training set's features."""
    config = train.config
    if mode == "mel" and config.cmvn != "none":
        raise SdpnError(
            f"{train.directory} is cached with cmvn {config.cmvn}, and noise can only be added to log-energies as they "
            "are: run stage 2 with cmvn none (the network normalizes its input itself), or use --augment waveform"
        )
    if mode == "waveform" and config.vad != "none":
        raise SdpnError(
            f"{train.directory} is cached with vad {config.vad}, which the views of --augment waveform would lack: run "
            "stage 2 with vad none, or use --augment mel"
        )
