"""Stage 3 as a whole: which banks there are, what each is made of, and filling them."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from sdpn.augment.banks import bank_names
from sdpn.augment.config import NOISE_KINDS, AugmentConfig, BankConfig
from sdpn.augment.sources import Reverberated, SpedCut, load_babble, load_utterance, plan_babble
from sdpn.console import say
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.audio import stream_samples
from sdpn.features.cache import VERSION, describe, fill
from sdpn.features.index import open_features
from sdpn.features.sets import read_cuts
from sdpn.files import digest, exclusive
from sdpn.shards import Work


def make_banks(data: Path, corpus: Corpus, config: AugmentConfig, seed: int, run: Callable) -> None:
    """Cache the noise, music and babble banks and the reverberated copies of the training set.

    The fbank settings are those that stage 2 used for the training set. See `features.cache.fill` for `run`.

    Raises:
        SdpnError: stage 1 or 2 has not been run; a bank has no usable clip; the disk is full.
    """
    folder = data / "augment"
    train = open_features(data / corpus.train)
    fbank = train.config
    if not fbank.additive:
        raise SdpnError(
            f"{train.directory} is cached with cmvn {fbank.cmvn}: noise can only be added to log-energies as they are: "
            "run stage 2 with cmvn none (the network normalizes its input itself)"
        )
    of_noise = dataclasses.replace(fbank, vad="none")  # which finds speech, not noise
    cuts = read_cuts(data / corpus.train)
    depends = {"options": digest(config.part(BankConfig)), "seed": seed, "train": train.fingerprint, "version": VERSION}
    whole = Work(folder, "augment", depends)
    if whole.stale_reason() is not None:  # banks made by halves are not to be trained on
        whole.begin()
    noises: list[str] = []
    for kind in NOISE_KINDS:
        if kind in corpus.noises:
            fill(folder / kind, read_cuts(data / corpus.noises[kind]), stream_samples, of_noise, {}, run)
        elif kind == "babble" and config.babble_clips:
            clips = list(plan_babble(cuts, config, fbank.sampling_rate, seed))
            fill(folder / kind, clips, load_babble, of_noise, {"seed": seed}, run)
        else:
            say(f"  no {kind}: the corpus has none, so no view gets any")
            continue
        noises.append(kind)
    if config.reverb_copies and corpus.rir is None:
        say("  no reverberation: the corpus has no room impulse responses")
    rirs = read_cuts(data / corpus.rir) if corpus.rir else []
    copies = bank_names(config.reverb_copies if rirs else 0, config.speed_factors)
    for speed, (clean, *reverbs) in copies.items():
        spoken = cuts if speed == 1 else [SpedCut(cut, speed) for cut in cuts]
        if clean:
            fill(folder / clean, spoken, load_utterance, fbank, {}, run)
        for copy, name in enumerate(reverbs, 1):
            load = Reverberated(rirs, round(config.max_rir_seconds * fbank.sampling_rate), seed, copy)
            rooms = digest([describe(room) for room in rirs], load.max_taps)
            fill(folder / name, spoken, load, fbank, {"rooms": rooms, "seed": seed}, run)
    planned = [*noises, *(name for names in copies.values() for name in names if name)]
    with exclusive(folder):
        if whole.stale_reason() is None:
            return
        for old in folder.iterdir():
            if old.is_dir() and old.name not in {*planned, "done"}:
                shutil.rmtree(old)
        outputs = [folder / name / "index" / "index.json" for name in planned]
        whole.finish(outputs, noises=noises, copies=list(copies.items()))
