"""The settings of stage 6."""

import re
from dataclasses import dataclass

from sdpn.backend.chain import Chain
from sdpn.backend.score_norm import METHODS
from sdpn.config import value
from sdpn.errors import SdpnError


@dataclass(frozen=True)
class BackendConfig:
    """conf/backend.yaml."""

    chains: dict[str, str]  # name of a back-end -> its steps
    backends: str = value("cosine,plda", "back-ends to run, names of chains, separated by commas")
    score_norm: str = value("none,as", "score normalizations to run: none, z, t, s, as, separated by commas")
    clusters: int | None = value(None, "clusters of k-means; null: by the rule", at_least=2)
    merge_clusters: int | None = value(None, "merge the clusters to this many; null: no merging", at_least=2)
    min_cluster_size: int = value(4, "smaller clusters are left out", at_least=1)
    cohort: str = value("utterances", "what the cohort consists of", one_of=("utterances", "clusters"))
    cohort_size: int = value(3000, "at most this many training utterances in the cohort", at_least=2)
    top_n: int = value(300, "cohort scores that adaptive s-norm looks at", at_least=2)

    @property
    def backend_names(self) -> list[str]:
        """The back-ends to run, each once."""
        return _names(self.backends)

    @property
    def norm_names(self) -> list[str]:
        """The score normalizations to run, each once."""
        return _names(self.score_norm)

    def check(self) -> None:
        """Refuse unknown names and texts that are no chains, before any work."""
        _check_names("backends", self.backend_names, list(self.chains))
        _check_names("score_norm", self.norm_names, list(METHODS))
        for name, text in self.chains.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"the name '{name}' in 'chains' must consist of letters, digits, '-', '_' and '.'")
            try:
                Chain(text)
            except SdpnError as error:
                raise ValueError(f"chains.{name}: {error}") from None


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _check_names(key: str, names: list[str], allowed: list[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        what = f"unknown: {', '.join(unknown)}" if unknown else "empty"
        raise ValueError(f"'{key}' is {what}; allowed, separated by commas: {', '.join(allowed)}")
