#!/usr/bin/env python3
"""Stage 6: score the trial lists with every back-end and score normalization, and compare them.

    steps/score.py --backends cosine,plda --score-norm none,as data exp/sdpn

reads data/trials/*.txt and exp/sdpn/xvectors, and exp/sdpn/systems/*/xvectors for the baselines; writes
exp/sdpn/scores/<trials>/<system>/<back-end>[+<normalization>]/scores.txt and exp/sdpn/results.{md,json}. Scores whose
inputs and options have not changed are kept.
"""

import os
from pathlib import Path

import click

from sdpn import config
from sdpn.backend.config import BackendConfig
from sdpn.console import run, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import exclusive


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("exp", type=click.Path(path_type=Path))
@click.option("--config", "config_file", default="conf/backend.yaml", show_default=True, help="settings (YAML)")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="of clusters and cohort")
@config.options(BackendConfig)
def main(data: Path, exp: Path, config_file: str, seed: int, **overrides) -> None:
    settings = config.read(config_file, BackendConfig, config.given(BackendConfig, overrides))
    corpus = Corpus.read(data)
    if not (exp / "xvectors").is_dir():
        raise SdpnError(f"{exp}/xvectors is missing: run stage 5 first")
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count()))  # joblib warns where it cannot count cores
    from sdpn.evaluation.comparison import compare
    from sdpn.evaluation.results import legend, plain_text, result_rows, write_results

    backends, norms = ", ".join(settings.backend_names), ", ".join(settings.norm_names)
    say(f"scoring {', '.join(corpus.trials)}: back-ends {backends}; score normalization {norms}")
    with timed(f"scores and results in {exp}"), exclusive(exp / "scores"):
        scored, failures = compare(data, exp, corpus, settings, seed)
        rows = result_rows(exp, scored)
        written = write_results(exp, corpus, rows)
    say(f"\n{plain_text(rows)}\n")
    for line in legend(rows):
        say(f"  {line}")
    say(f"  also in {', '.join(str(path) for path in written)}")
    if failures:
        raise SdpnError(f"{len(failures)} back-ends have rows missing above; the first: {failures[0]}")


if __name__ == "__main__":
    run(main)
