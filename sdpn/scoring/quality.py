"""Quality measures: what else is known of the two sides of a trial, as further inputs of calibration."""

import numpy as np

from sdpn.backend.config import QUALITY_MEASURES
from sdpn.errors import refuse_unknown
from sdpn.extraction.store import XVectors
from sdpn.scoring.trial_scores import TrialScores
from sdpn.trials.arrays import TrialList


def quality_features(
    measures: list[str], found: XVectors, rows: np.ndarray, trials: TrialList, scores: TrialScores
) -> np.ndarray:
    """The measures of every trial: of each, the smaller and the larger of the two sides.

    `duration` is the logarithm of the number of frames, `norm` that of the x-vector's length (how sure the network
    is), `cohort-mean` the mean of the largest cohort scores (how ordinary the voice is to the back-end). A model of
    several utterances has their frames together, and the mean of their lengths. (Thienpondt, Desplanques and
    Demuynck, ICASSP 2021.)

    Args:
        measures: some of duration, norm, cohort-mean.
        found: the x-vectors of the set, as the network made them.
        rows: (n_utterances,), the row in `found` of each of `trials.utterances`.
        scores: of the trials, with the statistics of both sides.

    Returns:
        (n_trials, 2 * n_measures).
    """
    columns = []
    for measure in measures:
        refuse_unknown("quality", measure, QUALITY_MEASURES)
        if measure == "cohort-mean":
            assert scores.enroll is not None and scores.test is not None, "scored without a cohort"
            enroll, test = scores.enroll.top_mean, scores.test.top_mean
        else:
            if measure == "duration":
                test = np.maximum(found.num_frames[rows], 1).astype(np.float64)
            else:
                test = np.linalg.norm(found.vectors[rows].astype(np.float64), axis=1)
            enroll = test
            if trials.members is not None:
                whose, which = trials.members
                enroll = np.bincount(whose, test[which])
                if measure == "norm":
                    enroll = enroll / np.bincount(whose)
            tiny = np.finfo(np.float64).tiny
            enroll, test = np.log(np.maximum(enroll, tiny)), np.log(np.maximum(test, tiny))
        sides = enroll[trials.enroll], test[trials.test]
        columns += [np.minimum(*sides), np.maximum(*sides)]
    return np.column_stack(columns)
