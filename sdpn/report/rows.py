"""A row of the results, from stage 6 over results.json to the table and the page, and its one reader."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from sdpn.errors import SdpnError
from sdpn.shards import Work

RESULTS = Path("results", "results.json")  # of an experiment
_FIGURE = re.compile(r"(eer_percent|min_cllr|min_dcf|cllr|act_dcf)(_|$)")
_NOT_STORED = ("figures", "folder")


class Origin(NamedTuple):
    """Which experiment results are of.

    Attributes:
        name: of its folder.
        path: of its folder.
        version: of this package.
        date: on which stage 6 last changed its results, as YYYY-MM-DD.
    """

    name: str
    path: str
    version: str
    date: str

    def __str__(self) -> str:
        """Return it as a line for people."""
        return f"Experiment {self.name} in {self.path}, sdpn {self.version}, {self.date}."

    @classmethod
    def of(cls, exp_dir: Path, date: str) -> "Origin":
        """Return that of an experiment folder."""
        return cls(exp_dir.resolve().name, str(exp_dir), version("sdpn"), date)


@dataclass(frozen=True)
class ResultRow:
    """A trial list scored by a system, a back-end and a normalization: how, and how well.

    Attributes:
        trials: name of the trial list.
        system: whose x-vectors.
        backend: name of the back-end, or of the fusion.
        score_norm: the score normalization, "none" for none.
        quality: the quality measures that are inputs of the score.
        fused: the rows that are fused.
        oracle: whether it has learned from speaker labels.
        labelled: whether the network itself was trained on speaker labels (`--labels`).
        baseline: whether it is there for comparison alone.
        experiment: whose row it is where there are several experiments; else "".
        figures: name (`eer_percent`, `min_cllr`, `min_dcf_P`, `cllr`, `act_dcf_P`, ...) -> value, not rounded.
        intervals: figure -> both ends of its 95 % interval; empty where there are few speakers.
        thresholds: figure (`eer_percent`, `min_dcf_P`) -> the lowest score that is accepted there; None if none is.
        targets, nontargets: numbers of trials.
        speakers: the number of speakers in these trials; None in results of earlier versions.
        chain: the text of the back-end's chain; None for a fusion.
        fit_on: the training x-vectors that the back-end learned from: clean, augmented or both.
        classes: what it learned to tell apart: clusters, utterances or speakers; None if it learned of no classes.
        enrollment: what is averaged where models are of several utterances: raw x-vectors, or transformed ones; None
            if none is of several.
        network: a digest of the network that made the x-vectors.
        pseudo_speakers: the number of clusters that it learned from; None if it did not.
        clusters_oracle: how well these agree with the corpus's own speakers (`sdpn.evaluation.partition.Agreement`),
            for analysis alone; None if the corpus names none.
        cohort, cohort_of, cohort_size, top_n: whom the scores were normalized against; None if they were not.
        adaptation_set: the set whose unlabelled x-vectors it was adapted to.
        weights, offset: of a fusion.
        calibration: `weight` and `offset` that make log-likelihood ratios of the scores.
        calibrated_by: "clusters" or a trial list.
        not_calibrated: why there is no calibration.
        doubt: that it does worse than chance or than cosine on the calibration trials, a sentence; None if it does not.
        failure: why the row could not be made, a sentence; it then has no figures, and no scores.
        backend_digest: the identity of the fitted back-end.
        trials_digest: what changes when the trials do.
        paired: equal for rows of the same trials and speakers.
        figures_digest: the identity of the figures, by which a reader sees that those in the folder are these.
        scores: the score file, relative to the experiment.
        folder: that of the score file, with `figures.json` and `influence.npz`.
    """

    trials: str
    system: str
    backend: str
    score_norm: str = "none"
    quality: list[str] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)
    oracle: bool = False
    labelled: bool = False
    baseline: bool = False
    experiment: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    thresholds: dict[str, float | None] = field(default_factory=dict)
    targets: int = 0
    nontargets: int = 0
    speakers: int | None = None
    chain: str | None = None
    fit_on: str | None = None
    classes: str | None = None
    enrollment: str | None = None
    network: str | None = None
    pseudo_speakers: int | None = None
    clusters_oracle: dict[str, float] | None = None
    cohort: str | None = None
    cohort_of: str | None = None
    cohort_size: int | None = None
    top_n: int | None = None
    adaptation_set: str | None = None
    weights: dict[str, float] | None = None
    offset: float | None = None
    calibration: dict[str, float] | None = None
    calibrated_by: str | None = None
    not_calibrated: str | None = None
    doubt: str | None = None
    failure: str | None = None
    backend_digest: str | None = None
    trials_digest: str | None = None
    paired: str | None = None
    figures_digest: str | None = None
    scores: str = ""
    folder: Path = Path()

    @property
    def eer_percent(self) -> float:
        return self.figures["eer_percent"]

    @property
    def shown_system(self) -> str:
        """The system as tables name it: "sdpn labels" where the network was trained on labels."""
        return f"{self.system} labels" if self.labelled else self.system

    @property
    def label(self) -> str:
        """The row in a few words, without its trial list: "sdpn lda-plda+as"."""
        norm = "" if self.score_norm == "none" else f"+{self.score_norm}"
        quality = "+quality" if self.quality else ""
        return f"{self.experiment}{': ' * bool(self.experiment)}{self.shown_system} {self.backend}{norm}{quality}"

    def is_like(self, other: "ResultRow") -> bool:
        """Return whether the other is the same of another experiment: system, back-end and normalization."""
        mine, others = ((row.system, row.backend, row.score_norm, row.quality, row.fused) for row in (self, other))
        return self.experiment != other.experiment and mine == others

    def to_dict(self) -> dict[str, Any]:
        """Return the row as it stands in results.json, its figures among the other keys."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name not in _NOT_STORED} | (
            self.figures
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], exp_dir: Path) -> "ResultRow":
        """Read what `to_dict` returned, also of earlier versions of this package.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        known = {part.name for part in fields(cls)} - {*_NOT_STORED}
        figures = {name: value for name, value in stored.items() if _FIGURE.match(name)}
        unknown = [name for name in stored if name not in known | figures.keys()]
        if unknown:
            raise ValueError(f"unknown key '{unknown[0]}'")
        values = {name: value for name, value in stored.items() if name in known}
        return cls(**values, figures=figures, folder=(exp_dir / stored.get("scores", "")).parent)


def read_rows(exp_dir: Path) -> tuple[list[ResultRow], dict[str, Any]]:
    """Read the results of an experiment.

    Returns:
        its rows, and the settings that stage 6 was run with.

    Raises:
        FileNotFoundError: stage 6 has not been run on it.
        SdpnError: its results are damaged, or of a later version of this package.
    """
    path = exp_dir / RESULTS
    Work(path.parent, "results", {}).refuse_changed(path, f"run stage 6 on {exp_dir} again")
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
        return [ResultRow.from_dict(row, exp_dir) for row in tree["rows"]], tree.get("settings", {})
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SdpnError(f"{path} is damaged or of another version of sdpn: run stage 6 on {exp_dir} again") from None


def read_origin(exp_dir: Path) -> Origin | None:
    """Read which experiment, version and day the results of an experiment are of; None if they do not say it."""
    try:
        tree = json.loads((exp_dir / RESULTS).read_text(encoding="utf-8"))
        return Origin(*(str(tree["experiments"][0][part]) for part in Origin._fields))
    except (OSError, ValueError, LookupError, TypeError):
        return None
