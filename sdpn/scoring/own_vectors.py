"""Scores of anybody's x-vectors, without the recipe: what `sdpn score` does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn import config
from sdpn.backend.chain import STEPS, Chain
from sdpn.backend.chain_file import load_chain
from sdpn.backend.clustering import PseudoSpeakers
from sdpn.backend.config import ChainConfig
from sdpn.backend.kaldi_plda import read_kaldi_plda
from sdpn.backend.plda import PLDA
from sdpn.config import conf_folder
from sdpn.console import say
from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors
from sdpn.extraction.vector_files import read_vectors
from sdpn.scoring.trial_lists import read_speakers
from sdpn.scoring.trial_scores import Cohort


@dataclass(frozen=True)
class Learning:
    """What a chain is fitted on.

    Attributes:
        train: training x-vectors (a file or folder); None for none.
        utt2spk: their speakers; None for clusters.
        adaptation: unlabelled x-vectors of the domain of the trials; None for none.
        clusters: how many clusters; None for the rule.
        min_cluster_size: smaller ones are left out.
        seed: of the clusters.
    """

    train: Path | None = None
    utt2spk: Path | None = None
    adaptation: Path | None = None
    clusters: int | None = None
    min_cluster_size: int = 4
    seed: int = 1


def backend_of(
    text: str, learning: Learning, xvectors: XVectors, plda: Path | None = None
) -> tuple[Chain, XVectors | None]:
    """The fitted chain that `text` names, and the training x-vectors.

    Args:
        text: a chain (`length-norm | cosine`), a file conf/backend/NAME.yaml, or a fitted back-end (.h5).
        xvectors: those to be scored: a chain that learns nothing takes its dimension from them.
        plda: a Kaldi PLDA to score with, in the place of the chain's own.

    Raises:
        SdpnError: it is none of these, or it needs something that is not given.
    """
    train = None if learning.train is None else read_vectors(learning.train)
    if train is not None:
        _say_what_is_of_the_recipe(text)
    chain = load_chain(text) if text.endswith(".h5") else _chain_of(text)
    if plda is not None and not isinstance(chain.scorer, PLDA):
        raise SdpnError(f"the chain '{chain.text}' does not end in plda: a PLDA from {plda} has no place in it")
    if not text.endswith(".h5"):
        _fit(chain, train, learning, xvectors, scorer=plda is None)
    if plda is not None and isinstance(chain.scorer, PLDA):
        chain.scorer = read_kaldi_plda(plda, chain.scorer.length_norm)
        reached = chain.before_scorer(xvectors.vectors[:1]).shape[1]
        if reached != len(chain.scorer.mean_):
            raise SdpnError(f"{plda} is of {len(chain.scorer.mean_)} dimensions, the steps before it make {reached}")
    return chain, train


def named_backends() -> dict[str, Path]:
    """Return the files of the back-ends that have a name, those of conf/backend/."""
    return {path.stem: path for path in sorted((conf_folder() / "backend").glob("*.yaml"))}


def by_name(text: str) -> str:
    """Return the file of the back-end that `text` names, or `text` itself if it is a chain, a file or unknown.

    A name that is also a step (cosine, plda) is the chain of that one step.
    """
    if text in STEPS or text not in named_backends():
        return text
    return str(named_backends()[text])


def to_be_fitted(text: str, plda: Path | None = None) -> Chain | None:
    """The chain that `backend_of` fits for `text` and `plda`; None for a back-end that is fitted already."""
    if text.endswith(".h5"):
        return None
    chain = _chain_of(text)
    return chain if plda is None else _before_scorer(chain)


def _chain_of(text: str) -> Chain:
    if not _is_yaml(text):
        try:
            return Chain(text)
        except SdpnError as error:
            raise SdpnError(f"{error}; back-ends by name are {', '.join(named_backends())}") from None
    read = config.read(text, ChainConfig)
    return Chain(read.chain, read.enrollment)


def _is_yaml(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))


def _say_what_is_of_the_recipe(text: str) -> None:
    """Say which settings in a back-end's YAML are not followed: those that choose among stage 5's augmented views."""
    if not _is_yaml(text):
        return
    settings = config.read(text, ChainConfig)
    stated = config.parse_yaml(Path(text).read_text(encoding="utf-8-sig"))
    followed = {"fit_on": "clean", "classes": "clusters", "cohort_of": "clean"}
    asked = {name: getattr(settings, name) for name in followed if name in stated}
    differ = ", ".join(f"{name} {value}" for name, value in asked.items() if value != followed[name])
    if differ:
        say(f"{text}: {differ}: that is of the recipe's augmented views, here --train is taken as it is")


def _before_scorer(chain: Chain) -> Chain:
    """The steps before the scorer, with one that learns nothing."""
    return Chain(" | ".join([*chain.text.split(" | ")[:-1], "cosine"]), chain.enrollment)


def _fit(chain: Chain, train: XVectors | None, learning: Learning, xvectors: XVectors, scorer: bool) -> None:
    """Fit a chain, or where its scorer is read from elsewhere, the steps before it."""
    fitted = chain if scorer else _before_scorer(chain)
    if train is None and fitted.learns:
        raise SdpnError(f"the chain '{chain.text}' learns from training x-vectors: give them with --train")
    if fitted.needs_adaptation and learning.adaptation is None:
        raise SdpnError(f"the chain '{chain.text}' adapts to unlabelled x-vectors: give them with --adapt")
    vectors = xvectors.vectors if train is None else train.vectors
    adaptation = None
    if fitted.needs_adaptation and learning.adaptation is not None:
        adaptation = read_vectors(learning.adaptation).vectors
    fitted.fit(vectors, _classes(train, learning) if train and fitted.needs_classes else None, adaptation)
    for note in fitted.notes_:
        say(note)
    chain.transforms = fitted.transforms


def cohort_of(
    chain: Chain, path: Path | None, train: XVectors | None, size: int, top_n: int, adaptive: bool, seed: int
) -> Cohort:
    """The cohort: the x-vectors in `path`, or a sample of the training x-vectors.

    Raises:
        SdpnError: there are neither.
    """
    if path is not None:
        vectors = chain.transform(read_vectors(path).vectors)
    elif train is None:
        raise SdpnError("score normalization needs a cohort: give its x-vectors with --cohort, or --train")
    else:
        chosen = np.random.default_rng([seed, 6]).choice(len(train.ids), min(size, len(train.ids)), replace=False)
        vectors = chain.transform(train.vectors[np.sort(chosen)], training=True)
    if adaptive and len(vectors) < top_n:
        say(f"adaptive s-norm: top_n lowered from {top_n} to {len(vectors)}, the size of the cohort")
    return Cohort(vectors, min(top_n, len(vectors)))


def _classes(train: XVectors, learning: Learning) -> np.ndarray:
    """The class of every training x-vector: its speaker, or its cluster."""
    if learning.utt2spk is None:
        found = PseudoSpeakers(learning.clusters, None, learning.min_cluster_size, learning.seed).fit(train.vectors)
        say(found.note_)
        return found.labels_
    return read_speakers(learning.utt2spk, train.ids)
