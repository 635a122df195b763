#!/usr/bin/env python3
"""Stage 7: pseudo-speakers, clusters of the training x-vectors, for stage 8 to learn from.

    steps/make_pseudo_speakers.py data exp/toy exp/toy/round1

reads EXP/xvectors/train, which stage 5 has made, and writes ROUND/labels/utt2spk: the class of each training utterance
that has one. Classes of fewer than min_class_size utterances are dropped, of larger ones max_class_size are drawn, and
what is nearer to another class than to its own is left out. No label is read; where the corpus knows its speakers, how
well the classes agree with them is printed as oracle. With --labels FILE the labels of a utt2spk take their place:
ordinary supervised training, whose results are marked `labels`.

If EXP is a round itself, another one is made only where it is worth it by what is known without labels: the classes
must have changed (their mutual information with those of EXP below 0.95), and EXP must not have told halves of
utterances apart worse, nor trusted fewer labels, than the round before it. Else the status is 3, and nothing is
written.
"""

from pathlib import Path

import click

from sdpn import config
from sdpn.cluster.stage import Where, cluster_options, run_whole
from sdpn.console import run, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.finetune.config import LabelConfig, RoundConfig
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.program import program, round_config, settings, shared

NOT_WORTH_IT = 3  # the exit status where another round is not


@program(__doc__, "data", "exp", "round")
@round_config
@click.option("--labels", metavar="FILE", type=click.Path(path_type=Path), help="a utt2spk in place of clusters")
@shared("seed")
@cluster_options(shards=False)
@settings(LabelConfig)
def main(
    data: Path,
    exp: Path,
    round: Path,
    config_file: str | None,
    labels: Path | None,
    seed: int,
    where: Where,
    **overrides,
) -> int:
    corpus = Corpus.read(data)
    config_file = config_file or kind_of(corpus.name).finetune
    chosen = config.read(config_file, RoundConfig, config.given(LabelConfig, overrides)).part(LabelConfig)
    if not run_whole(where, round, "make_pseudo_speakers", None, (0, NOT_WORTH_IT)):
        return 0
    train = data / corpus.train
    from sdpn.finetune.stage7 import cluster_labels, given_labels

    with timed("labels"):
        if labels is None:
            lines, reason = cluster_labels(train, exp, round, chosen, seed)
        else:
            lines, reason = given_labels(train, exp, labels, round), None
    for line in lines:
        say(f"  {line}")
    say(f"no further round after {exp}: {reason}" if reason else f"  wrote {round}/labels/utt2spk")
    return NOT_WORTH_IT if reason else 0


if __name__ == "__main__":
    run(main)
