"""Stage 6 without an evaluation set: what can be known of an experiment without labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.calibration import Calibration
from sdpn.backend.chain import Chain
from sdpn.backend.clustering import silhouette
from sdpn.backend.config import ORACLE, BackendConfig
from sdpn.backend.transforms import LengthNorm, MeanSubtract
from sdpn.console import say, warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import eer
from sdpn.extraction.sets import model_digest
from sdpn.features.index import open_features
from sdpn.scoring.calibration import FILE, Calibrator
from sdpn.scoring.fitting import Backend, Clusters, CohortSample, versions_of
from sdpn.scoring.sources import OracleLabels, VectorSet
from sdpn.shards import Work

PROBED = 500
"""Training utterances whose halves are told from others'."""


@dataclass(frozen=True)
class KnownBackend:
    """A back-end, fitted and calibrated without labels.

    Attributes:
        name, chain: of the back-end.
        digest: the identity of the fitted back-end.
        network: of the network whose x-vectors it learned from.
        targets, nontargets: trials within and between clusters that were kept out of the fit.
        eer_percent: the rate at which these are confused; None where there are no such trials.
        calibration: `weight` and `offset` that make log-likelihood ratios of the scores; None without.
        failure: why there is no calibration.
    """

    name: str
    chain: str
    digest: str
    network: str | None
    targets: int = 0
    nontargets: int = 0
    eer_percent: float | None = None
    calibration: dict[str, float] | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Known:
    """What is known of an experiment without labels.

    Attributes:
        probe: system ("sdpn", "untrained") -> the equal error rate, in percent, at which halves of utterances are
            told from those of others; a system is absent where utterances are too short to be halved.
        clusters: of the training x-vectors: `vectors`, `clusters`, `left_out`, `smallest`, `median`, `largest`, and
            the mean `silhouette`; empty where no clusters can be made.
        backends: those that could be fitted.
        failures: a sentence for each thing that could not be made.
    """

    probe: dict[str, float]
    clusters: dict[str, Any]
    backends: list[KnownBackend]
    failures: list[str] = field(default_factory=list)


def know_without_labels(
    data: Path, exp: Path, corpus: Corpus, settings: BackendConfig, chains: dict[str, str], seed: int
) -> Known:
    """Look at the training set alone; what is there already and has not changed is kept.

    Args:
        chains: back-end name -> the text of its chain.

    Raises:
        SdpnError: there are no x-vectors of the training set, or a setting needs an evaluation set.
    """
    if settings.calibration not in ("none", "clusters"):
        raise SdpnError(f"'calibration' is '{settings.calibration}', but {data} has no trial lists: take clusters, or none")
    if settings.quality_names or settings.fusions:
        raise SdpnError(f"'quality' and 'fusion' make rows of trial lists, and {data} has none")
    probe = {
        name: found
        for name, model in (("sdpn", exp / "model"), ("untrained", exp / "systems" / "untrained" / "model"))
        if model.is_dir() and (found := _probe(data / corpus.train, model, exp)) is not None
    }
    train = VectorSet(exp / "xvectors" / corpus.train)
    clusters = Clusters(exp / "backends" / "sdpn", train, settings, seed)
    failures: list[str] = []
    shape: dict[str, Any] = {}
    try:
        shape = _shape_of(clusters)
    except SdpnError as error:
        failures.append(str(error))
        warn(failures[-1])
    backends = []
    for name, text in chains.items():
        try:
            backends.append(_learn(name, text, data, exp, corpus, train, clusters, settings, seed))
        except SdpnError as error:
            failures.append(f"{name}: {error}")
            warn(failures[-1])
    return Known(probe, shape, backends, failures)


def _probe(set_dir: Path, model: Path, exp: Path) -> float | None:
    """The equal error rate on halves of training utterances, in percent; None where they are too short."""
    index = open_features(set_dir)
    inputs = {"features": index.fingerprint, "model": model_digest(model), "utterances": PROBED}
    work = Work(exp / "results", f"probe.{'sdpn' if model.parent == exp else model.parent.name}", inputs)
    if work.stale_reason() is not None:
        import torch

        from sdpn.models.folder import read_model
        from sdpn.scoring.probe import halves_eer

        encoder, _ = read_model(model)
        found = halves_eer(index, torch.device("cpu"), PROBED)(encoder)
        work.finish([], percent=100 * found["probe_eer"] if found else None)
    return work.report()["percent"]


def _shape_of(clusters: Clusters) -> dict[str, Any]:
    """How many clusters there are, how large, and how well they stand apart."""
    labels = clusters.labels
    work = Work(clusters.path.parent, "silhouette", {"clusters": clusters.work, "versions": versions_of("silhouette")})
    if work.stale_reason() is not None:
        vectors = clusters.train.read().vectors
        directions = MeanSubtract().fit(vectors).transform(vectors)
        directions = LengthNorm().fit(directions).transform(directions)
        work.finish([], silhouette=silhouette(directions[labels >= 0], labels[labels >= 0]))
    counts = np.bincount(labels[labels >= 0])
    return {
        "vectors": len(labels),
        "clusters": len(counts),
        "left_out": int((labels < 0).sum()),
        "smallest": int(counts.min()),
        "median": float(np.median(counts)),
        "largest": int(counts.max()),
        "silhouette": work.report()["silhouette"],
    }


def _learn(
    name: str,
    text: str,
    data: Path,
    exp: Path,
    corpus: Corpus,
    train: VectorSet,
    clusters: Clusters,
    settings: BackendConfig,
    seed: int,
) -> KnownBackend:
    """Fit a back-end and calibrate it on trials within and between clusters that it has not learned from.

    Raises:
        SdpnError: it cannot be fitted.
    """
    chain, classes, adaptation = Chain(text), None, None
    if chain.needs_classes:
        oracle = data / corpus.train / "utt2spk.oracle"
        classes = OracleLabels(oracle) if name.startswith(ORACLE) else clusters
    if chain.needs_adaptation:
        adaptation = VectorSet(exp / "xvectors" / str(settings.adaptation_set))
    backend = Backend(clusters.path.parent / f"{name}.h5", chain.text, train, classes, adaptation)
    backend.save()
    known = KnownBackend(name, chain.text, backend.work.identity, train.network)
    if settings.calibration == "none":
        return known
    cohort = CohortSample(train, None, settings, seed)
    calibrator = Calibrator(f"sdpn, {name}", backend, cohort, [], seed, clusters)
    work = Work(exp / "scores" / "clusters" / "sdpn" / name, "calibration", calibrator.inputs("none"))
    if work.stale_reason() is not None:
        calibrator.score(["none"]).write(work, "none")
    scores, labels = np.load(Path(work.directory) / FILE)
    if not len(scores):
        return KnownBackend(*list(vars(known).values())[:4], failure=work.report()["failure"])
    is_target = labels > 0
    fitted = Calibration(settings.calibration_prior).fit(scores[:, None], is_target)
    say(f"  {name}: calibrated on {is_target.sum()} trials within clusters and {(~is_target).sum()} between them")
    return KnownBackend(
        name,
        chain.text,
        backend.work.identity,
        train.network,
        int(is_target.sum()),
        int((~is_target).sum()),
        100 * float(eer(scores[is_target], scores[~is_target])),
        {"weight": float(fitted.weights_[0]), "offset": fitted.offset_},
    )
