#!/usr/bin/env python3
"""Stage 3: reverberated copies of the training set, and the banks of noise, music and babble, cached as fbank.

    steps/make_augment.py --nj 8 --reverb-copies 1 data

reads the cuts of stage 1 and writes data/augment/{noise,music,babble,reverb1,...}, each in the form of stage 2.
"""

from functools import partial
from pathlib import Path

import click

from sdpn import config
from sdpn.audio.pipes import pipes_option
from sdpn.augment.config import AugmentConfig, BankConfig
from sdpn.cluster.pool import run_jobs
from sdpn.console import run, say, timed
from sdpn.corpus.layout import Corpus


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--config", "config_file", default="conf/augment.yaml", show_default=True, help="settings (YAML)")
@click.option("--nj", default=1, show_default=True, type=click.IntRange(1), help="processes")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="of rooms and babble")
@pipes_option
@config.options(BankConfig)
def main(data: Path, config_file: str, nj: int, seed: int, **overrides) -> None:
    settings = config.read(config_file, AugmentConfig, config.given(BankConfig, overrides))
    corpus = Corpus.read(data)
    if corpus.parts:
        say(f"{data}: the augmentation of {', '.join(corpus.parts)} serves: nothing to do")
        return
    from sdpn.augment.make import make_banks

    say(f"augmentation of {corpus.train}: {settings.reverb_copies} reverberated copies, noise banks, {nj} jobs")
    with timed(f"augmentation cached in {data}/augment"):
        make_banks(data, corpus, settings, seed, partial(run_jobs, nj=nj))


if __name__ == "__main__":
    run(main)
