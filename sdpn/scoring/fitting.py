"""What is learned from the training x-vectors of a system: clusters, fitted back-ends, the cohort."""

from dataclasses import asdict
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import save_chain
from sdpn.backend.clustering import PseudoSpeakers
from sdpn.backend.config import BackendConfig, ChainConfig
from sdpn.backend.transforms import LDA
from sdpn.backend.vectors import class_means
from sdpn.console import say, timed, warn
from sdpn.errors import SdpnError
from sdpn.evaluation.partition import agreement
from sdpn.extraction.sets import SIDE_BY_SIDE
from sdpn.files import write_array
from sdpn.scoring.sources import VectorSet
from sdpn.scoring.training_vectors import OracleLabels, TrainingSet, TrainingVectors, clusterable
from sdpn.scoring.trial_scores import Cohort
from sdpn.shards import Work

REVISION = 6  # of score files, calibrations and figures: raise it when the same inputs no longer give the same
FEWEST_CLASSES = 3  # for LDA
LIBRARIES = ("numpy", "scipy", "scikit-learn")


def versions_of(what: str) -> dict[str, Any]:
    """The revision of what this package makes, and the versions of the libraries that it depends on."""
    return {what: REVISION, **_libraries()}


@cache
def _libraries() -> dict[str, str]:
    return {library: version(library) for library in LIBRARIES}


class Clusters:
    """Clusters of the training x-vectors, which stand for speakers, kept in `clusters.npy`.

    Args:
        folder: of the file.
        train: the x-vectors.
        statistics: whether there are statistics of the fbank in them; see `clusterable`.
        settings: the numbers of clusters.
        seed: of k-means.
        counted: the clusters whose number is taken where the settings give none: how many speakers there are is a
            matter of the corpus, and some x-vectors show it better than others. None: the number is looked for.
        oracle: the corpus's own speakers, with whom the clusters are compared for analysis alone: they change nothing.
    """

    name = "clusters"

    def __init__(
        self,
        folder: Path,
        train: TrainingSet,
        statistics: bool,
        settings: BackendConfig,
        seed: int,
        counted: "Clusters | None",
        oracle: OracleLabels | None,
    ):
        self.oracle, self.statistics, self.counted = oracle, statistics, counted
        self.train, self.seed, self.path = train, seed, folder / "clusters.npy"
        self.sizes = {name: getattr(settings, name) for name in ("clusters", "merge_clusters", "min_cluster_size")}
        inputs = {
            **train.inputs("both" if statistics else "clean"),
            "statistics": statistics,
            **self.sizes,
            "seed": seed,
            "number": counted.work if counted else None,
            "versions": versions_of("clusters"),
        }
        self.work: Work = Work(folder, "clusters", inputs)

    @cached_property
    def labels(self) -> np.ndarray:
        """The cluster of each training utterance, -1 for none: (n_train,); found unless they are there."""
        if self.work.stale_reason() is not None:
            sizes, number = self.sizes, self.sizes["clusters"]
            if number is None and self.counted is not None:
                number = self.counted.number
                self.counted.train.release()
            speakers = PseudoSpeakers(number, sizes["merge_clusters"], sizes["min_cluster_size"], self.seed)
            with timed("pseudo-speakers found"):
                speakers.fit(clusterable(self.train.read(), self.statistics))
            self.work.begin()
            write_array(self.path, speakers.labels_)
            note = speakers.note_ + (f"; as many as of {SIDE_BY_SIDE}" if self.counted else "")
            like_speakers = self._agreement(speakers.labels_)
            self.work.finish([self.path], note=note, number=speakers.n_clusters_, oracle=like_speakers)
        say(f"  {self.work.report()['note']}")
        return np.load(self.path)

    @property
    def number(self) -> int:
        """How many clusters there are, small ones among them."""
        _ = self.labels  # they are found, unless they are there
        return self.work.report()["number"]

    @property
    def identity(self) -> Work:
        """What is learned from them depends on."""
        return self.work

    def of(self, training: TrainingVectors) -> np.ndarray:
        """The cluster of each vector, -1 for none: (n_vectors,); the views of an utterance share its cluster."""
        return self.labels[training.owners]

    def _agreement(self, labels: np.ndarray) -> dict[str, float] | None:
        """How well clusters agree with the corpus's own speakers; None if it names none."""
        if self.oracle is None:
            return None
        try:
            return asdict(agreement(labels, self.oracle.classes(self.train.clean.read().ids)))
        except SdpnError as error:
            warn(f"{self.path}: clusters are not compared with speakers: {error}")
            return None


class Utterances:
    """Utterances as classes, each with its augmented views: what tells them apart needs no clusters."""

    name = identity = "utterances"

    def of(self, training: TrainingVectors) -> np.ndarray:
        """The utterance of each vector, -1 for one without views: (n_vectors,).

        Raises:
            SdpnError: there are no views.
        """
        if not training.has_views:
            raise SdpnError("there are no augmented views to learn from: run stages 3 and 5")
        return training.utterance_classes


class Backend:
    """A chain fitted on the training x-vectors, kept in a file for whoever scores other recordings with it.

    Args:
        path: of the file.
        config: the chain, and which of the training x-vectors it learns from.
        train: the training x-vectors.
        classes: what tells them apart: clusters, speakers, or utterances each with its views; None where the chain
            learns from no classes.
        adaptation: the x-vectors that it adapts to; None where it adapts to none.
    """

    def __init__(
        self,
        path: Path,
        config: ChainConfig,
        train: TrainingSet,
        classes: Clusters | OracleLabels | Utterances | None,
        adaptation: VectorSet | None,
    ):
        self.path, self.config, self.train, self.classes, self.adaptation = path, config, train, classes, adaptation
        self.text, self.fit_on = config.chain, train.available(config.fit_on)
        inputs = {
            **train.inputs(config.fit_on),
            "network": train.network,
            "chain": config.chain,
            "enrollment": Chain(config.chain, config.enrollment).enrollment,
            "classes": classes.identity if classes else None,
            "adaptation x-vectors": adaptation.identity if adaptation else None,
            "versions": versions_of("back-ends"),
        }
        self.work = Work(path.parent, f"fitted.{path.stem}", inputs)
        self.reason = self.work.stale_reason()

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def chain(self) -> Chain:
        """The chain, fitted."""
        chain = self._fit(None)
        for note in chain.notes_:
            say(f"  {note}")
        return chain

    def without(self, held_out: np.ndarray) -> Chain:
        """Fit the chain on the training x-vectors that are not `held_out` (n_train,)."""
        return self._fit(held_out)

    def save(self) -> None:
        """Write the fitted chain unless it is there."""
        if self.reason is None:
            return
        if not self.work.is_new():
            say(f"  {self.name}, the fitted back-end: {self.reason}: fitted again")
        chain = self.chain
        self.work.begin()
        save_chain(self.path, chain, self.train.network, self.work.identity)
        self.work.finish([self.path])
        self.reason = None

    def _fit(self, held_out: np.ndarray | None) -> Chain:
        chain, found = Chain(self.text, self.config.enrollment), self.train.read()
        rows = found.rows(self.fit_on)
        if held_out is not None:
            rows = rows[~held_out[found.owners[rows]]]
        classes = self.classes.of(found)[rows] if self.classes else None
        adaptation = self.adaptation.read().vectors if self.adaptation else None
        self._refuse_few(chain, classes, held_out is not None)
        with timed(f"{self.name}: fitted" + ("" if held_out is None else ", without the clusters of calibration")):
            return chain.fit(found.all.vectors[rows], classes, adaptation)

    def _refuse_few(self, chain: Chain, classes: np.ndarray | None, some_held_out: bool) -> None:
        """Make sure that LDA keeps two dimensions: one is a sign after normalization of length, and nothing else.

        Raises:
            SdpnError: it has one or two classes to learn from.
        """
        if classes is None or self.classes is None or not any(isinstance(step, LDA) for step in chain.transforms):
            return
        n_classes = len(np.unique(classes[classes >= 0]))
        if n_classes < FEWEST_CLASSES:
            kept = " that calibration leaves" if some_held_out else ""
            raise SdpnError(
                f"{n_classes} {self.classes.name}{kept} are too few for LDA, which needs at least {FEWEST_CLASSES}"
            )


class CohortSample:
    """Whom scores are normalized against: a sample of the training set, or the means of its clusters.

    Args:
        train: the training x-vectors.
        of: which of them: clean, augmented or both.
        clusters: whose means; None for a sample of x-vectors.
        settings: the size of the sample, and how many of its scores adaptive s-norm looks at.
        seed: of the sample.
    """

    def __init__(self, train: TrainingSet, of: str, clusters: Clusters | None, settings: BackendConfig, seed: int):
        self.train, self.of, self.clusters, self.seed = train, train.available(of), clusters, seed
        self.size, self.top_n = settings.cohort_size, settings.top_n

    def inputs(self, adaptive: bool) -> dict[str, Any]:
        """What scores depend on that are normalized against it."""
        inputs = {"cohort": {"x-vectors": self.train.inputs(self.of)}, "top_n": self.top_n if adaptive else None}
        if self.clusters is not None:
            return inputs | {"clusters": self.clusters.work}
        return inputs | {"cohort_size": self.size, "cohort_seed": self.seed}

    def seen_by(self, chain: Chain, adaptive: bool, held_out: np.ndarray | None = None) -> Cohort:
        """The cohort in the space of a chain's scorer, without those training utterances that are `held_out`."""
        vectors = self._vectors(held_out)
        if adaptive and len(vectors) < self.top_n and held_out is None:
            say(f"  adaptive s-norm: top_n lowered from {self.top_n} to {len(vectors)}, the size of the cohort")
        return Cohort(chain.transform(vectors, training=True), min(self.top_n, len(vectors)))

    def _vectors(self, held_out: np.ndarray | None) -> np.ndarray:
        train = self.train.read()
        rows = train.rows(self.of)
        usable = np.ones(len(rows), dtype=bool) if held_out is None else ~held_out[train.owners[rows]]
        if self.clusters is not None:
            labels = self.clusters.of(train)[rows]
            labelled = (labels >= 0) & usable
            classes = np.unique(labels[labelled], return_inverse=True)[1]
            return class_means(train.all.vectors[rows[labelled]].astype(np.float64), classes)[1]
        size = min(self.size, len(rows))
        chosen = np.sort(np.random.default_rng([self.seed, 6]).choice(len(rows), size, replace=False))
        return train.all.vectors[rows[chosen[usable[chosen]]]]
