#!/usr/bin/env python3
"""Estimate conf/augment.yaml's cross_term from a corpus, and say how well fbanks are mixed with it.

    steps/estimate_cross_term.py data
    steps/estimate_cross_term.py --write conf/augment.yaml data

mixes utterances of the training set with noises of the corpus as waveforms (stages 0 to 2 must have been run) and
finds the deviation of the phase term with which fbanks mix alike. It depends on the settings of the fbank rather than
on the corpus, so once is enough for a conf/fbank.yaml. --write puts the line into the file; without it, the line is
only shown.
"""

import re
from pathlib import Path

import click
import numpy as np

from sdpn.console import run, say
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.index import open_features
from sdpn.files import write_text
from sdpn.recipe.program import program, shared


@program(__doc__, "data")
@click.option("--pairs", default=300, type=click.IntRange(10), help="pairs of 2 s of speech and noise")
@click.option("--values", default=9, type=click.IntRange(2), help="bands at which the deviation is given")
@shared("seed")
@click.option("--write", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="the file to change")
def main(data: Path, pairs: int, values: int, seed: int, write: Path | None) -> None:
    corpus = Corpus.read(data)
    if not corpus.noises:
        raise SdpnError(f"{data} has no noises to mix speech with")
    config = open_features(data / corpus.train).config
    from sdpn.augment.phases import COMPARED_AT, compare, draw_pairs, estimate, knots
    from sdpn.features.fbank import Fbank
    from sdpn.features.sets import read_cuts

    fbank = Fbank(config)
    noises = [cut for name in corpus.noises.values() for cut in read_cuts(data / name)]
    drawn = list(draw_pairs(read_cuts(data / corpus.train), noises, fbank, 2 * pairs, seed))
    values = min(values, config.num_mel_bins)
    fitted = knots(estimate(drawn[:pairs], fbank), values)
    line = f"cross_term: [{', '.join(f'{one:g}' for one in fitted)}]"
    say(line)
    bands = np.arange(config.num_mel_bins)
    deviations = np.interp(bands, np.linspace(0, config.num_mel_bins - 1, values), fitted)
    say(f"{pairs} other pairs, mixed as fbanks and as waveforms, by quarters of the bands, lowest first:")
    for snr in COMPARED_AT:
        found = compare(drawn[pairs:], fbank, deviations, snr)
        bias, spread = (", ".join(f"{one:.2f}" for one in each) for each in (found.bias, found.spread))
        say(f"  SNR {snr:2.0f} dB: obtained {snr + found.snr_error:5.2f} dB; mean difference {bias} dB; its deviation")
        say(f"             {spread} of what independent phases give")
    if write is not None:
        text = write.read_text(encoding="utf-8")
        changed, count = re.subn(r"(?m)^cross_term: \[[^\]]*\]", line, text)
        if count != 1:
            raise SdpnError(f"{write} has no line `cross_term: [...]`")
        write_text(write, changed)
        say(f"written to {write}")


if __name__ == "__main__":
    run(main)
