"""Figures of a network that is still learning, to be looked at while it does. Nothing is chosen by them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import eer
from sdpn.extraction.extractor import Extractor
from sdpn.features.index import FeatureIndex, open_features
from sdpn.trials.arrays import TrialList

_SHORTEST, _LONGEST = 50, 200  # frames of half an utterance


def examination(
    index: FeatureIndex, device: torch.device, utterances: int, data: Path, trials: str | None
) -> Callable[[nn.Module], dict[str, float]]:
    """All figures of this module at once: a function of the encoder, in evaluation mode.

    Args:
        index: features of the training set; `utterances` of them are halved, see `halves_eer`.
        data, trials: see `dev_eer`; None: no trials.
    """
    parts = [halves_eer(index, device, utterances)] if utterances else []
    if trials:
        parts.append(dev_eer(index, data, trials, device))
    return lambda encoder: {name: figure for part in parts for name, figure in part(encoder).items()}


def halves_eer(index: FeatureIndex, device: torch.device, count: int) -> Callable[[nn.Module], dict[str, float]]:
    """How well an encoder tells the halves of an utterance from those of others, which takes no label.

    `count` utterances, evenly spread over the index, are halved (at most 2 s each); a half and its other half are a
    target trial, halves of different utterances a non-target one, although few of them may be of one speaker. A
    network that has learned nothing but the recording does well here too: a falling rate is no proof, a rising one a
    warning.

    Returns:
        A function of the encoder, in evaluation mode: `probe_eer`, or nothing where two utterances are not long enough.
    """
    enough = np.flatnonzero(np.asarray(index.frames) >= 2 * _SHORTEST)
    spread = np.linspace(0, max(len(enough) - 1, 0), min(count, len(enough)))
    chosen = enough[np.unique(spread.astype(int))]

    @torch.inference_mode()
    def examine(encoder: nn.Module) -> dict[str, float]:
        if len(chosen) < 2:
            return {}
        first, second = (_embed(encoder, index, chosen, half, device) for half in (0, 1))
        scores = first @ second.T
        return {"probe_eer": eer(np.diagonal(scores), scores[~np.eye(len(scores), dtype=bool)])}

    return examine


def _embed(
    encoder: nn.Module, index: FeatureIndex, utterances: np.ndarray, half: int, device: torch.device, batch: int = 32
) -> np.ndarray:
    rows = []
    for begin in range(0, len(utterances), batch):
        some = utterances[begin : begin + batch]
        lengths = [min(int(index.frames[utterance]) // 2, _LONGEST) for utterance in some]
        features = np.zeros((len(some), max(lengths), index.num_bins), dtype=np.float32)
        for row, utterance, length in zip(features, some, lengths, strict=True):
            row[:length] = index.read(int(utterance), half * length, (half + 1) * length)
        rows.append(encoder(torch.from_numpy(features).to(device), torch.tensor(lengths, device=device)).float().cpu())
    return _unit(torch.cat(rows).numpy())


def dev_eer(
    train: FeatureIndex, data: Path, trials: str, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    """The equal error rate of an encoder on a trial list, by cosine.

    Args:
        train: features of the training set.
        data: a data folder with features of the set that the list names.
        trials: a list of that folder (`dev` is trials/dev.txt), or a file with utterance ids of one of its sets.

    Returns:
        A function of the encoder, in evaluation mode: `dev_eer`.

    Raises:
        SdpnError: there is no such list, no set has all its utterances, or its features are others than the training
            set's.
    """
    corpus = Corpus.read(data)
    path = data / "trials" / f"{trials}.txt" if trials in corpus.trials else Path(trials)
    sets = [corpus.trials[trials]] if trials in corpus.trials else corpus.evals
    if not path.exists():
        known = ", ".join(corpus.trials) or "it has none"
        raise SdpnError(f"--dev-trials is '{trials}', neither a file nor a trial list of {data} ({known})")
    wanted = TrialList.read(path, path.stem)
    index = next(
        (i for i in map(open_features, (data / name for name in sets)) if set(wanted.utterances) <= {*i.ids}), None
    )
    if index is None:
        raise SdpnError(f"{path}: no set of {data} has features of all its utterances: looked in {', '.join(sets)}")
    if index.config.spectral() != train.config.spectral():
        raise SdpnError(f"{index.directory} has other features than {train.directory}: run stage 2 again for both")
    rows = wanted.rows(index.ids, index.directory)

    def examine(encoder: nn.Module) -> dict[str, float]:
        vectors = _unit(Extractor(encoder, device).extract(index, rows.tolist()))
        scores = np.einsum("td,td->t", vectors[wanted.enroll], vectors[wanted.test])
        return {"dev_eer": eer(scores[wanted.is_target], scores[~wanted.is_target])}

    return examine


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
