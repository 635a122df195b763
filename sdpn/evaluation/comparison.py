"""Score every trial list with every system, back-end and normalization; each is fitted once and shared by all."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.chain import Chain
from sdpn.backend.clustering import PseudoSpeakers
from sdpn.backend.config import BackendConfig
from sdpn.backend.score_norm import CohortStatistics, cohort_statistics, normalize
from sdpn.backend.vectors import class_means
from sdpn.console import say, timed, warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import det_curve
from sdpn.evaluation.systems import Scoring, System, needs_classes, plan, systems_of
from sdpn.evaluation.trials import TrialList, some
from sdpn.extraction.store import XVectors, read_xvectors
from sdpn.files import atomic_path, remove_partial

P_TARGETS = (0.01, 0.05)  # of the detection costs in the table: papers differ, so both are always given


def compare(
    data_dir: Path, exp_dir: Path, corpus: Corpus, settings: BackendConfig, seed: int
) -> tuple[list[Scoring], list[str]]:
    """Make the score files that are missing or stale.

    A back-end that cannot be fitted or normalized on these x-vectors costs its own rows alone.

    Returns:
        the rows of the table, their figures in `work.report()`, and a sentence for each back-end that failed.

    Raises:
        SdpnError: x-vectors or trial lists are missing or do not fit together, or every back-end failed.
    """
    systems = systems_of(exp_dir, settings)
    scorings = plan(data_dir, exp_dir, corpus, systems, settings, seed)
    stale = []
    for scoring in scorings:
        reason = scoring.work.stale_reason()
        if reason is not None:
            stale.append(scoring)
            if not scoring.work.is_new():
                say(f"  {scoring.label}: {reason}: redone")
    say(f"  {len(scorings)} score files, {len(scorings) - len(stale)} of them done already")
    trial_lists = {
        name: read_usable(data_dir, name, corpus.trials[name]) for name in dict.fromkeys(row.trials for row in stale)
    }
    failures: list[str] = []
    for system in systems:
        mine = [scoring for scoring in stale if scoring.system is system]
        if mine:
            failures += SystemScorer(system, corpus, trial_lists, settings, seed).run(mine)
    scored = [scoring for scoring in scorings if scoring.work.stale_reason() is None]
    if not scored:
        raise SdpnError(failures[0])
    return scored, failures


def read_usable(data_dir: Path, name: str, evaluation_set: str) -> TrialList:
    """A trial list without the trials whose utterances stage 1 or 2 had to leave out; how many these are is said."""
    trials = TrialList.read(data_dir / "trials" / f"{name}.txt", name)
    lists = [data_dir / evaluation_set / file for file in ("skipped.tsv", "skipped_fbank.txt")]
    lines = [line for path in lists if path.exists() for line in path.read_text(encoding="utf-8").split("\n")]
    left_out = {line.split("\t")[0] for line in lines if line} & set(trials.utterances)
    if not left_out:
        return trials
    usable = trials.without(left_out)
    lost = len(trials.is_target) - len(usable.is_target)
    found = " and ".join(str(path) for path in lists if path.exists())
    warn(f"{name}: {lost} trials left out, of {len(left_out)} utterances that could not be used, listed in {found}")
    return usable


class SystemScorer:
    """Scores the trials of one system, with what its back-ends share: x-vectors, pseudo-speakers, cohort."""

    def __init__(
        self, system: System, corpus: Corpus, trial_lists: dict[str, TrialList], settings: BackendConfig, seed: int
    ):
        self.system, self.corpus, self.trial_lists = system, corpus, trial_lists
        self.settings, self.seed = settings, seed
        self.train = read_checked(system.xvectors / corpus.train).vectors
        self.evaluation: dict[str, XVectors] = {}
        self.classes: np.ndarray | None = None

    def run(self, scorings: list[Scoring]) -> list[str]:
        """Make the score files of `scorings`, one back-end after the other; return what failed, a sentence each."""
        say(f"{self.system.name}: {len(self.train)} training x-vectors of {self.train.shape[1]} dimensions")
        failures = []
        for backend, text in self.system.chains.items():
            mine = [scoring for scoring in scorings if scoring.backend == backend]
            if mine:
                try:
                    self._run_chain(Chain(text), mine)
                except SdpnError as error:
                    failures.append(f"{self.system.name}, {backend}: {error}")
                    warn(failures[-1])
        return failures

    def _run_chain(self, chain: Chain, scorings: list[Scoring]) -> None:
        """Fit the chain and the cohort once, then score list by list."""
        if self.classes is None and any(needs_classes(chain, row.norm, self.settings) for row in scorings):
            self.classes = self._cluster()
        with timed(f"{scorings[0].backend}: fitted"):
            chain.fit(self.train, self.classes)
        for note in chain.notes_:
            say(f"  {note}")
        normalized = any(scoring.norm != "none" for scoring in scorings)
        cohort = chain.transform(self._cohort()) if normalized else None
        top_n = self._top_n(cohort, scorings) if normalized else 0
        for name, of_list in groupby(scorings, key=lambda scoring: scoring.trials):
            trials, vectors = self._vectors(name, chain)
            with timed(f"{name}: {len(trials.is_target)} trials scored"):
                raw = chain.scorer.score_pairs(vectors, vectors, trials.enroll, trials.test)
            statistics = None
            if normalized:
                with timed(f"{name}: {len(vectors)} utterances scored against a cohort of {len(cohort)}"):
                    statistics = cohort_statistics(chain.scorer, vectors, cohort, top_n)
            for scoring in of_list:
                scores = _normalized(raw, scoring.norm, statistics, trials)
                finish(scoring, trials, scores, self._report(chain, scoring.norm, cohort, top_n))

    def _cluster(self) -> np.ndarray:
        settings = self.settings
        speakers = PseudoSpeakers(settings.clusters, settings.merge_clusters, settings.min_cluster_size, self.seed)
        with timed("pseudo-speakers found"):
            speakers.fit(self.train)
        say(f"  {speakers.note_}")
        return speakers.labels_

    def _cohort(self) -> np.ndarray:
        """The x-vectors of the cohort: a sample of the training set, or the means of its clusters."""
        if self.settings.cohort == "clusters":
            labelled = self.classes >= 0
            return class_means(self.train[labelled], self.classes[labelled])[1]
        size = min(self.settings.cohort_size, len(self.train))
        chosen = np.random.default_rng([self.seed, 6]).choice(len(self.train), size, replace=False)
        return self.train[np.sort(chosen)]

    def _top_n(self, cohort: np.ndarray, scorings: list[Scoring]) -> int:
        if len(cohort) < self.settings.top_n and any(scoring.norm == "as" for scoring in scorings):
            say(f"  adaptive s-norm: top_n lowered from {self.settings.top_n} to {len(cohort)}, the size of the cohort")
        return min(self.settings.top_n, len(cohort))

    def _report(self, chain: Chain, norm: str, cohort: np.ndarray | None, top_n: int) -> dict[str, Any]:
        """What a reader of the results must know of how the scores were made."""
        clustered = needs_classes(chain, norm, self.settings)
        return {
            "chain": chain.text,
            "pseudo_speakers": int(self.classes.max()) + 1 if clustered else None,
            "cohort": None if norm == "none" else self.settings.cohort,
            "cohort_size": None if norm == "none" else len(cohort),
            "top_n": top_n if norm == "as" else None,
        }

    def _vectors(self, name: str, chain: Chain) -> tuple[TrialList, np.ndarray]:
        """A trial list, and the vectors of its utterances in the space of the scorer."""
        trials, directory = self.trial_lists[name], self.system.xvectors / self.corpus.trials[name]
        if directory.name not in self.evaluation:
            found = read_checked(directory)
            if found.vectors.shape[1] != self.train.shape[1]:
                raise SdpnError(
                    f"{directory}: the x-vectors have {found.vectors.shape[1]} dimensions, those of "
                    f"'{self.corpus.train}' {self.train.shape[1]}: run stage 5 again for both"
                )
            self.evaluation[directory.name] = found
        found = self.evaluation[directory.name]
        return trials, chain.transform(found.vectors[trials.rows(found.ids, directory)])


def finish(scoring: Scoring, trials: TrialList, scores: np.ndarray, report: dict[str, Any]) -> None:
    """Write the score file of a row, compute its figures from the unrounded scores, and record the row as done."""
    directory = Path(scoring.work.directory)
    scoring.work.begin()
    remove_partial(directory)
    write_scores(scoring.scores_file, trials, scores)
    curve = det_curve(scores[trials.is_target], scores[~trials.is_target])
    figures = {"eer_percent": 100 * curve.eer(), **{f"min_dcf_{p:g}": curve.min_dcf(p) for p in P_TARGETS}}
    counts = {"targets": trials.n_targets, "nontargets": trials.n_nontargets}
    scoring.work.finish([scoring.scores_file], **report, **figures, **counts)
    say(f"  {scoring.label}: EER {figures['eer_percent']:.2f} % -> {scoring.scores_file}")


def write_scores(path: Path, trials: TrialList, scores: np.ndarray) -> None:
    """Write `enroll test score` lines in the order of the trial list, with all digits of the scores."""
    names = trials.utterances
    rows = zip(trials.enroll.tolist(), trials.test.tolist(), scores.tolist(), strict=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as opened:
        opened.writelines(f"{names[enroll]} {names[test]} {score!r}\n" for enroll, test, score in rows)


def read_checked(directory: Path) -> XVectors:
    """The x-vectors in `directory`.

    Raises:
        SdpnError: there are none, some hold NaN or infinity, or all of them are the same.
    """
    found = read_xvectors(directory)
    broken = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
    if len(broken):
        raise SdpnError(
            f"{directory}: {len(broken)} of {len(found.ids)} x-vectors hold NaN or infinity: "
            f"{some([found.ids[row] for row in broken])}"
        )
    if len(found.ids) > 1 and (found.vectors == found.vectors[0]).all():
        raise SdpnError(f"{directory}: all {len(found.ids)} x-vectors are the same: the network has collapsed")
    return found


def _normalized(raw: np.ndarray, norm: str, statistics: CohortStatistics | None, trials: TrialList) -> np.ndarray:
    if statistics is None:
        return raw
    return normalize(raw, norm, statistics, statistics, trials.enroll, trials.test)
