#!/usr/bin/env python3
"""Stage 3: reverberated copies of the training set, and the banks of noise, music and babble, cached as fbank.

    steps/make_augment.py --nj 8 --reverb-copies 1 data

reads the cuts of stage 1 and writes data/augment/{noise,music,babble,reverb1,...}, each in the form of stage 2.
"""

from functools import partial
from pathlib import Path

from sdpn import config
from sdpn.augment.config import AugmentConfig, BankConfig
from sdpn.cluster.stage import Where, cluster_options, run_shards
from sdpn.console import counted, run, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.recipe.program import program, settings, shared


@program(__doc__, "data")
@shared("nj", "seed", "allow-pipes")
@cluster_options()
@settings(BankConfig, "conf/augment.yaml")
def main(data: Path, config_file: str, nj: int, seed: int, where: Where, **overrides) -> None:
    chosen = config.read(config_file, AugmentConfig, config.given(BankConfig, overrides))
    corpus = Corpus.read(data)
    if corpus.parts:
        say(f"{data}: the augmentation of {', '.join(corpus.parts)} serves: nothing to do")
        return
    from sdpn.augment.make import make_banks

    say(
        f"augmentation of {corpus.train}: {counted(chosen.reverb_copies, 'reverberated copy', 'reverberated copies')}, "
        f"noise banks, {counted(nj, 'job')}"
    )
    with timed(f"augmentation cached in {data}/augment"):
        run_shards(partial(make_banks, data, corpus, chosen, seed), where, data, "make_augment", nj)


if __name__ == "__main__":
    run(main)
