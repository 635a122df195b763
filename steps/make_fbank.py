#!/usr/bin/env python3
"""Stage 2: fbank of the training and evaluation sets, cached.

    steps/make_fbank.py --nj 8 --feats-type ark data

reads data/<set>/cuts.jsonl.gz and writes data/<set>/{feats.scp,feats.*.ark} (or feats.*.h5), the index over them
and cuts_feats.jsonl.gz. What is done already and has not changed is kept. With --ngpu 1 a GPU computes while --nj
threads decode. --verify reads every feature against its checksum, and makes damaged files again. Sets of a Kaldi
data directory that came with a feats.scp keep those features: conf/fbank.yaml must say what they are.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import click

from sdpn import config
from sdpn.cluster.stage import Where, cluster_options, run_shards
from sdpn.console import counted, run, say, timed, warn
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.features.config import FbankConfig
from sdpn.files import exclusive
from sdpn.recipe.program import program, settings, shared


@program(__doc__, "data")
@shared("nj")
@cluster_options()
@click.option("--ngpu", default=0, type=click.IntRange(0, 1), help="1: compute on a GPU")
@click.option("--verify", "verifying", is_flag=True, help="check what is there by its checksums")
@click.option("--max-skipped", type=float, help="share of a set that may be left out  [default: that of --cuts-config]")
@click.option("--cuts-config", default="conf/cuts.yaml", help="settings of stage 1 (YAML)")
@shared("allow-pipes")
@settings(FbankConfig, "conf/fbank.yaml")
def main(
    data: Path,
    config_file: str,
    nj: int,
    ngpu: int,
    verifying: bool,
    max_skipped: float | None,
    cuts_config: str,
    where: Where,
    **overrides,
) -> None:
    allowed = config.read(cuts_config, CutsConfig, {"max_skipped": max_skipped}).max_skipped
    chosen = config.read(config_file, FbankConfig, config.given(FbankConfig, overrides))
    corpus = Corpus.read(data)
    if corpus.parts:
        say(f"{data}: the features of {', '.join(corpus.parts)} serve: nothing to do")
        return
    from sdpn.features.cache import verify
    from sdpn.features.sets import make_set

    if ngpu and where.slurm is None:
        from sdpn.training.devices import choose_device

        choose_device(ngpu)
    sets = [corpus.train, *corpus.evals]
    form = f"{chosen.feats_type}, compression: {chosen.compress}"
    say(
        f"fbank of {', '.join(sets)}: {chosen.num_mel_bins} bins, {chosen.sampling_rate} Hz, {form}, "
        f"{counted(nj, 'job')}"
    )
    made = [name for name in sets if name not in corpus.given_features]
    if corpus.given_features and made:
        others = ", ".join(corpus.given_features)
        warn(f"{', '.join(made)}: no features came with it, as with {others}: those by {config_file} must be alike")

    def make(jobs: Callable) -> None:
        for name in sets:
            given = data / name / corpus.given_features[name] if name in corpus.given_features else None
            make_set(data / name, chosen, jobs, ngpu, nj, given, allowed)

    alone = nullcontext() if where.shards or where.dry_run else exclusive(data, "fbank")
    with alone, timed(f"fbank of {len(sets)} sets cached in {data}"):
        if run_shards(make, where, data, "make_fbank", nj, bool(ngpu)) and verifying:
            damaged = {name: verify(data / name) for name in sets}
            for name, count in damaged.items():
                say(f"  {data / name}: {count or 'no'} damaged utterances")
            if any(damaged.values()):
                run_shards(make, where, data, "make_fbank", nj, bool(ngpu))


if __name__ == "__main__":
    run(main)
