"""Stage 6: score every trial list with every system, back-end and normalization, and compute their figures."""

import json

import numpy as np

from sdpn.backend.config import ChainConfig
from sdpn.console import say, warn
from sdpn.errors import SdpnError
from sdpn.evaluation.figures import Wanted, evaluate
from sdpn.files import atomic_path, digest, remove_partial, write_text
from sdpn.scoring.score_files import read_scores
from sdpn.scoring.system_scorer import SystemScorer
from sdpn.scoring.systems import LIBRARIES, Plan, Scoring, systems_of, versions_of
from sdpn.scoring.trial_lists import TrialLists
from sdpn.shards import Work


def compare(plan: Plan, backends: dict[str, ChainConfig]) -> tuple[list[tuple[Scoring, Work]], list[str]]:
    """Make the fitted back-ends, score files and figures that are missing or stale, holding the folder `scores`.

    A back-end that cannot be fitted or normalized on these x-vectors costs its own rows alone.

    Args:
        backends: back-end name -> its chain, and what that learns from.

    Returns:
        the rows of the table, each with its figures as a piece of work (`figures.report()`), and a sentence for each
        back-end that failed.

    Raises:
        SdpnError: x-vectors or trial lists are missing or do not fit together, or every back-end failed.
    """
    settings = plan.settings
    remove_partial(plan.exp_dir / "backends")
    systems = systems_of(plan.exp_dir, settings, backends)
    rows = plan.rows(systems)
    stale = [row for row in rows if _is_stale(row) or (row.fitted and row.fitted.stale_reason() is not None)]
    n_done = sum(row.scores.stale_reason() is None for row in rows)
    say(f"  {len(rows)} score files, {n_done} of them done already")
    lists = TrialLists(plan.data_dir, plan.corpus)
    for name in dict.fromkeys(row.trials for row in stale):
        lists.trials(name)
    failures: list[str] = []
    for system in systems:
        mine = [row for row in stale if row.system is system]
        if mine:
            failures += SystemScorer(system, lists, plan).run(mine)
    scored = [row for row in rows if row.scores.stale_reason() is None]
    if not scored:
        raise SdpnError(failures[0])
    wanted = Wanted(settings.points, settings.compat, settings.bootstrap, plan.seed, settings.calibration_prior)
    return [(row, compute_figures(row, lists, wanted)) for row in scored], failures


def compute_figures(row: Scoring, lists: TrialLists, wanted: Wanted) -> Work:
    """Compute the figures of a row from its score file, unless they are there; write what plots and comparisons need.

    `figures.json` holds the DET curve, its marks and the histogram; `bootstrap.npz` the figures of every draw.
    """
    calibrated_by = row.calibration if row.calibration and row.calibration.stale_reason() is None else None
    fingerprint = {
        "scores": digest(row.scores.fingerprint),
        "calibration": digest(calibrated_by.fingerprint) if calibrated_by else None,
        "calibration_prior": wanted.prior,
        "operating_points": ", ".join(point.name for point in wanted.points),
        "compat": wanted.compat,
        "bootstrap": f"{wanted.draws} seed {wanted.seed}" if wanted.draws else None,
        "speakers": lists.speakers_digest(row.trials) if wanted.draws else None,
        "versions": versions_of("figures", LIBRARIES),
    }
    work = Work(row.directory, "figures", fingerprint)
    if work.stale_reason() is None:
        return work
    trials = lists.trials(row.trials)
    scores = read_scores(row.scores_file, len(trials.is_target))
    taught = np.load(row.calibration_file) if calibrated_by else None
    if taught is not None and not taught.size:
        taught = None
    found = evaluate(trials, scores, lists.speakers(row.trials), wanted, taught, row.calibrated)
    if found.calibration and found.calibration["weight"] <= 0:
        warn(f"{row.label}: not calibrated: on the calibration trials it tells targets and non-targets the wrong way")
    plots, replicates = row.directory / "figures.json", row.directory / "bootstrap.npz"
    work.begin()
    write_text(plots, json.dumps(found.plots) + "\n")
    with atomic_path(replicates) as temporary:
        draws = found.replicates
        np.savez(
            temporary,
            names=draws.names,
            speakers=draws.speakers.astype(np.float32),
            pairs=draws.pairs.astype(np.float32),
            n_speakers=draws.n_speakers,
        )
    work.finish(
        [plots, replicates],
        targets=trials.n_targets,
        nontargets=trials.n_nontargets,
        speakers=found.n_speakers,
        figures=found.values,
        intervals=found.intervals,
        calibration=found.calibration,
    )
    say(f"  {row.label}: EER {found.values['eer_percent']:.2f} % -> {row.scores_file}")
    return work


def _is_stale(row: Scoring) -> bool:
    """Whether something of the row must be made; where it was there before, the reason is said."""
    stale = False
    for work, what in ((row.scores, ""), (row.calibration, ", calibration trials")):
        reason = work.stale_reason() if work else None
        if reason is not None:
            stale = True
            if not work.is_new():
                say(f"  {row.label}{what}: {reason}: redone")
    return stale
