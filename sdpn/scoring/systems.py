"""What is compared: systems that made x-vectors, and their back-ends and normalizations."""

from dataclasses import dataclass, replace
from pathlib import Path

from sdpn.backend.chain import Chain
from sdpn.backend.config import BackendConfig, ChainConfig
from sdpn.errors import SdpnError
from sdpn.extraction.baselines import FBANK_STATISTICS
from sdpn.extraction.sets import SIDE_BY_SIDE
from sdpn.features.index import open_features
from sdpn.shards import Work

# Systems of the table beside the trained network: whose vectors they score. `fbank-stats` is the mean and deviation of
# every filterbank bin over the utterance, `untrained` the network before training. Both get the back-ends and
# normalizations that the trained network gets, so that what is better is the network and not what follows it.
BASELINES = ("fbank-stats", "fbank-stats whitened", "untrained")
_WHITENED = {"cosine": ChainConfig("whiten | length-norm | cosine")}


@dataclass(frozen=True, eq=False)
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

    @property
    def folder(self) -> str:
        """What its folders are called, below `scores/<trials>` and `backends`."""
        return self.name.replace(" ", "-")


def systems_of(exp_dir: Path, settings: BackendConfig, backends: dict[str, ChainConfig]) -> list[System]:
    """The trained network with every back-end and normalization asked for, then the other systems whose vectors exist.

    Baselines are those of them that are asked for.
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
        if xvectors.is_dir() and source in settings.baseline_names:
            own = _WHITENED if whitened else backends
            statistics = source == FBANK_STATISTICS
            systems.append(System(name, xvectors, own, norms, baseline=True, statistics=statistics))
    return systems


def refuse_other_features(system: System, sets: list[str], data_dir: Path) -> None:
    """Make sure that the x-vectors are of the features that `data_dir` has now.

    Raises:
        SdpnError: they are of others; x-vectors and features of unknown origin are let pass.
    """
    for name in sets:
        made, folder = Work.finished(system.xvectors / name, "xvectors"), data_dir / name
        if made is None or "features" not in made.fingerprint or not (folder / "index" / "index.json").exists():
            continue
        if open_features(folder).fingerprint != made.fingerprint["features"]:
            raise SdpnError(
                f"the x-vectors in {system.xvectors / name} are not of the features that {folder} has now: run stage 5 "
                "again"
            )


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
