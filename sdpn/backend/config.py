"""The settings of stage 6: conf/backend.yaml, and one chain in each conf/backend/NAME.yaml."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdpn import config
from sdpn.config import refuse_unknown_choices, value
from sdpn.errors import SdpnError
from sdpn.extraction.baselines import ALL, baselines_of

ORACLE = "oracle-"  # before the name of a back-end: it learns from the speaker labels that the corpus has
QUALITY_MEASURES = ("duration", "norm", "cohort-mean")
TOOLS = ("none", "wespeaker", "kaldi", "voxceleb_trainer")
METHODS = ("none", "z", "t", "s", "as", "as2")
"""Score normalizations, see `sdpn.backend.score_norm`."""
ENROLLMENTS = ("raw", "transformed")
"""Which x-vectors of several enrolled utterances are averaged, see `sdpn.backend.chain.Chain`."""

OF = ("clean", "augmented", "both")  # which training x-vectors: of utterances, of their augmented views


@dataclass(frozen=True)
class OperatingPoint:
    """Where a detection cost is taken: the prior of targets and what a miss and a false alarm cost.

    Example: OperatingPoint.parse("0.01:10:1").
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    @staticmethod
    def parse(text: str) -> "OperatingPoint":
        """Read `p_target` or `p_target:c_miss:c_fa`; ValueError says in a sentence what is wrong."""
        try:
            numbers = [float(part) for part in text.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3) or not (0 < numbers[0] < 1 and all(0 < cost < 1e9 for cost in numbers[1:])):
            raise ValueError(f"'{text}' is not p_target or p_target:c_miss:c_fa, the prior in (0, 1), costs above 0")
        return OperatingPoint(*numbers)

    @property
    def name(self) -> str:
        """E.g. "0.01", or "0.01:10:1" where the costs are not 1."""
        return ":".join(f"{number:.15g}" for number in self.numbers[: 1 if self.c_miss == self.c_fa == 1 else 3])

    @property
    def numbers(self) -> tuple[float, float, float]:
        return self.p_target, self.c_miss, self.c_fa


ALWAYS = (OperatingPoint(0.01), OperatingPoint(0.05))  # papers differ, so both are always given


@dataclass(frozen=True)
class BackendConfig:
    """conf/backend.yaml."""

    backends: str = value("cosine,lda-plda", "back-ends to run: files of conf/backend/, separated by commas")
    score_norm: str = value("none,as", "score normalizations to run: none, z, t, s, as, as2, separated by commas")
    baselines: str = value(ALL, f"rows for comparison: none, or of {ALL}, separated by commas")
    clusters: int | None = value(
        None, "clusters, e.g. a guess at the number of speakers; null: by the rule", at_least=2
    )
    merge_clusters: int | None = value(None, "merge the clusters to this many; null: no merging", at_least=2)
    min_cluster_size: int = value(4, "smaller clusters are left out", at_least=1)
    cohort: str = value("utterances", "what the cohort consists of", one_of=("utterances", "clusters"))
    cohort_size: int = value(3000, "at most this many training utterances in the cohort", at_least=2)
    top_n: int = value(300, "cohort scores that adaptive s-norm looks at", at_least=2)
    adaptation_set: str | None = value(None, "set whose unlabelled x-vectors back-ends adapt to; null: none")
    calibration: str = value("clusters", "what calibrates: clusters, none, a trial list, or a file of labelled trials")
    calibration_prior: float = value(0.1, "share of targets that calibration fits best", above=0, below=1)
    quality: str = value("", "quality measures beside the scores: duration, norm, cohort-mean")
    fusion: str = value("", "rows to fuse, separated by commas; several fusions separated by ;")
    operating_points: str = value("", "further detection costs: p_target[:c_miss:c_fa], separated by commas")
    compat: str = value("none", "whose equal error rate to give beside ours", one_of=TOOLS)

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)

    @property
    def backend_names(self) -> list[str]:
        """The back-ends to run, each once."""
        return names(self.backends)

    @property
    def norm_names(self) -> list[str]:
        """The score normalizations to run, each once."""
        return names(self.score_norm)

    @property
    def baseline_names(self) -> list[str]:
        """The systems that have rows for comparison, each once."""
        return baselines_of(self.baselines)

    @property
    def quality_names(self) -> list[str]:
        """The quality measures, each once."""
        return names(self.quality)

    @property
    def fusions(self) -> list[list[str]]:
        """The rows of each fusion, each fusion once, e.g. [["cosine+as", "lda-plda"]]."""
        fusions = [tuple(names(fusion)) for fusion in self.fusion.split(";") if fusion.strip()]
        return [list(fusion) for fusion in dict.fromkeys(fusions)]

    @property
    def points(self) -> list[OperatingPoint]:
        """The operating points of the detection costs: those of ALWAYS, then those asked for."""
        return list(dict.fromkeys([*ALWAYS, *map(OperatingPoint.parse, names(self.operating_points))]))

    def check(self) -> None:
        """Refuse unknown names, and what needs what is switched off, before any work."""
        _check_names("backends", self.backend_names, None)
        _check_names("score_norm", self.norm_names, METHODS)
        self.baseline_names  # noqa: B018  (reads them)
        if self.quality_names:
            _check_names("quality", self.quality_names, QUALITY_MEASURES)
        try:
            self.points  # noqa: B018  (parses them)
        except ValueError as error:
            raise ValueError(f"'operating_points': {error}") from None
        if self.calibration == "none" and (self.quality_names or self.fusions):
            raise ValueError("'quality' and 'fusion' are learned from calibration trials, but 'calibration' is none")
        rows = {
            backend if norm == "none" else f"{backend}+{norm}"
            for backend in self.backend_names
            for norm in self.norm_names
        }
        for fusion in self.fusions:
            unknown = [row for row in fusion if row not in rows]
            if unknown or len(fusion) < 2:
                what = f"names {', '.join(unknown)}, which is not among them" if unknown else "has but one of them"
                raise ValueError(f"'fusion' takes two or more of the rows {', '.join(sorted(rows))}, but {what}")


@dataclass(frozen=True)
class ChainConfig:
    """conf/backend/NAME.yaml."""

    chain: str = value(help="the steps, separated by |")
    fit_on: str = value(
        "both", "training x-vectors that it learns from: of clean utterances, of views, or both", one_of=OF
    )
    classes: str = value(
        "clusters",
        "what LDA and PLDA tell apart: clusters, or utterances, each with its augmented views",
        one_of=("clusters", "utterances"),
    )
    enrollment: str | None = value(
        None,
        "what is averaged where several utterances are enrolled: raw x-vectors, as in Kaldi's recipes, or transformed "
        "ones; null: raw where the chain ends in plda",
        one_of=ENROLLMENTS,
    )
    cohort_of: str = value("clean", "training x-vectors that the cohort is of: clean, augmented or both", one_of=OF)

    def check(self) -> None:
        from sdpn.backend.chain import Chain  # here: it takes 0.5 s to import (scikit-learn), and run.sh need not wait

        if self.classes == "utterances" and self.fit_on == "clean":
            raise ValueError("classes is utterances, which are classes with their views alone: let fit_on be both")
        try:
            Chain(self.chain)
        except SdpnError as error:
            raise ValueError(f"chain: {error}") from None


def read_backends(
    path: str | Path, overrides: dict[str, Any] | None = None
) -> tuple[BackendConfig, dict[str, ChainConfig]]:
    """Read the settings in `path` (backend.yaml) and the chains they ask for, in the folder beside it (backend/).

    Returns:
        the settings, and the chain of each back-end by name.

    Raises:
        SdpnError: a file is missing or not allowed, a back-end is unknown, or one needs what is not set.
    """
    from sdpn.backend.chain import Chain  # here, as in ChainConfig.check

    settings = config.read(path, BackendConfig, overrides)
    folder = Path(path).with_suffix("")
    known = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    for name in known:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name.startswith(ORACLE):
            raise SdpnError(
                f"{known[name]}: a back-end's name consists of letters, digits, '-', '_' and '.', and does not begin "
                f"with '{ORACLE}'"
            )
    unknown = [name for name in settings.backend_names if name.removeprefix(ORACLE) not in known]
    if unknown:
        allowed = f"{', '.join(known)}, and each with '{ORACLE}' before it" if known else f"none: {folder} is empty"
        raise SdpnError(f"{path}: 'backends' is unknown: {', '.join(unknown)}; allowed, separated by commas: {allowed}")
    chains = {}
    for name in settings.backend_names:
        read = config.read(known[name.removeprefix(ORACLE)], ChainConfig)
        chain = Chain(read.chain)
        if name.startswith(ORACLE) and (not chain.needs_classes or read.classes == "utterances"):
            raise SdpnError(f"{path}: '{name}' in 'backends': the chain '{chain.text}' learns from no classes")
        if chain.needs_adaptation and settings.adaptation_set is None:
            raise SdpnError(f"{path}: the back-end '{name}' adapts to a set: name it with 'adaptation_set'")
        chains[name] = replace(read, chain=chain.text)
    return settings, chains


def names(text: str) -> list[str]:
    """The names in a list separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _check_names(key: str, given: list[str], allowed: tuple[str, ...] | None) -> None:
    unknown = [name for name in given if allowed is not None and name not in allowed]
    if unknown or not given:
        what = f"unknown: {', '.join(unknown)}" if unknown else "empty"
        hint = f"; allowed, separated by commas: {', '.join(allowed)}" if allowed else ""
        raise ValueError(f"'{key}' is {what}{hint}")
