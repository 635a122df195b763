"""What is compared: systems that made x-vectors, their back-ends and normalizations, and the score files to make."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sdpn.backend.chain import Chain
from sdpn.backend.config import BackendConfig
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import file_digest
from sdpn.shards import Work

# Rows of the table beside the trained network: the system whose x-vectors they score, and how. `fbank-stats` is the
# mean and deviation of every filterbank bin over the utterance, `untrained` the network before training.
BASELINES = {
    "fbank-stats": ("fbank-stats", "mean-subtract | length-norm | cosine"),
    "fbank-stats whitened": ("fbank-stats", "whiten | length-norm | cosine"),
    "untrained": ("untrained", "mean-subtract | length-norm | cosine"),
}

REVISION = 1  # of score files and their reports: raise it when the same inputs no longer give the same
LIBRARIES = ("numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class System:
    """Something that makes an x-vector of an utterance, and the back-ends that score its x-vectors.

    Attributes:
        name: in the table, e.g. "sdpn".
        xvectors: the folder with one folder of x-vectors for each set.
        chains: back-end name -> the text of its chain.
        norms: the score normalizations.
    """

    name: str
    xvectors: Path
    chains: dict[str, str]
    norms: list[str]


@dataclass(frozen=True)
class Scoring:
    """One row of the table: a trial list scored by a system, a back-end and a normalization; one score file."""

    trials: str
    system: System
    backend: str
    norm: str
    work: Work

    @property
    def label(self) -> str:
        """The row in a few words, e.g. "eval: sdpn plda+as"."""
        return f"{self.trials}: {self.system.name} {self.backend}{'' if self.norm == 'none' else '+' + self.norm}"

    @property
    def scores_file(self) -> Path:
        return Path(self.work.directory) / "scores.txt"


def systems_of(exp_dir: Path, settings: BackendConfig) -> list[System]:
    """The trained network with every back-end and normalization asked for, then the baselines whose x-vectors exist."""
    chains = {name: settings.chains[name] for name in settings.backend_names}
    systems = [System("sdpn", exp_dir / "xvectors", chains, settings.norm_names)]
    for name, (source, chain) in BASELINES.items():
        xvectors = exp_dir / "systems" / source / "xvectors"
        if xvectors.is_dir():
            systems.append(System(name, xvectors, {"cosine": chain}, ["none"]))
    return systems


def plan(
    data_dir: Path, exp_dir: Path, corpus: Corpus, systems: list[System], settings: BackendConfig, seed: int
) -> list[Scoring]:
    """Every score file of the comparison, in the order of the table, with the fingerprint of what it depends on.

    Raises:
        SdpnError: x-vectors or trial lists are missing; the sentence says which stage makes them.
    """
    if not corpus.trials:
        raise SdpnError(f"{data_dir}/corpus.json: there are no trial lists to score: run stage 0 with trials")
    digests: dict[Path, str] = {}

    def digest_of(path: Path, stage: int) -> str:
        if path not in digests:
            if not path.exists():
                raise SdpnError(f"{path} is missing: run stage {stage} first")
            digests[path] = file_digest(path)
        return digests[path]

    for system in systems:
        refuse_mixed_models(system, [corpus.train, *dict.fromkeys(corpus.trials.values())])
    versions = ", ".join([f"scores {REVISION}", *(f"{library} {version(library)}" for library in LIBRARIES)])
    scorings = []
    for trials, evaluation_set in corpus.trials.items():
        for system in systems:
            inputs = {
                "trial list": digest_of(data_dir / "trials" / f"{trials}.txt", 0),
                "training x-vectors": digest_of(system.xvectors / corpus.train / "xvector.ark", 5),
                "evaluation x-vectors": digest_of(system.xvectors / evaluation_set / "xvector.ark", 5),
                "versions": versions,
            }
            for backend, text in system.chains.items():
                for norm in system.norms:
                    name = backend if norm == "none" else f"{backend}+{norm}"
                    directory = exp_dir / "scores" / trials / system.name.replace(" ", "-") / name
                    fingerprint = {**inputs, **_options(Chain(text), norm, settings, seed)}
                    scorings.append(Scoring(trials, system, backend, norm, Work(directory, "scores", fingerprint)))
    return scorings


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


def _options(chain: Chain, norm: str, settings: BackendConfig, seed: int) -> dict[str, Any]:
    """Those settings that the scores of this chain and normalization depend on."""
    options: dict[str, Any] = {"chain": chain.text, "score normalization": norm}
    if norm != "none":
        size = "" if settings.cohort == "clusters" else f" {settings.cohort_size} seed {seed}"
        options["cohort"] = f"{settings.cohort}{size}"
        options["top_n"] = settings.top_n if norm == "as" else None
    if needs_classes(chain, norm, settings):
        options["clusters"] = f"{settings.clusters}, merged to {settings.merge_clusters}, seed {seed}"
        options["min_cluster_size"] = settings.min_cluster_size
    return options


def needs_classes(chain: Chain, norm: str, settings: BackendConfig) -> bool:
    """Whether the pseudo-speakers of the training set matter to the scores."""
    return chain.needs_classes or (norm != "none" and settings.cohort == "clusters")
