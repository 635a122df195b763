"""Trials to calibrate on where there are no labels: pairs within and between clusters of the training set."""

from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError
from sdpn.scoring.training_vectors import TrainingVectors
from sdpn.trials.arrays import TrialList

HELD_OUT_SHARE = 5  # one cluster in so many is held out
MOST_HELD_OUT = 400  # clusters: more would add trials, but take classes from the fit
MOST_TRIALS = 20_000  # of each kind


@dataclass(frozen=True)
class PseudoTrials:
    """Pseudo-labelled trials of training utterances whose clusters are kept out of what they calibrate.

    A back-end that had learned from the very clusters would tell them apart better than others, and promise too much.

    Attributes:
        held_out: (n_utterances,) bool, the training utterances of the clusters held out.
        trials: their trials; `trials.utterances` are rows of `TrainingVectors.all`, as text.
        rows: the same rows as numbers.
    """

    held_out: np.ndarray
    trials: TrialList
    rows: np.ndarray


def pseudo_trials(classes: np.ndarray, seed: int, training: TrainingVectors | None = None) -> PseudoTrials:
    """Draw trials from clusters.

    Args:
        classes: (n_utterances,), the cluster of each training utterance, -1 for none.
        seed: of the draw.
        training: has both sides of every other trial be augmented views, where the utterances have any: what is
            calibrated on clean speech alone promises too much elsewhere.

    Raises:
        SdpnError: there are fewer than five clusters.
    """
    n_classes = int(classes.max()) + 1
    if n_classes < HELD_OUT_SHARE:
        raise SdpnError(f"{n_classes} clusters are too few to hold one in {HELD_OUT_SHARE} out for calibration")
    rng = np.random.default_rng([seed, 9])
    chosen = rng.choice(n_classes, max(2, min(MOST_HELD_OUT, n_classes // HELD_OUT_SHARE)), replace=False)
    held_out = np.isin(classes, chosen)
    rows = np.flatnonzero(held_out)
    rows = rows[np.argsort(classes[rows], kind="stable")]
    _, first, size = np.unique(classes[rows], return_index=True, return_counts=True)
    own = np.searchsorted(first, np.arange(len(rows)), "right") - 1
    draws = 4 * MOST_TRIALS
    one = rng.integers(len(rows), size=draws)
    same = first[own[one]] + rng.integers(size[own[one]])
    target = _distinct(one, same, one != same)
    other = rng.integers(len(rows), size=draws)
    nontarget = _distinct(one, other, own[one] != own[other])
    enroll, test = np.concatenate((target, nontarget), axis=1)
    is_target = np.arange(len(enroll)) < target.shape[1]
    if training is not None and training.has_views:
        sides = rows[np.stack((enroll, test))]
        augmented = rng.random(len(enroll)) < 0.5
        sides[:, augmented] = training.versions(sides[:, augmented].ravel(), rng).reshape(2, -1)
        rows, index = np.unique(sides, return_inverse=True)
        enroll, test = index.reshape(2, -1)
    trials = TrialList("calibration", [str(row) for row in rows], enroll, test, is_target)
    return PseudoTrials(held_out, trials, rows)


def _distinct(one: np.ndarray, other: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The first MOST_TRIALS of the allowed pairs, each once in whatever order: (2, n_pairs)."""
    pairs = np.sort(np.stack((one, other))[:, allowed], axis=0)
    first = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
    return pairs[:, first[:MOST_TRIALS]]
