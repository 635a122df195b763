"""Score files in Kaldi's form, `enroll test score` a line, with all digits of the scores."""

from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.evaluation.trials import TrialList
from sdpn.files import atomic_path


def write_scores(path: str | Path, trials: TrialList, scores: np.ndarray) -> None:
    """Write the scores (n_trials,) in the order of the trial list."""
    models, utterances = trials.models, trials.utterances
    rows = zip(trials.enroll.tolist(), trials.test.tolist(), scores.tolist(), strict=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as opened:
        opened.writelines(f"{models[enroll]} {utterances[test]} {score!r}\n" for enroll, test, score in rows)


def read_scores(path: str | Path, n_trials: int | None = None) -> np.ndarray:
    """The last field of every line, as float64.

    Args:
        n_trials: how many there must be, where that is known.

    Raises:
        SdpnError: the file is missing, a line does not end in a number, or their number is another.
    """
    try:
        with open(path, encoding="utf-8") as opened:
            scores = np.fromiter((line.rpartition(" ")[2] for line in opened), dtype=np.float64)
    except FileNotFoundError:
        raise SdpnError(f"{path}: there is no such score file") from None
    except ValueError:
        raise SdpnError(f"{path}: expected `enroll test score` lines; remove it and run stage 6 again") from None
    if n_trials is not None and len(scores) != n_trials:
        raise SdpnError(f"{path}: {len(scores)} scores for {n_trials} trials; remove it and run stage 6 again")
    return scores
