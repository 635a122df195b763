"""Stage 6 without an evaluation set: what can be known of an experiment without labels."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.calibration import Calibration
from sdpn.backend.speaker_count import silhouette
from sdpn.backend.transforms import LengthNorm, MeanSubtract
from sdpn.console import warn
from sdpn.errors import SdpnError, UnwritableError
from sdpn.evaluation.metrics import eer
from sdpn.features.index import open_features
from sdpn.locks import remove_partial
from sdpn.models.digest import model_digest
from sdpn.scoring.calibration import FILE
from sdpn.scoring.fitting import Clusters, versions_of
from sdpn.scoring.plan import Plan
from sdpn.scoring.systems import System, refuse_mixed_models, refuse_other_features
from sdpn.scoring.training_vectors import clusterable
from sdpn.shards import Work

PROBED = 500
"""Training utterances whose halves are told from others'."""


@dataclass(frozen=True)
class KnownBackend:
    """A back-end, fitted and calibrated without labels.

    Attributes:
        system: whose x-vectors it scores.
        name, chain: of the back-end.
        digest: the identity of the fitted back-end.
        network: of the network whose x-vectors it learned from.
        targets, nontargets: trials within and between clusters that were kept out of the fit.
        eer_percent: the rate at which these are confused; None where there are no such trials.
        calibration: `weight` and `offset` that make log-likelihood ratios of the scores; None without.
        failure: why there is no calibration.
    """

    system: str
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


def know_without_labels(plan: Plan) -> Known:
    """Look at the training set alone; what is there already and has not changed is kept.

    Raises:
        SdpnError: there are no x-vectors of the training set, or a setting needs an evaluation set.
    """
    settings, train = plan.settings, plan.corpus.train
    if settings.calibration not in ("none", "clusters"):
        raise SdpnError(
            f"'calibration' is '{settings.calibration}', but {plan.data_dir} has no trial lists: take clusters, or none"
        )
    if settings.quality_names or settings.fusions:
        raise SdpnError(f"'quality' and 'fusion' make rows of trial lists, and {plan.data_dir} has none")
    remove_partial(plan.exp_dir / "backends")
    for system in plan.systems:
        refuse_mixed_models(system, [train])
        refuse_other_features(system, [train], plan.data_dir)
    models = {"sdpn": plan.exp_dir / "model", "untrained": plan.exp_dir / "systems" / "untrained" / "model"}
    probe = {
        name: _probe(name, plan.data_dir / train, path, plan.exp_dir) for name, path in models.items() if path.is_dir()
    }
    failures: list[str] = []
    shape: dict[str, Any] = {}
    try:
        shape = _shape_of(plan.clusters(plan.systems[0]))
    except UnwritableError:
        raise
    except SdpnError as error:
        failures.append(str(error))
        warn(failures[-1])
    backends = []
    for system in plan.systems:
        for name in [] if system.baseline else system.backends:
            try:
                backends.append(_learn(plan, system, name))
            except UnwritableError:
                raise
            except SdpnError as error:
                failures.append(f"{system.name}, {name}: {error}")
                warn(failures[-1])
    return Known({name: rate for name, rate in probe.items() if rate is not None}, shape, backends, failures)


def _probe(name: str, set_dir: Path, model: Path, exp: Path) -> float | None:
    """Return the equal error rate on halves of training utterances, in percent; None where they are too short."""
    index = open_features(set_dir)
    inputs = {"features": index.fingerprint, "model": model_digest(model), "utterances": PROBED}
    work = Work(exp / "results", f"probe.{name}", inputs)
    if work.stale_reason() is not None:
        import torch

        from sdpn.models.folder import read_model
        from sdpn.scoring.probe import halves_eer

        encoder, _ = read_model(model)
        found = halves_eer(index, torch.device("cpu"), PROBED)(encoder)
        work.finish([], percent=100 * found["probe_eer"] if found else None)
    return work.report()["percent"]


def _shape_of(clusters: Clusters) -> dict[str, Any]:
    """Describe the clusters: how many there are, how large, and how well they stand apart."""
    labels = clusters.labels
    work = Work(clusters.path.parent, "silhouette", {"clusters": clusters.work, "versions": versions_of("silhouette")})
    if work.stale_reason() is not None:
        vectors = clusterable(clusters.train.read(), clusters.statistics)
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


def _learn(plan: Plan, system: System, name: str) -> KnownBackend:
    """Fit a back-end and calibrate it on trials within and between clusters that it has not learned from.

    Raises:
        SdpnError: it cannot be fitted.
    """
    backend, calibrator = plan.backend(system, name), plan.calibrator(system, name)
    backend.save()
    known = KnownBackend(system.name, name, backend.text, backend.work.identity, backend.train.network)
    if calibrator is None:
        return known
    folder = plan.exp_dir / "scores" / "clusters" / system.folder / name
    work = Work(folder, "calibration", calibrator.inputs("none"))
    if work.stale_reason() is not None:
        calibrator.score(["none"]).write(work, "none")
    scores, labels = np.load(folder / FILE)
    if not len(scores):
        return replace(known, failure=work.report()["failure"])
    is_target = labels > 0
    fitted = Calibration(plan.settings.calibration_prior).fit(scores[:, None], is_target)
    weight = float(fitted.weights_[0])
    wrong = "on these trials it tells targets and non-targets the wrong way" if weight <= 0 else None
    return replace(
        known,
        targets=int(is_target.sum()),
        nontargets=int((~is_target).sum()),
        eer_percent=100 * float(eer(scores[is_target], scores[~is_target])),
        calibration=None if wrong else {"weight": weight, "offset": fitted.offset_},
        failure=wrong,
    )
