"""The rows of the table: what each is made from, and where its files lie."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sdpn.backend.config import ORACLE
from sdpn.console import say
from sdpn.scoring.calibration import ADAPTIVE, FILE, Calibrator
from sdpn.scoring.fitting import Backend, Clusters, CohortSample, versions_of
from sdpn.scoring.sources import Trials, VectorSet
from sdpn.scoring.systems import System
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
