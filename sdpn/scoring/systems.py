"""What is compared: systems that made x-vectors, and their back-ends and normalizations."""

from dataclasses import dataclass
from pathlib import Path

from sdpn.backend.config import BackendConfig
from sdpn.errors import SdpnError
from sdpn.shards import Work

# Rows of the table beside the trained network: the system whose x-vectors they score, and how. `fbank-stats` is the
# mean and deviation of every filterbank bin over the utterance, `untrained` the network before training.
BASELINES = {
    "fbank-stats": ("fbank-stats", "mean-subtract | length-norm | cosine"),
    "fbank-stats whitened": ("fbank-stats", "whiten | length-norm | cosine"),
    "untrained": ("untrained", "mean-subtract | length-norm | cosine"),
}


@dataclass(frozen=True, eq=False)
class System:
    """Something that makes an x-vector of an utterance, and the back-ends that score its x-vectors.

    Attributes:
        name: in the table, e.g. "sdpn".
        xvectors: the folder with one folder of x-vectors for each set.
        chains: back-end name -> the text of its chain.
        norms: the score normalizations.
        baseline: whether it is there for comparison alone: its scores are neither calibrated nor fused.
    """

    name: str
    xvectors: Path
    chains: dict[str, str]
    norms: list[str]
    baseline: bool = False

    @property
    def folder(self) -> str:
        """What its folders are called, below `scores/<trials>` and `backends`."""
        return self.name.replace(" ", "-")


def systems_of(exp_dir: Path, settings: BackendConfig, chains: dict[str, str]) -> list[System]:
    """The trained network with every back-end and normalization asked for, then the baselines whose x-vectors exist."""
    systems = [System("sdpn", exp_dir / "xvectors", chains, settings.norm_names)]
    for name, (source, chain) in BASELINES.items():
        xvectors = exp_dir / "systems" / source / "xvectors"
        if xvectors.is_dir():
            systems.append(System(name, xvectors, {"cosine": chain}, ["none"], baseline=True))
    return systems


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
