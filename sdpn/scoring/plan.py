"""Every row of the table, in its order, with the steps that it is made by; what rows share is one object."""

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sdpn.backend.chain import Chain
from sdpn.backend.config import ORACLE, BackendConfig, ChainConfig
from sdpn.console import say
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.extraction.sets import SIDE_BY_SIDE
from sdpn.extraction.views import VIEWS
from sdpn.scoring.calibration import ADAPTIVE, FILE, Calibrator
from sdpn.scoring.fitting import Backend, Clusters, CohortSample, Utterances, versions_of
from sdpn.scoring.sources import VectorSet
from sdpn.scoring.systems import System, refuse_mixed_models, refuse_other_features, systems_of
from sdpn.scoring.training_vectors import OracleLabels, TrainingSet
from sdpn.scoring.trial_lists import Trials, TrialsOfFile
from sdpn.shards import Work


@dataclass(eq=False)
class Row:
    """A trial list scored by a system, a back-end and a normalization: one score file, computed from these attributes.

    Attributes:
        folder: of its files.
        system: whose x-vectors.
        trials: the trial list.
        vectors: the x-vectors of its set.
        backend: what scores; None for a fusion.
        norm: the score normalization.
        cohort: what the scores are normalized against.
        calibrator: the trials that calibrate it; None where it is not calibrated.
        prior: of calibration and fusion.
        quality: the quality measures that are inputs beside the score: the scores are then calibrated.
        parts: the rows that are fused.
        to_score, to_calibrate: whether the score file and the calibration trials are still to be made.
        figures: the figures as a piece of work, once they are there.
        failure: why the row cannot be made, a sentence.
        doubt: what speaks against its back-end, a sentence.
    """

    folder: Path
    system: System
    trials: Trials
    vectors: VectorSet
    backend: Backend | None
    norm: str
    cohort: CohortSample
    calibrator: Calibrator | None
    prior: float
    quality: list[str] = field(default_factory=list)
    parts: list["Row"] = field(default_factory=list)
    to_score: bool = True
    to_calibrate: bool = False
    figures: Work | None = None
    failure: str | None = None
    doubt: str | None = None

    @cached_property
    def score_file(self) -> Work:
        """The scores.txt of the row as a piece of work."""
        return Work(self.folder, "scores", self._inputs())

    @cached_property
    def calibration(self) -> Work | None:
        """The scores of the calibration trials as a piece of work; None where the row takes or has none of its own."""
        if self.calibrator is None or self.quality or self.parts:
            return None
        return Work(self.folder, "calibration", self.calibrator.inputs(self.norm))

    def look(self) -> None:
        """Ask what is still to be made; if it was there before, the reason is said."""
        reason = self.score_file.stale_reason()
        again = self.calibration.stale_reason() if self.calibration else None
        self.to_score, self.to_calibrate = reason is not None, again is not None
        for work, why, what in ((self.score_file, reason, ""), (self.calibration, again, ", calibration trials")):
            if work and why and not work.is_new():
                say(f"  {self.label}{what}: {why}: redone")

    def _inputs(self) -> dict[str, Any]:
        inputs: dict[str, Any] = {"trials": self.trials.files, "versions": versions_of("scores")}
        if self.backend is None:
            scores = {part.name: {"scores": part.score_file, "calibration": part.calibration} for part in self.parts}
            return inputs | {"fused": scores, "prior": self.prior}
        inputs |= {"x-vectors": self.vectors.identity, "back-end": self.backend.work, "score_norm": self.norm}
        if self.norm != "none":
            inputs |= self.cohort.inputs(self.norm in ADAPTIVE)
        if self.quality and self.calibrator:
            inputs |= {"quality": self.quality, "prior": self.prior, "calibrator": self.calibrator.inputs(self.norm)}
            inputs |= self.cohort.inputs(adaptive=True)
        return inputs

    @property
    def scores_path(self) -> Path:
        return self.folder / "scores.txt"

    @property
    def calibration_path(self) -> Path:
        return self.folder / FILE

    @property
    def backend_name(self) -> str:
        """Of a fusion, the names of what is fused."""
        return self.backend.name if self.backend else f"fusion({', '.join(part.name for part in self.parts)})"

    @property
    def name(self) -> str:
        """Back-end and normalization, e.g. "lda-plda+as"."""
        norm = "" if self.norm == "none" else f"+{self.norm}"
        return f"{self.backend_name}{norm}{'+quality' if self.quality else ''}"

    @property
    def label(self) -> str:
        """The row in a few words, e.g. "eval: sdpn lda-plda+as"."""
        return f"{self.trials.name}: {self.system.name} {self.name}"

    @property
    def calibrated(self) -> bool:
        """Whether the scores are log-likelihood ratios by their making."""
        return bool(self.quality or self.parts)

    @property
    def clusters(self) -> Clusters | None:
        """The clusters that the scores depend on; None where they depend on none."""
        if self.backend and isinstance(self.backend.classes, Clusters):
            return self.backend.classes
        return self.cohort.clusters if self.norm != "none" else None

    @property
    def oracle(self) -> bool:
        """Whether the row has learned from speaker labels."""
        return self.backend_name.startswith(ORACLE) or any(part.oracle for part in self.parts)


class Plan:
    """What stage 6 is asked for.

    Args:
        data_dir: of the corpus.
        exp_dir: of the experiment.
        corpus: its sets and trial lists.
        settings: of stage 6.
        backends: back-end name -> its chain, and what that learns from.
        seed: of clusters, cohort and calibration trials.
    """

    def __init__(
        self,
        data_dir: Path,
        exp_dir: Path,
        corpus: Corpus,
        settings: BackendConfig,
        backends: dict[str, ChainConfig],
        seed: int,
    ):
        self.data_dir, self.exp_dir, self.corpus = data_dir, exp_dir, corpus
        self.settings, self.seed = settings, seed
        self.trials = cache(lambda name: Trials(name, data_dir, corpus))
        self.systems = systems_of(exp_dir, settings, backends)
        self.vectors, self.training, self.clusters = cache(self._vectors), cache(self._training), cache(self._clusters)
        self.cohort, self.backend, self.calibrator = cache(self._cohort), cache(self._backend), cache(self._calibrator)

    def rows(self) -> list[Row]:
        """The rows of the table.

        Raises:
            SdpnError: x-vectors or trial lists are missing; the sentence says which stage makes them.
        """
        lists, allowed = list(self.corpus.trials), ("none", "clusters", *self.corpus.trials)
        if not lists:
            raise SdpnError(f"{self.data_dir}/corpus.json: there are no trial lists to score: run stage 0 with trials")
        if self.settings.calibration not in allowed and not Path(self.settings.calibration).is_file():
            raise SdpnError(
                f"'calibration' is '{self.settings.calibration}'; allowed: clusters, none, a trial list "
                f"({', '.join(lists)}), or a file of labelled trials"
            )
        for system in self.systems:
            of_views = [f"{self.corpus.train}/{VIEWS}"] if self.training(system).views else []
            sets = [self.corpus.train, *dict.fromkeys(self.corpus.trials.values())]
            refuse_mixed_models(system, [*sets, *of_views])
            refuse_other_features(system, sets, self.data_dir)
        return [row for name in lists for system in self.systems for row in self._rows_of(name, system)]

    def release(self, system: System) -> None:
        """Let the x-vectors of a system go, which may be gigabytes."""
        self.training(system).release()
        for name in {self.corpus.train, *self.corpus.evals, self.settings.adaptation_set} - {None}:
            self.vectors(system, name).release()

    def _rows_of(self, list_name: str, system: System) -> list[Row]:
        """The rows of a list and a system: back-ends with every normalization, with quality measures too, fusions."""
        trials, prior = self.trials(list_name), self.settings.calibration_prior
        vectors = self.vectors(system, trials.set_name)
        folder = self.exp_dir / "scores" / list_name / system.folder

        def row(name: str, backend: str | None, norm: str, **others) -> Row:
            fitted = self.backend(system, backend) if backend else None
            calibrator = self.calibrator(system, backend) if backend else None
            cohort = self.cohort(system, system.backends[backend].cohort_of if backend else "clean")
            return Row(folder / name, system, trials, vectors, fitted, norm, cohort, calibrator, prior, **others)

        rows = []
        for backend in system.backends:
            for norm in system.norms:
                name = backend if norm == "none" else f"{backend}+{norm}"
                rows.append(row(name, backend, norm))
                if self.settings.quality_names and rows[-1].calibrator:
                    rows.append(row(f"{name}+quality", backend, norm, quality=self.settings.quality_names))
        if not system.baseline:
            by_name = {own.name: own for own in rows}
            for fused in self.settings.fusions:
                parts = [by_name[name] for name in fused]
                rows.append(row("fusion-" + "-".join(fused), None, "none", parts=parts))
        return rows

    def _vectors(self, system: System, set_name: str) -> VectorSet:
        train = None if set_name == self.corpus.train else self.vectors(system, self.corpus.train)
        return VectorSet(system.xvectors / set_name, train)

    def _training(self, system: System) -> TrainingSet:
        clean = self.vectors(system, self.corpus.train)
        folder = clean.directory / VIEWS
        return TrainingSet(clean, VectorSet(folder, clean) if folder.is_dir() else None)

    def _clusters(self, system: System) -> Clusters:
        folder, train = self.exp_dir / "backends" / system.folder, self.training(system)
        path = self.data_dir / self.corpus.train / "utt2spk.oracle"
        oracle = OracleLabels(path) if path.exists() else None
        # Beside the statistics of the fbank, x-vectors of small networks show the number of speakers best
        both = next((other for other in self.systems if other.name == SIDE_BY_SIDE), system)
        counted = self.clusters(both) if both is not system and self.settings.clusters is None else None
        return Clusters(folder, train, system.statistics, self.settings, self.seed, counted, oracle)

    def _cohort(self, system: System, of: str) -> CohortSample:
        clusters = self.clusters(system) if self.settings.cohort == "clusters" else None
        return CohortSample(self.training(system), of, clusters, self.settings, self.seed)

    def _backend(self, system: System, name: str) -> Backend:
        config, adaptation = system.backends[name], None
        classes: Clusters | OracleLabels | Utterances | None = None
        chain = Chain(config.chain)
        if chain.needs_classes and config.classes == "utterances":
            classes = Utterances()
        elif chain.needs_classes:
            oracle = self.data_dir / self.corpus.train / "utt2spk.oracle"
            classes = OracleLabels(oracle) if name.startswith(ORACLE) else self.clusters(system)
        if chain.needs_adaptation:
            adaptation = self.vectors(system, self.settings.adaptation_set)
        path = self.exp_dir / "backends" / system.folder / f"{name}.h5"
        return Backend(path, config, self.training(system), classes, adaptation)

    def _calibrator(self, system: System, name: str) -> Calibrator | None:
        given, measures = self.settings.calibration, self.settings.quality_names
        if system.baseline or given == "none":
            return None
        label, backend, cohort = (
            f"{system.name}, {name}",
            self.backend(system, name),
            self.cohort(system, system.backends[name].cohort_of),
        )
        if given == "clusters":
            return Calibrator(label, backend, cohort, measures, self.seed, clusters=self.clusters(system))
        if given in self.corpus.trials:
            trials = self.trials(given)
        else:
            sets = dict.fromkeys((*self.corpus.evals, self.corpus.train))
            trials = TrialsOfFile(Path(given), self.data_dir, {name: self.vectors(system, name) for name in sets})
        vectors = self.vectors(system, trials.set_name)
        return Calibrator(label, backend, cohort, measures, self.seed, trials=trials, vectors=vectors)
