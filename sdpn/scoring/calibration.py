"""Scores of calibration trials: of pseudo-labelled trials of the training set, or of a trial list."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.calibration import Calibration
from sdpn.console import warn
from sdpn.errors import SdpnError
from sdpn.evaluation.metrics import eer
from sdpn.files import write_array
from sdpn.scoring.fitting import Backend, Clusters, CohortSample, versions_of
from sdpn.scoring.quality import quality_features
from sdpn.scoring.sources import VectorSet
from sdpn.scoring.training_vectors import TrainingVectors
from sdpn.scoring.trial_lists import Trials
from sdpn.scoring.trial_scores import TrialScores, score_trials
from sdpn.shards import Work
from sdpn.trials.arrays import TrialList

ADAPTIVE = frozenset(("as", "as2"))
FILE = "calibration.npy"
PLAIN = "cosine"  # the back-end that any other is to be better than
STANDARD_ERRORS = 2.0  # by which an EER must be above another to be called higher
HELD_OUT_SHARE = 5  # one cluster in so many is held out
MOST_HELD_OUT = 400  # clusters: more would add trials, but take classes from the fit
MOST_TRIALS = 20_000  # of each kind


def doubt_of(eer: float, n_targets: int, plain: float | None, calibrator: str) -> str | None:
    """Say that scores do worse than chance, or than plain cosine, on the calibration trials; None if they do not.

    Of trials by clusters, these are of the back-end's own training set, where it should do best.

    Args:
        eer: of the scores, as a share.
        n_targets: the number of targets, by which the standard error of cosine's EER is reckoned.
        plain: the EER of cosine on the same trials; None if there is none.
        calibrator: "clusters" or the name of a trial list.
    """
    trials = "trials of its own training clusters" if calibrator == "clusters" else f"the trials of {calibrator}"
    found = f"on {trials} its EER is {100 * eer:.2f} %"
    if eer >= 0.5:
        return f"{found}: it does no better than chance"
    if plain is not None and eer > plain + STANDARD_ERRORS * math.sqrt(plain * (1 - plain) / n_targets):
        return f"{found}, that of {PLAIN} {100 * plain:.2f} %: it does worse than {PLAIN}"
    return None


@dataclass(frozen=True)
class Taught:
    """What calibration learns from: the trials' scores with each normalization, their quality measures and labels.

    Attributes:
        is_target: (n_trials,) bool.
        scores: with each normalization.
        features: (n_trials, n_features), the quality measures; None without any.
        failure: why there are no such trials.
    """

    is_target: np.ndarray
    scores: TrialScores
    features: np.ndarray | None
    failure: str | None = None

    def failure_of(self, norm: str) -> str | None:
        """Why there are no calibration trials with this normalization."""
        return self.failure or self.scores.failures.get(norm)

    def write(self, work: Work, norm: str) -> None:
        """Write scores and labels, (2, n_trials), as `work`; (2, 0) where there are none."""
        failure = self.failure_of(norm)
        taught = np.empty((2, 0)) if failure else np.stack((self.scores.by_norm[norm], self.is_target * 1.0))
        work.begin()
        path = Path(work.directory) / FILE
        write_array(path, taught)
        scores, labels = taught
        error = float(eer(scores[labels > 0], scores[labels <= 0])) if 0 < labels.sum() < len(labels) else None
        work.finish([path], failure=failure, eer=error, targets=int(labels.sum()))

    def fit(self, norm: str, prior: float) -> Calibration:
        """Learn from score and quality measures."""
        if self.failure_of(norm) or self.features is None:
            raise SdpnError(f"quality measures need calibration trials: {self.failure_of(norm)}")
        return Calibration(prior).fit(np.column_stack((self.scores.by_norm[norm], self.features)), self.is_target)


@dataclass(frozen=True)
class Calibrator:
    """The calibration trials of a back-end.

    Attributes:
        label: of system and back-end, for sentences.
        backend: what scores them.
        cohort: what their scores are normalized against.
        measures: the quality measures that are inputs beside the score.
        seed: of the draw of trials.
        clusters: whose trials; None for those of a list.
        trials, vectors: the list, and the x-vectors of its set; None for trials of clusters.
    """

    label: str
    backend: Backend
    cohort: CohortSample
    measures: list[str]
    seed: int
    clusters: Clusters | None = None
    trials: Trials | None = None
    vectors: VectorSet | None = None

    @property
    def name(self) -> str:
        """What calibrates: "clusters", or the name of a trial list."""
        return self.trials.name if self.trials else "clusters"

    def inputs(self, norm: str) -> dict[str, Any]:
        """What the scores with a normalization depend on."""
        inputs = {"calibration": self.name, "back-end": self.backend.work, "score_norm": norm}
        inputs |= self.cohort.inputs(norm in ADAPTIVE) if norm != "none" else {}
        if self.trials is None or self.vectors is None:
            inputs |= self.backend.train.inputs("both")
            inputs |= {"classes": self.clusters.work if self.clusters else None, "seed": self.seed}
        else:
            inputs |= {"calibration trials": self.trials.files, "calibration x-vectors": self.vectors.identity}
        return inputs | {"versions": versions_of("calibration")}

    def score(self, norms: list[str]) -> Taught:
        """Score the trials with all these normalizations; none, and a sentence why, where they cannot be made."""
        adaptive = not ADAPTIVE.isdisjoint(norms)
        needs_cohort = not {"none"}.issuperset(norms) or "cohort-mean" in self.measures
        try:
            if self.trials is None or self.vectors is None:
                assert self.clusters is not None
                training = self.backend.train.read()
                drawn = pseudo_trials(self.clusters.labels, self.seed, training)
                trials, rows, found = drawn.trials, drawn.rows, training.all
                chain, held_out = self.backend.without(drawn.held_out), drawn.held_out
            else:
                trials, found, held_out = self.trials.usable, self.vectors.read(), None
                rows, chain = trials.rows(found.ids, self.vectors.directory), self.backend.chain
            cohort = self.cohort.seen_by(chain, adaptive, held_out) if needs_cohort else None
            scores = score_trials(chain, found.vectors[rows], trials, norms, cohort, training=held_out is not None)
        except SdpnError as error:
            warn(f"{self.label}: not calibrated: {error}")
            return Taught(np.empty(0, dtype=bool), TrialScores({}), None, str(error))
        features = quality_features(self.measures, found, rows, trials, scores) if self.measures else None
        return Taught(trials.is_target, scores, features)


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
