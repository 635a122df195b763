"""`sdpn score`: score trials over anybody's x-vectors, without the recipe."""

from pathlib import Path

import click

from sdpn.errors import SdpnError

NORMS = ("none", "z", "t", "s", "as", "as2")
TOOLS = ("none", "wespeaker", "kaldi", "voxceleb_trainer")
PATH = click.Path(path_type=Path)


@click.command()
@click.option("--trials", required=True, type=PATH, help="`enroll test target|nontarget` lines, or without labels")
@click.option("--xvectors", type=PATH, help="of the trials' utterances: .scp, .ark, .h5, .npz, or a folder")
@click.option("--scores", type=PATH, help="instead: a score file in the trials' order, only to print its error rates")
@click.option("--model", type=PATH, help="an experiment (exp/NAME): --backend is then the name of one of its back-ends")
@click.option(
    "--backend", help="a chain, its YAML, or a fitted .h5  [default: length-norm | cosine; of --model: cosine]"
)
@click.option("--out", type=PATH, help="where the scores go: `enroll test score` lines")
@click.option("--train", type=PATH, help="training x-vectors, for a chain that learns")
@click.option("--utt2spk", type=PATH, help="speakers of --train; without it LDA and PLDA learn from clusters")
@click.option("--clusters", type=click.IntRange(2), help="how many clusters; without it the number is chosen")
@click.option("--min-cluster-size", default=4, show_default=True, type=click.IntRange(1))
@click.option("--adapt", type=PATH, help="unlabelled x-vectors, for a chain that adapts")
@click.option("--models", type=PATH, help="`model utterance utterance ...`: enrollments of several utterances")
@click.option("--score-norm", default="none", show_default=True, type=click.Choice(NORMS))
@click.option("--cohort", type=PATH, help="x-vectors of the cohort; without it a sample of --train")
@click.option("--cohort-size", default=3000, show_default=True, type=click.IntRange(2), help="of the sample")
@click.option("--top-n", default=300, show_default=True, type=click.IntRange(2), help="cohort scores for as and as2")
@click.option("--plda", type=PATH, help="a Kaldi PLDA to score with, in the place of the chain's own")
@click.option("--save-backend", type=PATH, help="where the fitted back-end goes (.h5)")
@click.option("--save-plda", type=PATH, help="where its PLDA goes, in Kaldi's form")
@click.option("--operating-points", default="", help="costs beside 0.01 and 0.05: p_target[:c_miss:c_fa], ...")
@click.option("--compat", default="none", show_default=True, type=click.Choice(TOOLS), help="whose EER to give too")
@click.option("--bootstrap", default=2000, show_default=True, type=click.IntRange(0), help="draws; 0: no intervals")
@click.option("--speakers", type=PATH, help="utt2spk of --xvectors, for the intervals; else target trials tell")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def score(
    trials: Path,
    xvectors: Path | None,
    scores: Path | None,
    model: Path | None,
    backend: str | None,
    score_norm: str,
    out: Path | None,
    **options,
) -> None:
    """Score trials over anybody's x-vectors, and print the error rates where the trials have labels.

    \b
    sdpn score --trials veri_test2.txt --xvectors vox1.scp --out scores.txt
    sdpn score --trials veri_test2.txt --xvectors vox1.npz --model exp/toy --backend lda-plda
    sdpn score --trials T --xvectors eval.h5 --train dev.npz --utt2spk dev.utt2spk \\
        --backend "mean-subtract | lda 150 | length-norm | plda" --score-norm as --out scores.txt
    """
    if (xvectors is None) == (scores is None):
        raise click.UsageError("give either --xvectors or --scores")
    if scores is not None:
        _print_streamed(trials, scores, options)
        return
    from sdpn.backend.chain_file import save_chain
    from sdpn.backend.kaldi_plda import write_kaldi_plda
    from sdpn.backend.plda import PLDA
    from sdpn.console import say, timed
    from sdpn.evaluation.own_vectors import Learning, backend_of, cohort_of
    from sdpn.evaluation.score_files import write_scores
    from sdpn.evaluation.scoring import score_trials
    from sdpn.evaluation.trial_lists import read_models
    from sdpn.evaluation.trials import read_list
    from sdpn.extraction.vector_files import read_vectors

    learning = Learning(
        options["train"],
        options["utt2spk"],
        options["adapt"],
        options["clusters"],
        options["min_cluster_size"],
        options["seed"],
    )
    models = options["models"]
    if models is not None and not models.is_file():
        raise SdpnError(f"{models}: there is no such file")
    found_list, labelled = read_list(trials, read_models(models) if models else {})
    found = read_vectors(xvectors)
    rows = found_list.rows(found.ids, xvectors)
    if model is not None:
        from sdpn.models.folder import find_model
        from sdpn.recognizer import fitted_backend

        backend = str(fitted_backend(find_model(model), backend or "cosine"))
    chain, train = backend_of(backend or "length-norm | cosine", learning, found, options["plda"])
    if options["save_backend"]:
        if options["plda"]:
            raise SdpnError("--save-backend cannot keep a PLDA that comes from --plda: keep that file")
        save_chain(options["save_backend"], chain)
    if options["save_plda"]:
        if not isinstance(chain.scorer, PLDA):
            raise SdpnError(f"--save-plda: the chain '{chain.text}' has no PLDA")
        write_kaldi_plda(options["save_plda"], chain.scorer)
    cohort = None
    if score_norm != "none":
        adaptive = score_norm in ("as", "as2")
        sizes = (options["cohort_size"], options["top_n"], adaptive, options["seed"])
        cohort = cohort_of(chain, options["cohort"], train, *sizes)
    with timed(f"{len(found_list.enroll)} trials scored"):
        scored = score_trials(chain, found.vectors[rows], found_list, [score_norm], cohort)
    if scored.failures:
        raise SdpnError(scored.failures[score_norm])
    made = scored.scores[score_norm]
    if out is not None:
        write_scores(out, found_list, made)
        say(f"  scores in {out}")
    if labelled:
        _print_figures(found_list, made, options)


def _print_streamed(trials: Path, scores: Path, options: dict) -> None:
    """The error rates of a score file of any length, without intervals; its text is read in pieces."""
    from sdpn.console import say
    from sdpn.evaluation.metrics import det_curve_of
    from sdpn.evaluation.results import cell, columns
    from sdpn.evaluation.score_files import read_chunks

    curve = det_curve_of(read_chunks(trials, scores))
    row = {"eer_percent": 100 * curve.eer(), "min_cllr": curve.min_cllr(), "intervals": {}}
    row |= {f"min_dcf_{point.name}": curve.min_dcf(*point.numbers) for point in _points(options)}
    say(f"  {curve.n_targets} target, {curve.n_nontargets} non-target trials")
    for heading, key in columns([row]):
        say(f"  {heading:16} {cell(row, key)}")


def _points(options: dict) -> list:
    """The operating points, those asked for last."""
    from sdpn.backend.config import ALWAYS, OperatingPoint, names

    try:
        further = [OperatingPoint.parse(text) for text in names(options["operating_points"])]
    except ValueError as error:
        raise SdpnError(f"--operating-points: {error}") from None
    return [*dict.fromkeys([*ALWAYS, *further])]


def _print_figures(trials, scores, options: dict) -> None:
    """The error rates, each with its interval."""
    from sdpn.console import say
    from sdpn.evaluation.figures import Wanted, evaluate
    from sdpn.evaluation.results import cell, columns
    from sdpn.evaluation.trial_lists import read_map

    wanted = Wanted(_points(options), options["compat"], options["bootstrap"], options["seed"])
    speakers = trials.speakers(read_map(options["speakers"]) if options["speakers"] else {})
    found = evaluate(trials, scores, speakers, wanted)
    row = {**found.values, "intervals": found.intervals}
    say(f"  {trials.n_targets} target, {trials.n_nontargets} non-target trials")
    for heading, key in columns([row]):
        say(f"  {heading:16} {cell(row, key, interval=True)}")
