#!/usr/bin/env python3
"""Stage 6: score the trial lists with every back-end and score normalization, and compare them.

    steps/score.py --backends cosine,lda-plda --score-norm none,as data exp/sdpn

reads data/trials/*.txt and exp/sdpn/xvectors, and exp/sdpn/systems/*/xvectors for the baselines; writes
exp/sdpn/scores/<trials>/<system>/<back-end>[+<normalization>]/scores.txt, the fitted back-ends in exp/sdpn/backends,
and exp/sdpn/results/{results.md,results.json,report.html}. What has not changed is kept. Without trial lists the
results are what can be known without labels: halves of utterances, clusters, calibration by clusters. A row that
cannot be made of these x-vectors stands in the table with its reason; a trial list without any row of the trained
network is an error.
"""

import os
from pathlib import Path

from sdpn import config
from sdpn.backend.config import BackendConfig, read_backends
from sdpn.cluster.stage import Where, cluster_options, run_whole
from sdpn.console import run, say, timed, warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import exclusive
from sdpn.recipe.program import program, settings, shared


@program(__doc__, "data", "exp")
@shared("seed")
@cluster_options(shards=False)
@settings(BackendConfig, "conf/backend.yaml")
def main(data: Path, exp: Path, config_file: str, seed: int, where: Where, **overrides) -> None:
    given = config.given(BackendConfig, overrides)
    chosen, chains = read_backends(config_file, given)
    corpus = Corpus.read(data)
    if not (exp / "xvectors").is_dir():
        raise SdpnError(f"{exp}/xvectors is missing: run stage 5 first")
    if not run_whole(where, exp, "score", None):
        return
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count()))  # joblib warns where it cannot count cores
    from sdpn.report.embedding_map import embedding_map
    from sdpn.report.report import write_results
    from sdpn.report.results import card_lines, legend, plain_text, result_rows, sentences
    from sdpn.report.unlabelled import write_unlabelled
    from sdpn.scoring.plan import Plan
    from sdpn.scoring.stage import run_stage
    from sdpn.scoring.unlabelled import know_without_labels
    from sdpn.training.card import write_results as write_card_results

    backends, norms = ", ".join(chosen.backend_names), ", ".join(chosen.norm_names)
    if corpus.trials:
        say(f"scoring {', '.join(corpus.trials)}: back-ends {backends}; score normalization {norms}")
    else:
        say(f"no evaluation set: what is known without labels; back-ends {backends}")
    with timed(f"scores and results in {exp}"), exclusive(exp / "scores"):
        plan = Plan(data, exp, corpus, chosen, chains, seed)
        if not corpus.trials:
            known = know_without_labels(plan)
            lines, written = write_unlabelled(exp, data, corpus.name, known, chosen, seed, embedding_map(plan))
            failures, missing = known.failures, [] if known.backends else ["the training set"]
        else:
            made, failures = run_stage(plan)
            rows = result_rows(exp, made)
            points = embedding_map(plan)
            pairs, written = write_results(exp, data, corpus.name, rows, chosen, seed, points)
            table, *rest = plain_text(rows), *sentences(rows, pairs), *legend(rows)
            lines = [table, "", *(f"  {line}" for line in rest)]
            write_card_results(exp, card_lines(rows))
            scored = {row.trials for row in rows if row.figures and not row.baseline}
            missing = [name for name in corpus.trials if name not in scored]
    say("\n" + "\n".join(lines))
    say(f"  also in {', '.join(str(path) for path in written)}")
    if missing:
        raise SdpnError(f"nothing could be made of {', '.join(missing)}; {failures[0]}")
    if failures:
        warn(f"rows could not be made; {len(failures)} warnings above say why, the first: {failures[0]}")


if __name__ == "__main__":
    run(main)
