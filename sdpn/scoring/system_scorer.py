"""Makes the score files of one system: what its back-ends share is read, clustered and chosen once."""

from itertools import groupby
from typing import Any

import numpy as np

from sdpn.backend.calibration import Calibration
from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import save_chain
from sdpn.backend.clustering import PseudoSpeakers
from sdpn.backend.config import ORACLE
from sdpn.backend.vectors import class_means
from sdpn.console import say, timed, warn
from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_checked
from sdpn.files import atomic_path, digest, remove_partial
from sdpn.scoring.calibration_trials import pseudo_trials
from sdpn.scoring.quality import quality_features
from sdpn.scoring.score_files import read_scores, write_scores
from sdpn.scoring.scoring import Cohort, Scored, score_trials
from sdpn.scoring.systems import Plan, Scoring, System, fitted_file, needs_clusters
from sdpn.scoring.training_vectors import TrainingVectors, clusterable
from sdpn.scoring.trial_lists import TrialLists, read_speakers
from sdpn.trials.arrays import TrialList


class SystemScorer:
    """Scores the trials of one system."""

    def __init__(self, system: System, lists: TrialLists, plan: Plan):
        self.system, self.lists = system, lists
        self.settings, self.seed, self.corpus = plan.settings, plan.seed, plan.corpus
        self.exp_dir = plan.exp_dir
        self.clustered, self.network = plan.clusters(system), plan.network(system)
        train, views = read_checked(system.xvectors / self.corpus.train), plan.views(system)
        self.training = TrainingVectors(train, read_checked(views) if views else None)
        self.sets: dict[str, XVectors] = {self.corpus.train: train}
        self.clusters_: np.ndarray | None = None

    def run(self, rows: list[Scoring]) -> list[str]:
        """Make what is stale of the back-ends, score files and calibration trials of `rows`.

        Returns:
            what failed, a sentence each.
        """
        training = self.training
        n_views, dimensions = len(training.owners) - training.n_utterances, training.clean.shape[1]
        views = f" and {n_views} of augmented views" if n_views else ""
        say(f"{self.system.name}: {training.n_utterances} training x-vectors{views}, {dimensions} dimensions")
        failures = []
        for backend, config in self.system.backends.items():
            mine = [row for row in rows if row.backend == backend]
            if mine:
                try:
                    sentences = self._run_chain(backend, Chain(config.chain), mine)
                except SdpnError as error:
                    sentences = [str(error)]
                for sentence in sentences:
                    failures.append(f"{self.system.name}, {backend}: {sentence}")
                    warn(failures[-1])
        for row in rows:
            if row.fused and row.scores.stale_reason() is not None:
                try:
                    self._fuse(row)
                except SdpnError as error:
                    failures.append(f"{self.system.name}, {row.backend}: {error}")
                    warn(failures[-1])
        return failures

    def _run_chain(self, backend: str, chain: Chain, rows: list[Scoring]) -> list[str]:
        """Fit the chain and the cohort once, make its calibration trials, then score list by list; say what failed."""
        stale = [row for row in rows if row.scores.stale_reason() is not None]
        to_calibrate = [row for row in rows if row.calibration and row.calibration.stale_reason() is not None]
        learned = [row for row in stale if row.quality]
        fitted = rows[0].fitted
        outdated = fitted.stale_reason()
        if outdated and not fitted.is_new():
            say(f"  {backend}, the fitted back-end: {outdated}: fitted again")
        if stale or self.settings.calibration in self.corpus.trials or outdated:
            self._fit(backend, chain, None)
            for note in chain.notes_:
                say(f"  {note}")
        if outdated:
            path = fitted_file(self.exp_dir, self.system, backend)
            fitted.begin()
            save_chain(path, chain, self.network, digest(fitted.fingerprint))
            fitted.finish([path])
        calibration: _Calibration | None = None
        if to_calibrate or learned:
            norms = list(dict.fromkeys(row.norm for row in [*to_calibrate, *learned]))
            calibration = self._calibration(backend, chain, norms)
            for row in to_calibrate:
                calibration.write(row)
        cohort = self._cohort(backend, chain, [row.norm for row in stale], bool(learned))
        failures: list[str] = []
        for name, of_list in groupby(stale, key=lambda row: row.trials):
            failures += self._score_list(name, list(of_list), backend, chain, cohort, calibration)
        return list(dict.fromkeys(failures))

    def _score_list(
        self,
        name: str,
        rows: list[Scoring],
        backend: str,
        chain: Chain,
        cohort: Cohort | None,
        calibration: "_Calibration | None",
    ) -> list[str]:
        """Write the score files of `rows`, all of one list; return a sentence for each normalization that failed."""
        trials, found = self.lists.trials(name), self._set(self.corpus.trials[name])
        places = trials.rows(found.ids, self.system.xvectors / self.corpus.trials[name])
        norms = list(dict.fromkeys(row.norm for row in rows))
        against = f" against a cohort of {len(cohort.vectors)}" if cohort else ""
        with timed(f"{name}: {len(trials.is_target)} trials scored{against}"):
            scored = score_trials(chain, found.vectors[places], trials, norms, cohort)
        for row in rows:
            if row.norm in scored.failures:
                continue
            scores = scored.scores[row.norm]
            if row.quality:
                features = quality_features(row.quality, found, places, trials, scored)
                scores = calibration.fit(row.norm, self.settings.calibration_prior).transform(
                    np.column_stack((scores, features))
                )
            _finish(row, trials, scores, self._report(backend, chain, row, cohort))
        return [f"{norm}: {sentence}" for norm, sentence in scored.failures.items()]

    def _fit(self, backend: str, chain: Chain, left_out: np.ndarray | None) -> None:
        """Fit the chain on the training x-vectors, or on those of utterances that are not `left_out`."""
        config = self.system.backends[backend]
        rows = self.training.rows(config.fit_on)
        if left_out is not None:
            rows = rows[~left_out[self.training.owners[rows]]]
        classes = None
        if chain.needs_classes:
            classes = self._classes(backend)[rows]
        adaptation = self._set(self.settings.adaptation_set).vectors if chain.needs_adaptation else None
        with timed(f"{backend}: fitted" + ("" if left_out is None else ", without the clusters of calibration")):
            chain.fit(self.training.all.vectors[rows], classes, adaptation)

    def _classes(self, backend: str) -> np.ndarray:
        """The class of each training vector, -1 for none: its cluster, its utterance, or for `oracle-` its speaker."""
        if self.system.backends[backend].classes == "utterances":
            if not self.training.has_views:
                raise SdpnError("there are no augmented views to learn from: run stages 3 and 5")
            return self.training.utterance_classes
        if backend.startswith(ORACLE):
            oracle = self.lists.data_dir / self.corpus.train / "utt2spk.oracle"
            return read_speakers(oracle, self.training.all.ids[: self.training.n_utterances])[self.training.owners]
        return self.clusters()[self.training.owners]

    def clusters(self) -> np.ndarray:
        """The cluster of every training utterance, -1 for none: (n_train,); found once and kept in a file."""
        if self.clusters_ is None:
            settings, work = self.settings, self.clustered
            path = work.directory / "clusters.npy"
            if work.stale_reason() is not None:
                sizes = (settings.clusters, settings.merge_clusters, settings.min_cluster_size)
                speakers = PseudoSpeakers(*sizes, self.seed)
                with timed("pseudo-speakers found"):
                    speakers.fit(clusterable(self.training, self.system.statistics))
                work.begin()
                with atomic_path(path) as temporary:
                    np.save(temporary, speakers.labels_)
                work.finish([path], note=speakers.note_)
            say(f"  {work.report()['note']}")
            self.clusters_ = np.load(path)
        return self.clusters_

    def _cohort(
        self, backend: str, chain: Chain, norms: list[str], with_quality: bool, left_out: np.ndarray | None = None
    ) -> Cohort | None:
        """The cohort: a sample of the training set or the means of its clusters; None where nothing looks at one."""
        if set(norms) <= {"none"} and not (with_quality and "cohort-mean" in self.settings.quality_names):
            return None
        rows, owners = self.training.rows(self.system.backends[backend].cohort_of), self.training.owners
        usable = np.ones(self.training.n_utterances, dtype=bool) if left_out is None else ~left_out
        if self.settings.cohort == "clusters":
            rows = rows[((self.clusters() >= 0) & usable)[owners[rows]]]
            classes = np.unique(self.clusters()[owners[rows]], return_inverse=True)[1]
            vectors = class_means(self.training.all.vectors[rows].astype(np.float64), classes)[1]
        else:
            size = min(self.settings.cohort_size, len(rows))
            rows = rows[np.sort(np.random.default_rng([self.seed, 6]).choice(len(rows), size, replace=False))]
            vectors = self.training.all.vectors[rows[usable[owners[rows]]]]
        adaptive = not {"as", "as2"}.isdisjoint(norms)
        if len(vectors) < self.settings.top_n and adaptive and left_out is None:
            say(
                f"  adaptive s-norm: top_n lowered from {self.settings.top_n} to {len(vectors)}, the size of the cohort"
            )
        return Cohort(chain.transform(vectors, training=True), min(self.settings.top_n, len(vectors)))

    def _calibration(self, backend: str, chain: Chain, norms: list[str]) -> "_Calibration":
        """The scores of the calibration trials; none, and a sentence why, where they cannot be made."""
        measures = self.settings.quality_names
        try:
            if self.settings.calibration == "clusters":
                drawn = pseudo_trials(self.clusters(), self.seed, self.training)
                trials, found, rows = drawn.trials, self.training.all, drawn.rows
                held_out = Chain(chain.text)
                self._fit(backend, held_out, drawn.held_out)
                cohort = self._cohort(backend, held_out, norms, bool(measures), drawn.held_out)
                scored = score_trials(held_out, found.vectors[rows], trials, norms, cohort, training=True)
            else:
                trials = self.lists.trials(self.settings.calibration)
                evaluation_set = self.corpus.trials[self.settings.calibration]
                found = self._set(evaluation_set)
                rows = trials.rows(found.ids, self.system.xvectors / evaluation_set)
                cohort = self._cohort(backend, chain, norms, bool(measures))
                scored = score_trials(chain, found.vectors[rows], trials, norms, cohort)
        except SdpnError as error:
            warn(f"{self.system.name}, {backend}: not calibrated: {error}")
            return _Calibration(np.empty(0, dtype=bool), Scored({}), None, str(error))
        features = quality_features(measures, found, rows, trials, scored) if measures else None
        return _Calibration(trials.is_target, scored, features)

    def _fuse(self, row: Scoring) -> None:
        """Fuse the score files of a row's parts by what their calibration trials teach."""
        trials = self.lists.trials(row.trials)
        failed = [
            part.row
            for part in row.parts
            if part.scores.stale_reason() is not None or part.calibration.stale_reason() is not None
        ]
        if failed:
            raise SdpnError(f"there are no scores of {', '.join(failed)}")
        taught = [np.load(part.calibration_file) for part in row.parts]
        if not taught[0].size:
            raise SdpnError("there are no calibration trials")
        fusion = Calibration(self.settings.calibration_prior)
        fusion.fit(np.column_stack([scores for scores, _ in taught]), taught[0][1] > 0)
        scores = np.column_stack([read_scores(part.scores_file, len(trials.is_target)) for part in row.parts])
        weights = {name: float(weight) for name, weight in zip(row.fused, fusion.weights_, strict=True)}
        _finish(row, trials, fusion.transform(scores), {"weights": weights, "offset": fusion.offset_})

    def _report(self, backend: str, chain: Chain, row: Scoring, cohort: Cohort | None) -> dict[str, Any]:
        """What a reader of the results must know of how the scores were made."""
        normalized, config = row.norm != "none", self.system.backends[backend]
        clustered = needs_clusters(self.system, backend, chain, row.norm, self.settings)
        classes = "speakers" if backend.startswith(ORACLE) else config.classes
        return {
            "chain": chain.text,
            "fit_on": self._available(config.fit_on) if chain.learns else None,
            "classes": classes if chain.needs_classes else None,
            "network": self.network,
            "pseudo_speakers": int(self.clusters().max()) + 1 if clustered else None,
            "cohort": self.settings.cohort if normalized else None,
            "cohort_of": self._available(config.cohort_of) if normalized else None,
            "cohort_size": len(cohort.vectors) if normalized else None,
            "top_n": cohort.top_n if row.norm in ("as", "as2") else None,
            "adaptation_set": self.settings.adaptation_set if chain.needs_adaptation else None,
        }

    def _available(self, of: str) -> str:
        """Which training x-vectors are taken where those are asked for: the clean ones where there are no views."""
        return of if self.training.has_views else "clean"

    def _set(self, name: str) -> XVectors:
        """The x-vectors of a set, read once."""
        if name not in self.sets:
            directory = self.system.xvectors / name
            found = read_checked(directory)
            if found.vectors.shape[1] != self.training.clean.shape[1]:
                raise SdpnError(
                    f"{directory}: the x-vectors have {found.vectors.shape[1]} dimensions, those of "
                    f"'{self.corpus.train}' {self.training.clean.shape[1]}: run stage 5 again for both"
                )
            self.sets[name] = found
        return self.sets[name]


class _Calibration:
    """Calibration trials of a back-end: their labels, scores, quality measures; `failure` says why there are none."""

    def __init__(self, is_target: np.ndarray, scored: Scored, features: np.ndarray | None, failure: str | None = None):
        self.is_target, self.scored, self.features, self.failure = is_target, scored, features, failure

    def failure_of(self, norm: str) -> str | None:
        """Why there are no calibration trials with this normalization."""
        return self.failure or self.scored.failures.get(norm)

    def write(self, row: Scoring) -> None:
        """Write scores and labels of the trials beside the row's score file."""
        failure = self.failure_of(row.norm)
        taught = np.empty((2, 0)) if failure else np.stack((self.scored.scores[row.norm], self.is_target * 1.0))
        row.calibration.begin()
        with atomic_path(row.calibration_file) as temporary:
            np.save(temporary, taught)
        row.calibration.finish([row.calibration_file], failure=failure)

    def fit(self, norm: str, prior: float) -> Calibration:
        """Learn from score and quality measures."""
        if self.failure_of(norm):
            raise SdpnError(f"quality measures need calibration trials: {self.failure_of(norm)}")
        return Calibration(prior).fit(np.column_stack((self.scored.scores[norm], self.features)), self.is_target)


def _finish(row: Scoring, trials: TrialList, scores: np.ndarray, report: dict[str, Any]) -> None:
    """Write the score file of a row and record it as done."""
    row.scores.begin()
    remove_partial(row.directory)
    write_scores(row.scores_file, trials, scores)
    row.scores.finish([row.scores_file], **report)
