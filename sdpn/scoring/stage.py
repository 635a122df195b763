"""Stage 6: score every trial list with every system, back-end and normalization, and compute their figures."""

import io
import json
from itertools import groupby
from typing import Any

import numpy as np

from sdpn.backend.calibration import Calibration
from sdpn.console import counted, say, timed, warn
from sdpn.errors import SdpnError, UnwritableError
from sdpn.evaluation.figures import Wanted, evaluate
from sdpn.files import atomic_path, write_text
from sdpn.locks import remove_partial
from sdpn.scoring.calibration import ADAPTIVE, PLAIN, Taught, doubt_of
from sdpn.scoring.fitting import Backend, versions_of
from sdpn.scoring.plan import Plan, Row
from sdpn.scoring.quality import quality_features
from sdpn.scoring.score_files import read_scores, write_scores
from sdpn.scoring.systems import System
from sdpn.scoring.trial_scores import Cohort, score_trials
from sdpn.shards import Work
from sdpn.trials.arrays import TrialList


def run_stage(plan: Plan) -> tuple[list[Row], list[str]]:
    """Make the fitted back-ends, score files and figures that are missing or stale, holding the folder `scores`.

    A back-end that cannot be fitted or normalized on these x-vectors costs its own rows alone, which say why.

    Returns:
        the rows of the table, each with its figures or why it has none; and a sentence for each back-end that failed.

    Raises:
        SdpnError: x-vectors or trial lists are missing or do not fit together, or every back-end failed.
    """
    remove_partial(plan.exp_dir / "backends")
    rows = plan.rows()
    for row in rows:
        row.look()
    say(f"  {counted(len(rows), 'score file')}, {sum(not row.to_score for row in rows)} of them done already")
    for trials in dict.fromkeys(row.trials for row in rows if row.to_score or row.to_calibrate):
        _ = trials.usable  # what cannot be read is refused before any work
    failures: list[str] = []
    for system in plan.systems:
        failures += _score_system(system, [row for row in rows if row.system is system], plan)
    if all(row.to_score for row in rows):
        raise SdpnError(failures[0])
    settings = plan.settings
    wanted = Wanted(settings.points, settings.compat, settings.calibration_prior)
    for row in rows:
        if not row.to_score:
            row.figures = compute_figures(row, wanted)
    _doubt(rows)
    return rows, failures


def _doubt(rows: list[Row]) -> None:
    """Note and say which back-ends do worse than chance or than cosine on the trials that calibrate them."""
    found: dict[Row, tuple[float, int]] = {}
    for row in rows:
        if row.calibration and not row.to_calibrate and row.figures:
            made = row.calibration.report()
            if made.get("eer") is not None:  # earlier versions did not keep it
                found[row] = made["eer"], made["targets"]
    plain = {(row.trials.name, row.system): error for row, (error, _) in found.items() if row.name == PLAIN}
    for row, (error, targets) in found.items():
        assert row.calibrator is not None
        row.doubt = doubt_of(error, targets, plain.get((row.trials.name, row.system)), row.calibrator.name)
    for line in dict.fromkeys(f"{row.system.name}, {row.name}: {row.doubt}" for row in rows if row.doubt):
        warn(line)


def _score_system(system: System, rows: list[Row], plan: Plan) -> list[str]:
    """Make what is missing of the rows of a system; return a sentence for each back-end that failed."""
    backends: dict[Backend, list[Row]] = {}
    for row in rows:
        if row.backend:
            backends.setdefault(row.backend, []).append(row)
    stale = {
        backend: own
        for backend, own in backends.items()
        if backend.reason is not None or any(row.to_score or row.to_calibrate for row in own)
    }
    if stale:
        training = plan.training(system).read()
        n_views = len(training.owners) - training.n_utterances
        views = f" and {n_views} of augmented views" if n_views else ""
        dimensions = training.clean.shape[1]
        say(
            f"{system.name}: {counted(training.n_utterances, 'training x-vector')}{views}, "
            f"{counted(dimensions, 'dimension')}"
        )
    failures = []
    for backend, own in stale.items():
        try:
            sentences = _score_backend(backend, own)
        except UnwritableError:
            raise
        except SdpnError as error:
            sentences = [str(error)]
            for row in own:
                row.failure = str(error) if row.to_score else None
        for sentence in sentences:
            failures.append(f"{system.name}, {backend.name}: {sentence}")
            warn(failures[-1])
    for row in rows:
        if row.parts and row.to_score:
            try:
                _fuse(row)
            except UnwritableError:
                raise
            except SdpnError as error:
                row.failure = str(error)
                failures.append(f"{system.name}, {row.backend_name}: {error}")
                warn(failures[-1])
    plan.release(system)
    return failures


def _score_backend(backend: Backend, rows: list[Row]) -> list[str]:
    """Fit a back-end, score its calibration trials, then list by list; return a sentence for each that failed."""
    backend.save()
    stale = [row for row in rows if row.to_score]
    norms = list(dict.fromkeys(row.norm for row in rows if row.to_calibrate or (row.to_score and row.quality)))
    taught = rows[0].calibrator.score(norms) if norms and rows[0].calibrator else None
    for row in rows:
        if row.to_calibrate and row.calibration and taught:
            taught.write(row.calibration, row.norm)
            row.to_calibrate = False
    norms, cohort = [row.norm for row in stale], None
    if not {"none"}.issuperset(norms) or any("cohort-mean" in row.quality for row in stale):
        cohort = rows[0].cohort.seen_by(backend.chain, not ADAPTIVE.isdisjoint(norms))
    failures: list[str] = []
    for _, of_list in groupby(stale, key=lambda row: row.trials.name):
        failures += _score_list(backend, list(of_list), cohort, taught)
    return list(dict.fromkeys(failures))


def _score_list(backend: Backend, rows: list[Row], cohort: Cohort | None, taught: Taught | None) -> list[str]:
    """Write the score files of rows of one list and back-end; return a sentence for each normalization that failed."""
    trials, found = rows[0].trials.usable, rows[0].vectors.read()
    index = trials.rows(found.ids, rows[0].vectors.directory)
    norms = list(dict.fromkeys(row.norm for row in rows))
    against = f" against a cohort of {len(cohort.vectors)}" if cohort else ""
    with timed(f"{trials.name}: {counted(len(trials.is_target), 'trial')} scored{against}"):
        of_norms = score_trials(backend.chain, found.vectors[index], trials, norms, cohort)
    for row in rows:
        row.failure = of_norms.failures.get(row.norm)
        if row.failure:
            continue
        scores = of_norms.by_norm[row.norm]
        if row.quality:
            assert taught is not None, "quality measures without calibration trials"
            features = quality_features(row.quality, found, index, trials, of_norms)
            scores = taught.fit(row.norm, row.prior).transform(np.column_stack((scores, features)))
        _write(row, trials, scores, _how_made(row, trials, backend, cohort))
    return [f"{norm}: {sentence}" for norm, sentence in of_norms.failures.items()]


def _how_made(row: Row, trials: TrialList, backend: Backend, cohort: Cohort | None) -> dict[str, Any]:
    """What a reader of the results must know of how the scores were made."""
    against = cohort if row.norm != "none" else None
    return {
        "chain": backend.text,
        "fit_on": backend.fit_on if backend.chain.learns else None,
        "enrollment": backend.chain.enrollment if trials.members is not None else None,
        "classes": backend.classes.name if backend.classes else None,
        "network": backend.train.network,
        "pseudo_speakers": int(row.clusters.labels.max()) + 1 if row.clusters else None,
        "clusters_oracle": row.clusters.work.report().get("oracle") if row.clusters else None,
        "cohort": ("clusters" if row.cohort.clusters else "utterances") if against else None,
        "cohort_of": row.cohort.of if against else None,
        "cohort_size": len(against.vectors) if against else None,
        "top_n": against.top_n if against and row.norm in ADAPTIVE else None,
        "adaptation_set": backend.adaptation.directory.name if backend.adaptation else None,
    }


def _fuse(row: Row) -> None:
    """Fuse the score files of a row's parts by what their calibration trials teach."""
    failed = [part.name for part in row.parts if part.to_score or part.to_calibrate]
    if failed:
        raise SdpnError(f"there are no scores of {', '.join(failed)}")
    taught = [np.load(part.calibration_path) for part in row.parts]
    if not all(scores.size for scores in taught):
        raise SdpnError("there are no calibration trials")
    fusion = Calibration(row.prior)
    fusion.fit(np.column_stack([scores for scores, _ in taught]), taught[0][1] > 0)
    trials = row.trials.usable
    scores = np.column_stack([read_scores(part.scores_path, len(trials.is_target)) for part in row.parts])
    names = [part.name for part in row.parts]
    weights = {name: float(weight) for name, weight in zip(names, fusion.weights_, strict=True)}
    _write(row, trials, fusion.transform(scores), {"weights": weights, "offset": fusion.offset_})


def _write(row: Row, trials: TrialList, scores: np.ndarray, how_made: dict[str, Any]) -> None:
    """Write the score file of a row and record it as done; a score changed by hand later is noticed."""
    row.score_file.begin()
    remove_partial(row.folder)
    write_scores(row.scores_path, trials, scores)
    row.score_file.finish([row.scores_path], **how_made)
    row.to_score = False


def compute_figures(row: Row, wanted: Wanted) -> Work:
    """Compute the figures of a row from its score file, unless they are there; write what plots and comparisons need.

    `figures.json` holds the DET curve, its marks and the densities of the scores; `influence.npz` how speakers move
    the figures.
    """
    inputs = {
        "scores": row.score_file,
        "calibration": None if row.to_calibrate else row.calibration,
        "calibration_prior": wanted.prior,
        "operating_points": [point.name for point in wanted.points],
        "compat": wanted.compat,
        "speakers": row.trials.speakers_digest,
        "versions": versions_of("figures"),
    }
    work = Work(row.folder, "figures", inputs)
    if work.stale_reason() is None:
        return work
    trials = row.trials.usable
    scores = read_scores(row.scores_path, len(trials.is_target))
    taught = np.load(row.calibration_path) if inputs["calibration"] else np.empty(0)
    speakers = row.trials.speakers
    found = evaluate(trials, scores, speakers, wanted, taught if taught.size else None, row.calibrated)
    if found.calibration and found.calibration["weight"] <= 0:
        warn(f"{row.label}: not calibrated: on the calibration trials it tells targets and non-targets the wrong way")
    plots, influence = row.folder / "figures.json", row.folder / "influence.npz"
    work.begin()
    write_text(plots, json.dumps(found.plots) + "\n")
    packed = io.BytesIO()  # by way of memory: NumPy does not say why a file could not be written
    np.savez(packed, **vars(found.influence))
    with atomic_path(influence) as temporary:
        temporary.write_bytes(packed.getbuffer())
    work.finish(
        [plots, influence],
        targets=trials.n_targets,
        nontargets=trials.n_nontargets,
        speakers=found.influence.n_speakers,
        thresholds=found.thresholds,
        figures=found.values,
        intervals=found.intervals,
        calibration=found.calibration,
    )
    say(f"  {row.label}: EER {found.values['eer_percent']:.2f} % -> {row.scores_path}")
    return work
