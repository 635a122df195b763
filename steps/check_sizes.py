#!/usr/bin/env python3
"""The end of stage 1: say whether the training set suits the settings of stage 4, before features are computed.

    steps/check_sizes.py --config conf/sdpn/small.yaml --ngpu 2 data

knows counts and durations from the cuts in DATA. What stage 4 will lower for want of utterances is said, one line each;
a number given here as --name value that does not fit is an error.
"""

from pathlib import Path

import click

from sdpn import config
from sdpn.console import run, say
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index import open_features
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.program import program, settings, shared, training_config
from sdpn.shards import Work
from sdpn.training.config import TrainConfig, read_settings
from sdpn.training.sizes import fit_to_corpus


@program(__doc__, "data")
@shared("ngpu")
@click.option("--fbank-config", default="conf/fbank.yaml", help="settings of stage 2 (YAML)")
@training_config
@settings(TrainConfig)
def main(data: Path, config_file: str | None, fbank_config: str, ngpu: int, **overrides) -> None:
    given = config.given(TrainConfig, overrides)
    corpus = Corpus.read(data)
    settings = read_settings(config_file or kind_of(corpus.name).config, given).train
    fbank = config.read(fbank_config, FbankConfig)
    train = data / corpus.train
    longest: int | None
    if corpus.parts:
        index = open_features(train)
        utterances, longest = len(index), int(index.frames.max())
    else:
        utterances, longest = count_cuts(train, fbank)
    _, lowered = fit_to_corpus(settings, given, utterances, longest, max(1, ngpu))
    for sentence in lowered:
        say(f"  for stage 4, {sentence}")


def count_cuts(train: Path, fbank: FbankConfig) -> tuple[int, int | None]:
    """Return how many cuts stage 1 has made, and the frames of the longest."""
    cuts = Work.finished(train, "cuts")
    if cuts is None:
        raise SdpnError(f"{train} has no cuts: run stage 1 first")
    found = cuts.report()
    longest = found.get("longest")  # an older version has not kept it
    return found["cuts"], round(longest * 1000 / fbank.frame_shift) if longest else None


if __name__ == "__main__":
    run(main)
