"""What is compared: systems that made x-vectors, their back-ends and normalizations, and the score files to make."""

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sdpn.backend.chain import Chain
from sdpn.backend.config import ORACLE, BackendConfig, ChainConfig
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.extraction.sets import FBANK_STATISTICS, SIDE_BY_SIDE
from sdpn.extraction.store import vectors_file
from sdpn.extraction.views import VIEWS
from sdpn.files import digest, file_digest
from sdpn.scoring.score_files import ScoreFile
from sdpn.shards import Work

# Systems of the table beside the trained network: whose vectors they score. `fbank-stats` is the mean and deviation of
# every filterbank bin over the utterance, `untrained` the network before training. Both get the back-ends and
# normalizations that the trained network gets, so that what is better is the network and not what follows it.
BASELINES = ("fbank-stats", "fbank-stats whitened", "untrained")
_WHITENED = {"cosine": ChainConfig("whiten | length-norm | cosine")}

REVISION = 4  # of score files, calibrations and figures: raise it when the same inputs no longer give the same
LIBRARIES = ("numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class System:
    """Something that makes an x-vector of an utterance, and the back-ends that score its x-vectors.

    Attributes:
        name: in the table, e.g. "sdpn".
        xvectors: the folder with one folder of x-vectors for each set.
        backends: back-end name -> its chain, and what that learns from.
        norms: the score normalizations.
        baseline: whether it is there for comparison alone: its scores are neither calibrated nor fused.
        statistics: whether there are statistics of the fbank in its vectors; see `training_vectors.clusterable`.
    """

    name: str
    xvectors: Path
    backends: dict[str, ChainConfig]
    norms: list[str]
    baseline: bool = False
    statistics: bool = False


@dataclass(frozen=True)
class Scoring:
    """One row of the table: a trial list scored by a system, a back-end and a normalization; one score file.

    Attributes:
        trials: name of the trial list.
        system: whose x-vectors.
        backend: name of the back-end, or of the fusion.
        norm: the score normalization.
        scores: the score file, as a piece of work.
        fitted: the file of the fitted back-end, as a piece of work; None for a fusion, which has none.
        calibration: the calibration trials of the row, as a piece of work; None where there is none to make.
        quality: the quality measures that are inputs beside the score.
        fused: the rows that are fused, as their labels within the list, e.g. ["cosine+as", "lda-plda"].
        parts: these rows themselves.
    """

    trials: str
    system: System
    backend: str
    norm: str
    scores: ScoreFile
    fitted: Work | None = None
    calibration: Work | None = None
    quality: list[str] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)
    parts: list["Scoring"] = field(default_factory=list)

    @property
    def row(self) -> str:
        """Back-end and normalization, e.g. "lda-plda+as"."""
        norm = "" if self.norm == "none" else f"+{self.norm}"
        return f"{self.backend}{norm}{'+quality' if self.quality else ''}"

    @property
    def label(self) -> str:
        """The row in a few words, e.g. "eval: sdpn lda-plda+as"."""
        return f"{self.trials}: {self.system.name} {self.row}"

    @property
    def directory(self) -> Path:
        return Path(self.scores.directory)

    @property
    def scores_file(self) -> Path:
        return self.scores.path

    @property
    def calibration_file(self) -> Path:
        return self.directory / "calibration.npy"

    @property
    def calibrated(self) -> bool:
        """Whether the scores are log-likelihood ratios by their making."""
        return bool(self.quality or self.fused)

    @property
    def oracle(self) -> bool:
        """Whether the row has learned from speaker labels."""
        return any(name.startswith(ORACLE) for name in [self.backend, *self.fused])


def versions_of(what: str, libraries: tuple[str, ...]) -> str:
    """The revision of what this package makes, and the versions of the libraries that it depends on."""
    return ", ".join([f"{what} {REVISION}", *(f"{library} {version(library)}" for library in libraries)])


def systems_of(exp_dir: Path, settings: BackendConfig, backends: dict[str, ChainConfig]) -> list[System]:
    """The trained network with every back-end and normalization asked for, then the other systems whose vectors exist.

    x-vectors with statistics beside them are offered where a chain learns how to weigh them.
    """
    norms = settings.norm_names
    systems = [System("sdpn", exp_dir / "xvectors", backends, norms)]
    both = exp_dir / "systems" / SIDE_BY_SIDE / "xvectors"
    learning = {name: one for name, one in backends.items() if Chain(one.chain).needs_classes}
    if both.is_dir() and learning:
        made = [work for path in sorted(both.iterdir()) if (work := Work.finished(path, "xvectors"))]
        if not made:
            raise SdpnError(f"{both} is unfinished: run stage 5 again")
        first = made[0].report()["first"]
        texts = {name: replace(one, chain=f"side-by-side {first} | {one.chain}") for name, one in learning.items()}
        systems.append(System(SIDE_BY_SIDE, both, texts, norms, statistics=True))
    for name in BASELINES:
        source, _, whitened = name.partition(" ")
        xvectors = exp_dir / "systems" / source / "xvectors"
        if xvectors.is_dir():
            own = _WHITENED if whitened else backends
            statistics = source == FBANK_STATISTICS
            systems.append(System(name, xvectors, own, norms, baseline=True, statistics=statistics))
    return systems


def fitted_file(exp_dir: Path, system: System, backend: str) -> Path:
    """Where a fitted back-end lies, for whoever scores other recordings with it."""
    return exp_dir / "backends" / system.name.replace(" ", "-") / f"{backend}.h5"


class Plan:
    """Every score file of a comparison, in the order of the table, with the fingerprint of what it depends on."""

    def __init__(self, data_dir: Path, exp_dir: Path, corpus: Corpus, settings: BackendConfig, seed: int):
        self.data_dir, self.exp_dir, self.corpus = data_dir, exp_dir, corpus
        self.settings, self.seed = settings, seed
        self.digests: dict[Path, str] = {}
        self.versions = versions_of("scores", LIBRARIES)

    def rows(self, systems: list[System]) -> list[Scoring]:
        """The rows of the table.

        Raises:
            SdpnError: x-vectors or trial lists are missing; the sentence says which stage makes them.
        """
        if not self.corpus.trials:
            raise SdpnError(f"{self.data_dir}/corpus.json: there are no trial lists to score: run stage 0 with trials")
        if self.settings.calibration not in ("none", "clusters", *self.corpus.trials):
            raise SdpnError(
                f"'calibration' is '{self.settings.calibration}'; allowed: clusters, none, or a trial list: "
                f"{', '.join(self.corpus.trials)}"
            )
        for system in systems:
            of_views = [f"{self.corpus.train}/{VIEWS}"] if self.views(system) else []
            refuse_mixed_models(system, [self.corpus.train, *of_views, *dict.fromkeys(self.corpus.trials.values())])
        rows = []
        for trials in self.corpus.trials:
            for system in systems:
                own = [
                    row
                    for backend, config in system.backends.items()
                    for norm in system.norms
                    for row in self._rows_of(trials, system, backend, Chain(config.chain), norm)
                ]
                rows += own
                if not system.baseline:
                    rows += [self._fusion(trials, system, fused, own) for fused in self.settings.fusions]
        return rows

    def _rows_of(self, trials: str, system: System, backend: str, chain: Chain, norm: str) -> list[Scoring]:
        """The row of a back-end and normalization, and the one with quality measures beside it where asked for."""
        name = backend if norm == "none" else f"{backend}+{norm}"
        fingerprint = self._of_scores(trials, system, backend, chain, norm)
        fitted, calibration = self.fitted(system, backend, chain), self.settings.calibration
        if system.baseline or calibration == "none":
            scores = ScoreFile(self._folder(trials, system, name), "scores", fingerprint)
            return [Scoring(trials, system, backend, norm, scores, fitted)]
        of_calibration = {name: part for name, part in fingerprint.items() if name != "trial list"}
        if calibration == "clusters":
            of_calibration |= self.of_clusters(system) | self._of_views(system) | {"seed": self.seed}
            of_calibration.pop("evaluation x-vectors")
            of_calibration.pop("enrollment", None)
            of_calibration.pop("utterances left out", None)
        else:
            of_calibration |= self._of_list(calibration, system)
        of_calibration["calibration"] = calibration
        directory = self._folder(trials, system, name)
        scores = ScoreFile(directory, "scores", fingerprint)
        rows = [Scoring(trials, system, backend, norm, scores, fitted, Work(directory, "calibration", of_calibration))]
        if self.settings.quality_names:
            quality = ", ".join(self.settings.quality_names)
            options = {
                "quality": quality,
                "prior": self.settings.calibration_prior,
                **self._of_cohort(system, backend, "as"),
            }
            work = ScoreFile(
                self._folder(trials, system, f"{name}+quality"),
                "scores",
                {**fingerprint, **options, "calibration trials": digest(of_calibration)},
            )
            rows.append(Scoring(trials, system, backend, norm, work, fitted, quality=self.settings.quality_names))
        return rows

    def _fusion(self, trials: str, system: System, fused: list[str], rows: list[Scoring]) -> Scoring:
        parts = {row.row: row for row in rows}
        fingerprint = {
            f"scores of {name}": digest([parts[name].scores.fingerprint, parts[name].calibration.fingerprint])
            for name in fused
        }
        of_list = self._of_list(trials, system)
        fingerprint |= {part: of_list[part] for part in of_list if part != "evaluation x-vectors"}
        fingerprint |= {"prior": self.settings.calibration_prior, "versions": self.versions}
        backend = f"fusion({', '.join(fused)})"
        directory = self._folder(trials, system, "fusion-" + "-".join(fused))
        scores = ScoreFile(directory, "scores", fingerprint)
        own = [parts[name] for name in fused]
        return Scoring(trials, system, backend, "none", scores, fused=fused, parts=own)

    def _folder(self, trials: str, system: System, name: str) -> Path:
        return self.exp_dir / "scores" / trials / system.name.replace(" ", "-") / name

    def _of_scores(self, trials: str, system: System, backend: str, chain: Chain, norm: str) -> dict[str, Any]:
        """What the scores of a row depend on."""
        parts = {
            **self._of_list(trials, system),
            **self._of_fit(system, backend, chain),
            "score normalization": norm,
        }
        if norm != "none":
            parts |= self._of_cohort(system, backend, norm)
        if needs_clusters(system, backend, chain, norm, self.settings):
            parts |= self.of_clusters(system)
        return parts

    def _of_fit(self, system: System, backend: str, chain: Chain) -> dict[str, Any]:
        """What a fitted back-end depends on."""
        config = system.backends[backend]
        parts = {**self.of_training(system), "chain": chain.text, "classes": config.classes}
        if config.fit_on != "clean":
            parts |= {"fit_on": config.fit_on, **self._of_views(system)}
        if backend.startswith(ORACLE):
            parts["oracle labels"] = self._digest(self.data_dir / self.corpus.train / "utt2spk.oracle", 1)
        if chain.needs_adaptation:
            path = vectors_file(system.xvectors / self.settings.adaptation_set)
            parts["adaptation x-vectors"] = self._digest(path, 5)
        if needs_clusters(system, backend, chain, "none", self.settings):
            parts |= self.of_clusters(system)
        return parts

    def _of_list(self, trials: str, system: System) -> dict[str, Any]:
        parts = {
            "trial list": self._digest(self.data_dir / "trials" / f"{trials}.txt", 0),
            "evaluation x-vectors": self._digest(vectors_file(system.xvectors / self.corpus.trials[trials]), 5),
        }
        models = self.data_dir / "trials" / f"{trials}.enroll.map"
        parts |= {"enrollment": self._digest(models, 0)} if models.exists() else {}
        left_out = left_out_lists(self.data_dir / self.corpus.trials[trials])
        return parts | (
            {"utterances left out": digest([self._digest(path, 1) for path in left_out])} if left_out else {}
        )

    def fitted(self, system: System, backend: str, chain: Chain) -> Work:
        """The file of a fitted back-end, which also tells the network that its x-vectors came from."""
        parts = {**self._of_fit(system, backend, chain), "network": self.network(system)}
        return Work(fitted_file(self.exp_dir, system, backend).parent, f"fitted.{backend}", parts)

    def clusters(self, system: System) -> Work:
        """The clusters of the training x-vectors of a system, in `clusters.npy`."""
        folder = fitted_file(self.exp_dir, system, "").parent
        return Work(folder, "clusters", self.of_training(system) | self.of_clusters(system))

    def network(self, system: System) -> str | None:
        """A digest of the network that made the training x-vectors of a system; None where they do not say it."""
        made = Work.finished(system.xvectors / self.corpus.train, "xvectors")
        return made.fingerprint.get("model") if made else None

    def of_training(self, system: System) -> dict[str, Any]:
        """What everything learned from the training x-vectors depends on."""
        path = vectors_file(system.xvectors / self.corpus.train)
        return {"training x-vectors": self._digest(path, 5), "versions": self.versions}

    def views(self, system: System) -> Path | None:
        """The folder of the x-vectors of augmented views of the training set; None where there are none."""
        folder = system.xvectors / self.corpus.train / VIEWS
        return folder if folder.is_dir() else None

    def _of_views(self, system: System) -> dict[str, Any]:
        folder = self.views(system)
        return {"x-vectors of views": self._digest(vectors_file(folder), 5) if folder else None}

    def _of_cohort(self, system: System, backend: str, norm: str) -> dict[str, Any]:
        settings, of = self.settings, system.backends[backend].cohort_of
        size = "" if settings.cohort == "clusters" else f" {settings.cohort_size} seed {self.seed}"
        top_n = settings.top_n if norm in ("as", "as2") else None
        views = {} if of == "clean" else self._of_views(system)
        return {"cohort": f"{settings.cohort}{size}", "cohort_of": of, "top_n": top_n, **views}

    def of_clusters(self, system: System) -> dict[str, Any]:
        """The options of the clusters, and the views where these matter."""
        settings = self.settings
        return (self._of_views(system) if system.statistics else {}) | {
            "clusters": f"{settings.clusters}, merged to {settings.merge_clusters}, seed {self.seed}",
            "min_cluster_size": settings.min_cluster_size,
        }

    def _digest(self, path: Path, stage: int) -> str:
        if path not in self.digests:
            if not path.exists():
                raise SdpnError(f"{path} is missing: run stage {stage} first")
            self.digests[path] = file_digest(path)
        return self.digests[path]


def left_out_lists(set_dir: Path) -> list[Path]:
    """The files that name what stages 1 and 2 left out of a set, those of them that there are."""
    return [path for path in (set_dir / "skipped.tsv", set_dir / "skipped_fbank.txt") if path.exists()]


def refuse_mixed_models(system: System, sets: list[str]) -> None:
    """Make sure that the x-vectors of all sets come from one network, the one that is there now.

    Raises:
        SdpnError: they do not, as after a killed stage 5; x-vectors of unknown origin are let pass.
    """
    works = {name: Work.finished(system.xvectors / name, "xvectors") for name in sets}
    unfinished = [name for name, work in works.items() if work is None and (system.xvectors / name / "done").exists()]
    models = {work.fingerprint.get("model") for work in works.values() if work}
    if unfinished or len(models) > 1:
        raise SdpnError(f"the x-vectors in {system.xvectors} are unfinished or of several networks: run stage 5 again")


def needs_clusters(system: System, backend: str, chain: Chain, norm: str, settings: BackendConfig) -> bool:
    """Whether the clusters of the training set matter to the scores of a row."""
    of_clusters = system.backends[backend].classes == "clusters" and not backend.startswith(ORACLE)
    learns = chain.needs_classes and of_clusters
    return learns or (norm != "none" and settings.cohort == "clusters")
