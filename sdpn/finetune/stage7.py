"""Stage 7: make the labels that stage 8 learns from, of the x-vectors of an experiment or of a given utt2spk."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import SdpnError
from sdpn.evaluation.partition import Agreement, agreement
from sdpn.extraction.sets import SIDE_BY_SIDE
from sdpn.extraction.views import VIEWS
from sdpn.features.index import open_features
from sdpn.files import exclusive
from sdpn.finetune.config import BOTH, LabelConfig
from sdpn.finetune.labels import CLUSTERS, GIVEN, LABELS, UTT2SPK, classes_of, write_labels
from sdpn.finetune.pseudo_speakers import Selection, select_members
from sdpn.finetune.rounds import read_round, reason_to_stop
from sdpn.scoring.fitting import versions_of
from sdpn.scoring.sources import VectorSet
from sdpn.scoring.training_vectors import TrainingSet, clusterable
from sdpn.scoring.trial_lists import read_speakers
from sdpn.shards import Work


def cluster_labels(
    train: Path, exp: Path, round_dir: Path, settings: LabelConfig, seed: int
) -> tuple[list[str], str | None]:
    """Write `round_dir`/labels of the clusters of an experiment's training x-vectors, unless they are there.

    Args:
        train: the folder of the training set.

    Returns:
        What they are, a line for each thing; and why nothing was written, if another round is not worth it.

    Raises:
        SdpnError: there are no x-vectors, or too few classes are left.
    """
    vectors = _vectors(exp, train.name, settings.cluster_on == BOTH)
    of = vectors.inputs("both" if settings.cluster_on == BOTH else "clean")
    inputs = {**of, "labels": settings, "seed": seed, "versions": versions_of("clusters")}
    work = Work(round_dir / LABELS, LABELS, {"source": CLUSTERS, **inputs})
    if work.stale_reason() is None:
        return _lines(work.report()), None
    with exclusive(work.directory):
        found = vectors.read()
        ids = found.all.ids[: found.n_utterances]
        selection = select_members(clusterable(found, settings.cluster_on == BOTH), settings, seed)
        oracle, previous = _oracle(train, ids, selection.classes), _previous(exp, ids, selection.classes)
        report: dict[str, Any] = {
            "source": CLUSTERS,
            "experiment": str(exp),
            "classes": selection.n_classes,
            "kept": int(np.count_nonzero(selection.classes >= 0)),
            "silhouette": selection.silhouette,
            "lines": _describe(selection, len(ids)),
            "oracle": asdict(oracle) if oracle else None,
            "previous": asdict(previous) if previous else None,
        }
        reason = _reason_to_stop(exp, previous)
        if reason is None:
            width = len(str(selection.n_classes))
            names = [f"pseudo{number:0{width}d}" for number in range(selection.n_classes)]
            work.begin()
            work.finish([write_labels(work.directory / UTT2SPK, ids, selection.classes, names)], **report)
        return _lines(report), reason


def given_labels(train: Path, exp: Path, labels: Path, round_dir: Path) -> list[str]:
    """Write `round_dir`/labels of a utt2spk that a user has, as `cluster_labels` does of clusters.

    Raises:
        SdpnError: it cannot be read, or names fewer than two speakers of the training set.
    """
    work = Work(round_dir / LABELS, LABELS, {"source": GIVEN, "utt2spk": labels})
    if work.stale_reason() is not None:
        with exclusive(work.directory):
            ids = open_features(train).ids
            classes, names = classes_of(labels, ids)
            kept = int(np.count_nonzero(classes >= 0))
            work.begin()
            path = write_labels(work.directory / UTT2SPK, ids, classes, names)
            line = f"{kept} of {len(ids)} training utterances in {len(names)} classes, the labels of {labels}"
            counts: dict[str, Any] = {"classes": len(names), "kept": kept}
            work.finish([path], source=GIVEN, experiment=str(exp), lines=[line], **counts)
    return _lines(work.report())


def _vectors(exp: Path, train: str, statistics: bool) -> TrainingSet:
    """The training x-vectors of an experiment, with the statistics of the fbank beside them if these are asked for."""
    clean = VectorSet((exp / "systems" / SIDE_BY_SIDE if statistics else exp) / "xvectors" / train)
    views = clean.directory / VIEWS
    return TrainingSet(clean, VectorSet(views, clean) if statistics and views.is_dir() else None)


def _describe(selection: Selection, total: int) -> list[str]:
    classes = selection.classes[selection.classes >= 0]
    sizes = np.bincount(classes)
    left_out = (
        f"{selection.uncertain} uncertain ones, {selection.of_small} of small classes and {selection.of_large} of "
        "large ones left out"
    )
    return [
        selection.note,
        f"{len(classes)} of {total} utterances ({len(classes) / total:.0%}) in {selection.n_classes} classes of "
        f"{sizes.min()} to {sizes.max()}, {np.median(sizes):.0f} in the middle: {left_out}",
        f"mean silhouette {selection.silhouette:.3f}, before anything was left out",
    ]


def _oracle(train: Path, ids: list[str], classes: np.ndarray) -> Agreement | None:
    """How well classes agree with the corpus's own speakers, to be shown and no more; None where it names none."""
    path = train / "utt2spk.oracle"
    try:
        return agreement(classes, read_speakers(path, ids)) if path.exists() else None
    except SdpnError:  # it does not name all utterances
        return None


def _previous(exp: Path, ids: list[str], classes: np.ndarray) -> Agreement | None:
    """How well classes agree with those that `exp` itself was trained on; None where it is the first."""
    path = exp / LABELS / UTT2SPK
    if not path.exists():
        return None
    before, _ = classes_of(path, ids)
    both = before >= 0
    return agreement(classes[both], before[both])


def _reason_to_stop(exp: Path, agreement: Agreement | None) -> str | None:
    """Why a round after `exp` is not worth it; None where it is, or `exp` is no round."""
    made = Work(exp / LABELS, LABELS, {}).report()
    if agreement is None or made.get("source") != CLUSTERS:
        return None
    return reason_to_stop(read_round(Path(made["experiment"])), read_round(exp), agreement.nmi)


def _lines(report: dict[str, Any]) -> list[str]:
    lines = list(report["lines"])
    if report.get("previous"):
        lines.append(f"agreement with the classes of the round before: NMI {report['previous']['nmi']:.3f}")
    if report.get("oracle"):
        found = report["oracle"]
        lines.append(
            f"oracle, for analysis alone: NMI {found['nmi']:.3f}, purity {found['purity']:.3f} with "
            f"{found['n_speakers']} speakers"
        )
    return lines
