"""The scores of a trial list by a fitted chain, with any of the score normalizations, in one pass over the data."""

from dataclasses import dataclass, field

import numpy as np

from sdpn.backend.chain import Chain
from sdpn.backend.score_norm import CohortStatistics, Side, cohort_statistics, normalize, normalize_as2
from sdpn.errors import SdpnError
from sdpn.trials.arrays import TrialList


@dataclass(frozen=True)
class Cohort:
    """Whom scores are normalized against.

    Attributes:
        vectors: (n_cohort, D), in the space of the scorer.
        top_n: how many of its scores adaptive s-norm looks at.
    """

    vectors: np.ndarray
    top_n: int


@dataclass(frozen=True)
class TrialScores:
    """What `score_trials` found.

    Attributes:
        by_norm: normalization -> scores (n_trials,); those that failed are not in it.
        enroll, test: the statistics of models and utterances against the cohort; None without a cohort.
        failures: normalization -> why its scores cannot be made, a sentence.
    """

    by_norm: dict[str, np.ndarray]
    enroll: CohortStatistics | None = None
    test: CohortStatistics | None = None
    failures: dict[str, str] = field(default_factory=dict)


def score_trials(
    chain: Chain,
    xvectors: np.ndarray,
    trials: TrialList,
    norms: list[str],
    cohort: Cohort | None,
    training: bool = False,
) -> TrialScores:
    """Score every trial once, and normalize the scores in every way asked for; one that fails costs the others nothing.

    Args:
        chain: fitted.
        xvectors: (n_utterances, n_dimensions), in the order of `trials.utterances`.
        norms: of `score_norm.METHODS`.
        cohort: may be None where all `norms` are "none".
        training: whether the x-vectors are of the training set (see `Chain.transform`).

    Raises:
        SdpnError: the x-vectors do not fit the chain.
    """
    test = Side(chain.transform(xvectors, training))
    enroll = test
    if trials.members is not None:
        whose, which = trials.members
        enroll = Side(*chain.enroll(xvectors[which], whose))
    scorer, places = chain.scorer, (trials.enroll, trials.test)
    raw = scorer.score_pairs(enroll.vectors, test.vectors, *places, enroll.counts)
    if cohort is None:
        return TrialScores(dict.fromkeys(norms, raw))
    nearest = "as2" in norms
    of_test = cohort_statistics(scorer, test.vectors, cohort.vectors, cohort.top_n, nearest=nearest)
    of_enroll = of_test
    if enroll is not test:
        of_enroll = cohort_statistics(
            scorer, enroll.vectors, cohort.vectors, cohort.top_n, enroll.counts, nearest=nearest
        )
    by_norm, failures = {}, {}
    for norm in norms:
        try:
            if norm == "as2":
                assert of_enroll.nearest is not None and of_test.nearest is not None
                near = of_enroll.nearest, of_test.nearest
                by_norm[norm] = normalize_as2(raw, scorer, cohort.vectors, enroll, test, *near, *places)
            else:
                by_norm[norm] = normalize(raw, norm, of_enroll, of_test, *places)
        except SdpnError as error:  # nothing to divide by
            failures[norm] = str(error)
    return TrialScores(by_norm, of_enroll, of_test, failures)
