"""Score files in Kaldi's form, `enroll test score` a line, with all digits of the scores."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import atomic_path
from sdpn.tables import composed
from sdpn.trials.arrays import TrialList
from sdpn.trials.lists import trial_of


def write_scores(path: str | Path, trials: TrialList, scores: np.ndarray) -> None:
    """Write the scores (n_trials,) in the order of the trial list.

    Raises:
        SdpnError: see `refuse_nan`.
    """
    refuse_nan(trials, scores)
    models, utterances = trials.models, trials.utterances
    rows = zip(trials.enroll.tolist(), trials.test.tolist(), scores.tolist(), strict=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as opened:
        opened.writelines(f"{models[enroll]} {utterances[test]} {score!r}\n" for enroll, test, score in rows)


def refuse_nan(trials: TrialList, scores: np.ndarray) -> None:
    """Make sure that every score (n_trials,) can be compared with others.

    Raises:
        SdpnError: some are NaN; the sentence names the first trial of them.
    """
    broken = np.flatnonzero(np.isnan(scores))
    if len(broken):
        first = f"{trials.models[trials.enroll[broken[0]]]} {trials.utterances[trials.test[broken[0]]]}"
        raise SdpnError(
            f"trial list '{trials.name}': {len(broken)} of {len(scores)} scores are NaN, the first of {first}: the "
            "back-end cannot score these x-vectors"
        )


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


def read_chunks(trials: str | Path, scores: str | Path, size: int = 1 << 18) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels of a trial list and its score file, read side by side, `size` lines at a time.

    Neither file is ever held in memory, so `metrics.det_curve_of` takes lists of any length.

    Yields:
        scores (n,) float64 and whether each is of a target trial (n,) bool.

    Raises:
        SdpnError: a file is missing or no text in UTF-8, or a line of the one is not of the same trial as the line
            of the other.
    """
    for path in (trials, scores):
        if not Path(path).is_file():
            raise SdpnError(f"{path}: there is no such file")
    with open(trials, encoding="utf-8-sig") as labelled, open(scores, encoding="utf-8") as scored:
        pairs = zip_longest(_lines(labelled, trials), _lines(scored, scores))
        while block := list(islice(pairs, size)):
            found = [_score_and_label(*lines, trials, scores) for lines in block]
            yield np.array([score for score, _ in found]), np.array([label for _, label in found])


def _lines(opened: Iterable[str], path: str | Path) -> Iterator[tuple[int, str]]:
    """The number and the text of every line that is not blank."""
    try:
        yield from ((number, line) for number, line in enumerate(opened, start=1) if not line.isspace())
    except UnicodeDecodeError:
        raise SdpnError(f"{path}: not a text file in UTF-8") from None


def _score_and_label(
    labelled: tuple[int, str] | None, scored: tuple[int, str] | None, trials: str | Path, scores: str | Path
) -> tuple[float, bool]:
    """The score and the label in two lines, each with its number; None for a file that has ended."""
    (place, trial), (number, line) = labelled or (scored[0], ""), scored or (labelled[0], "")
    named, parts = trial_of(trial), composed(line).split()
    if named is None:
        raise SdpnError(f"{trials}, line {place}: expected `enroll test target|nontarget`, got '{trial.strip()[:80]}'")
    if len(parts) != 3 or tuple(parts[:2]) != named[:2]:
        raise SdpnError(
            f"{scores}, line {number}: expected the score of {named.enroll} {named.test}, got "
            f"'{line.strip()[:80]}': the lines must be those of {trials}, in its order"
        )
    try:
        score = float(parts[2])
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise SdpnError(f"{scores}, line {number}: '{parts[2]}' is not a number")
    return score, named.target
