"""Stage 3 as a whole: which banks there are, what each is made of, and filling them."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sdpn.augment.config import NOISE_KINDS, AugmentConfig, BankConfig
from sdpn.augment.sources import Reverberated, load_babble, plan_babble
from sdpn.console import say
from sdpn.corpus.layout import Corpus
from sdpn.features.audio import load_samples
from sdpn.features.cache import describe, fill
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
    cuts = list(read_cuts(data / corpus.train))
    whole = Work(
        folder, "augment", {"options": digest(config.part(BankConfig)), "seed": seed, "train": train.fingerprint}
    )
    if whole.stale_reason() is not None:  # banks made by halves are not to be trained on
        whole.begin()
    planned: list[str] = []
    for kind in NOISE_KINDS:
        if kind in corpus.noises:
            fill(folder / kind, list(read_cuts(data / corpus.noises[kind])), load_samples, fbank, {}, run)
        elif kind == "babble" and config.babble_clips:
            clips = list(plan_babble(cuts, config, fbank.sampling_rate, seed))
            fill(folder / kind, clips, load_babble, fbank, {"seed": seed}, run)
        else:
            say(f"  no {kind}: the corpus has none, so no view gets any")
            continue
        planned.append(kind)
    if config.reverb_copies and corpus.rir is None:
        say("  no reverberation: the corpus has no room impulse responses")
    rirs = list(read_cuts(data / corpus.rir)) if corpus.rir else []
    for copy in range(1, config.reverb_copies + 1 if rirs else 1):
        load = Reverberated(rirs, round(config.max_rir_seconds * fbank.sampling_rate), seed, copy)
        rooms = digest([describe(room) for room in rirs], load.max_taps)
        fill(folder / f"reverb{copy}", cuts, load, fbank, {"rooms": rooms, "seed": seed}, run)
        planned.append(f"reverb{copy}")
    with exclusive(folder):
        if whole.stale_reason() is None:
            return
        for old in folder.iterdir():
            if old.is_dir() and old.name not in {*planned, "done"}:
                shutil.rmtree(old)
        whole.finish([folder / name / "index" / "index.json" for name in planned], banks=planned)
