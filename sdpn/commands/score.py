"""`sdpn score`: score trials over anybody's x-vectors, without the recipe."""

from pathlib import Path

import click
from click.core import ParameterSource

from sdpn.errors import SdpnError

NORMS = ("none", "z", "t", "s", "as", "as2")
TOOLS = ("none", "wespeaker", "kaldi", "voxceleb_trainer")
PATH = click.Path(path_type=Path)
STREAMED = {"trials", "scores", "operating_points"}
"""The options with --scores for which its text is read in pieces."""
WHOLE = {"models", "compat", "intervals", "speakers"}
"""Those for which it is read whole."""


@click.command()
@click.option("--trials", required=True, type=PATH, help="`enroll test target|nontarget` lines, or without labels")
@click.option("--xvectors", type=PATH, help="x-vectors of the trials' utterances: .scp, .ark, .h5, .npz, or a folder")
@click.option("--scores", type=PATH, help="instead: a score file in the trials' order, for its error rates alone")
@click.option("--model", type=PATH, help="an experiment (exp/NAME): --backend is then the name of one of its back-ends")
@click.option(
    "--backend",
    help="a chain, a name in conf/backend/ (lda-plda), its YAML, or a fitted .h5  [default: length-norm | cosine; of "
    "--model: cosine]",
)
@click.option("--out", type=PATH, help="where the scores go: `enroll test score` lines")
@click.option("--train", type=PATH, help="training x-vectors, for a chain that learns")
@click.option("--utt2spk", type=PATH, help="speakers of --train; without it LDA and PLDA learn from clusters")
@click.option("--clusters", type=click.IntRange(2), help="how many clusters; without it the number is chosen")
@click.option("--min-cluster-size", default=4, show_default=True, type=click.IntRange(1))
@click.option("--adapt", type=PATH, help="unlabelled x-vectors, for a chain that adapts")
@click.option("--models", type=PATH, help="`model utterance utterance ...`: enrollments of several utterances")
@click.option("--score-norm", default="none", show_default=True, type=click.Choice(NORMS))
@click.option(
    "--cohort", type=PATH, help="x-vectors of the cohort  [default: a sample of --train, or of the training of --model]"
)
@click.option("--cohort-size", default=3000, show_default=True, type=click.IntRange(2), help="size of that sample")
@click.option("--top-n", default=300, show_default=True, type=click.IntRange(2), help="cohort scores for as and as2")
@click.option("--plda", type=PATH, help="a Kaldi PLDA to score with, in the place of the chain's own")
@click.option("--save-backend", type=PATH, help="where the fitted back-end goes (.h5)")
@click.option("--save-plda", type=PATH, help="where its PLDA goes, in Kaldi's form")
@click.option("--operating-points", default="", help="costs beside 0.01 and 0.05: p_target[:c_miss:c_fa], ...")
@click.option("--compat", default="none", show_default=True, type=click.Choice(TOOLS), help="whose EER to give too")
@click.option("--intervals", is_flag=True, help="with --scores: have 95 % intervals, which needs all of it in memory")
@click.option("--speakers", type=PATH, help="utt2spk of --xvectors, for the intervals; else target trials tell")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.pass_context
def score(
    context: click.Context,
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
    sdpn score --trials veri_test2.txt --xvectors vox1.npz --model exp/toy --backend lda-plda --score-norm as
    sdpn score --trials T --xvectors eval.h5 --train dev.npz --utt2spk dev.utt2spk \\
        --backend "mean-subtract | lda 150 | length-norm | plda" --score-norm as --out scores.txt
    sdpn score --trials veri_test2.txt --scores scores.txt --compat kaldi

    A score file may be of any length: it is read in pieces, and there are no intervals, unless --intervals, --speakers,
    --compat or --models is given. An option that has no part in what is asked for is refused.
    """
    if (xvectors is None) == (scores is None):
        raise click.UsageError("give either --xvectors or --scores")
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if scores is not None:
        _refuse(dict.fromkeys(given - STREAMED - WHOLE, "scores that are there already are only evaluated"))
        (_print_whole if given & WHOLE else _print_streamed)(trials, scores, options)
        return
    assert xvectors is not None, "one of the two was given"
    from sdpn.backend.chain_file import save_chain
    from sdpn.backend.kaldi_plda import write_kaldi_plda
    from sdpn.backend.plda import PLDA
    from sdpn.console import say, timed
    from sdpn.extraction.vector_files import read_vectors
    from sdpn.files import refuse_unwritable
    from sdpn.scoring.own_vectors import Learning, backend_of, by_name, cohort_of
    from sdpn.scoring.score_files import refuse_nan, write_scores
    from sdpn.scoring.trial_scores import score_trials

    if model is not None:
        from sdpn.models.folder import find_model
        from sdpn.recognizer import fitted_backend

        backend = str(fitted_backend(find_model(model), backend or "cosine"))
    else:
        backend = by_name(backend or "length-norm | cosine")
    idle = _without_part(given, backend, score_norm, options["plda"])
    idle["intervals"] = "of scores that are made here they are always given"
    _refuse({name: why for name, why in idle.items() if name in given})
    for path in (out, options["save_backend"], options["save_plda"]):
        if path is not None:
            refuse_unwritable(path)
    learning = Learning(
        options["train"],
        options["utt2spk"],
        options["adapt"],
        options["clusters"],
        options["min_cluster_size"],
        options["seed"],
    )
    found_list, labelled = _read_list(trials, options["models"])
    found = read_vectors(xvectors)
    rows = found_list.rows(found.ids, xvectors)
    chain, train = backend_of(backend, learning, found, options["plda"])
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
        if model is not None and train is None and options["cohort"] is None:
            from sdpn.recognizer import training_vectors_of

            train = read_vectors(training_vectors_of(find_model(model), chain.side_by_side))
        cohort = cohort_of(chain, options["cohort"], train, *sizes)
    with timed(f"{len(found_list.enroll)} trials scored"):
        found_scores = score_trials(chain, found.vectors[rows], found_list, [score_norm], cohort)
    if found_scores.failures:
        raise SdpnError(found_scores.failures[score_norm])
    made = found_scores.by_norm[score_norm]
    refuse_nan(found_list, made)
    if out is not None:
        write_scores(out, found_list, made)
        say(f"  scores in {out}")
    if labelled:
        _print_figures(found_list, made, options)


def _without_part(given: set[str], backend: str, score_norm: str, plda: Path | None) -> dict[str, str]:
    """The options that can change nothing beside those `given`, and why."""
    from sdpn.scoring.own_vectors import to_be_fitted

    idle: dict[str, str] = {}
    if score_norm == "none":
        idle |= dict.fromkeys(("cohort", "cohort_size", "top_n"), "--score-norm is none")
    elif "cohort" in given:
        idle["cohort_size"] = "--cohort is taken whole"
    chain = to_be_fitted(backend, plda)
    of_classes, train = ("utt2spk", "clusters", "min_cluster_size"), score_norm == "none" or "cohort" in given
    if chain is None:
        return idle | dict.fromkeys(("train",) * train + (*of_classes, "adapt"), f"{backend} is fitted already")
    named = f"the chain '{backend}'" if plda is None else f"the chain '{backend}' with --plda"
    if train and not chain.learns:
        idle["train"] = f"{named} learns nothing"
    if not chain.needs_classes:
        idle |= dict.fromkeys(of_classes, f"{named} learns from no classes")
    elif "utt2spk" in given:
        idle |= dict.fromkeys(("clusters", "min_cluster_size"), "the chain learns from the speakers of --utt2spk")
    if not chain.needs_adaptation:
        idle["adapt"] = f"{named} adapts to nothing"
    return idle


def _refuse(idle: dict[str, str]) -> None:
    """Make sure that nothing was asked for in vain.

    Args:
        idle: options that were given and have no part, and why.

    Raises:
        click.UsageError: there are some; the sentence names them.
    """
    if idle:
        names = sorted(idle)
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise click.UsageError(f"{flags} would do nothing here: {idle[names[0]]}")


def _read_list(trials: Path, models: Path | None) -> tuple:
    """The trial list, with the utterances of its models, and whether it has labels."""
    from sdpn.trials.arrays import read_list
    from sdpn.trials.lists import read_enroll_map

    return read_list(trials, read_enroll_map(models) if models else {})


def _print_whole(trials: Path, scores: Path, options: dict) -> None:
    """The error rates of a score file, with all that is printed of scores that are made here."""
    from sdpn.scoring.score_files import read_scores_of

    found_list, labelled = _read_list(trials, options["models"])
    if not labelled:
        raise SdpnError(
            f"{trials}: its trials have no labels, `enroll test target|nontarget`: there are no error rates"
        )
    _print_figures(found_list, read_scores_of(scores, found_list, trials), options)


def _print_streamed(trials: Path, scores: Path, options: dict) -> None:
    """The error rates of a score file of any length, without intervals; its text is read in pieces."""
    from sdpn.console import say
    from sdpn.evaluation.metrics import det_curve_of
    from sdpn.report.results import cell, columns
    from sdpn.report.rows import ResultRow
    from sdpn.scoring.score_files import read_chunks

    curve = det_curve_of(read_chunks(trials, scores))
    figures = {"eer_percent": 100 * curve.eer(), "min_cllr": curve.min_cllr()}
    figures |= {f"min_dcf_{point.name}": curve.min_dcf(*point.numbers) for point in _points(options)}
    say(f"  {curve.n_targets} target, {curve.n_nontargets} non-target trials")
    row = ResultRow(str(trials), "", "", figures=figures)
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
    from sdpn.report.results import cell, columns
    from sdpn.report.rows import ResultRow
    from sdpn.tables import read_map
    from sdpn.trials.names import describe_unknown

    utt2spk = read_map(options["speakers"]) if options["speakers"] else {}
    unknown = trials.without_speaker(utt2spk)
    if options["speakers"] and unknown:
        raise SdpnError(
            f"{options['speakers']}: {len(unknown)} of the trials' {len(trials.utterances)} utterances have no speaker "
            f"in it: {describe_unknown(unknown, utt2spk)}"
        )
    wanted = Wanted(_points(options), options["compat"])
    found = evaluate(trials, scores, trials.speakers(utt2spk), wanted)
    row = ResultRow(trials.name, "", "", figures=found.values, intervals=found.intervals)
    say(f"  {trials.n_targets} target, {trials.n_nontargets} non-target trials")
    for heading, key in columns([row]):
        say(f"  {heading:16} {cell(row, key, interval=True)}")
