"""Score files in Kaldi's form, `enroll test score` a line, with all digits of the scores."""

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import atomic_path
from sdpn.tables import Block, blocks_of, decode_line, decode_name
from sdpn.trials.arrays import TrialList
from sdpn.trials.forms import LABELLED, Form, still_fitting


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


def read_scores(path: str | Path, n_trials: int) -> np.ndarray:
    """Read the scores of a file that stage 6 wrote: (n_trials,) float64.

    Its digest has vouched for its content, so the names go unread: reading them takes five times as long.

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
    if len(scores) != n_trials:
        raise SdpnError(f"{path}: {len(scores)} scores for {n_trials} trials; remove it and run stage 6 again")
    return scores


def read_scores_of(path: str | Path, trials: TrialList, where: str | Path) -> np.ndarray:
    """Read the scores of `trials` from anybody's file: (n_trials,) float64.

    Args:
        where: the file of the trials, for sentences.

    Raises:
        SdpnError: the file is missing, or a line is not of the same trial as the line of the list.
    """
    models = [name.encode() for name in trials.models]
    utterances = [name.encode() for name in trials.utterances]
    parts, done = [], 0
    for batch in _batches(path):
        rows = slice(done, done + len(batch.scores))
        enroll = [models[index] for index in trials.enroll[rows].tolist()]
        test = [utterances[index] for index in trials.test[rows].tolist()]
        _refuse_others(batch, enroll, test, path, where)
        parts.append(batch.scores)
        done += len(batch.scores)
    if done < len(trials.enroll):
        first = f"{trials.models[trials.enroll[done]]} {trials.utterances[trials.test[done]]}"
        raise SdpnError(f"{path} ends before the score of {first}: the lines must be those of {where}, in its order")
    return np.concatenate(parts)


def read_chunks(trials: str | Path, scores: str | Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read scores and labels of a trial list and its score file, side by side.

    Neither file is ever held in memory, so `metrics.det_curve_of` takes lists of any length.

    Yields:
        scores (n,) float64 and whether each is of a target trial (n,) bool.

    Raises:
        SdpnError: a file is missing or no text in UTF-8, or a line of the one is not of the same trial as the line
            of the other.
    """
    blocks = blocks_of(trials, "trial list")
    forms: Sequence[Form] = LABELLED
    for batch in _batches(scores):
        labelled, n_scores = next(blocks, None), len(batch.scores)
        if labelled is None:
            _refuse_others(batch, [], [], scores, trials)
            return  # never reached: there are lines in a batch, each of some trial
        forms, columns = still_fitting(forms, labelled, trials)
        # Where digits may be the label or a name, the names in the score file tell which they are
        of_scores = [column[:n_scores] for column in columns]
        same = [form for form in forms if (of_scores[form.enroll], of_scores[form.test]) == (batch.enroll, batch.test)]
        if not same:
            _refuse_others(batch, of_scores[forms[0].enroll], of_scores[forms[0].test], scores, trials)
        forms = same or forms[:1]
        form = forms[0]
        assert form.label is not None, "a form of LABELLED"
        yield batch.scores, np.fromiter(map(form.labels.__getitem__, of_scores[form.label]), bool, n_scores)
        if len(columns[0]) > n_scores:
            _refuse_end(labelled, n_scores, scores, trials)
    if (labelled := next(blocks, None)) is not None:
        _refuse_end(labelled, 0, scores, trials)


def _refuse_end(labelled: Block, row: int, scores: str | Path, trials: str | Path) -> None:
    line, number = _text(labelled.rows[row], trials, labelled.numbers[row]), labelled.numbers[row]
    raise SdpnError(f"{scores} ends before the score of '{line}' in line {number} of {trials}")


class _Batch(NamedTuple):
    """Lines of a score file: their numbers, names and scores (n_lines,)."""

    numbers: np.ndarray
    enroll: list[bytes]
    test: list[bytes]
    scores: np.ndarray


def _batches(path: str | Path) -> Iterator[_Batch]:
    """Read `enroll test score` lines, many at a time.

    Raises:
        SdpnError: the file is missing, or a line has another form, or a score that is no number.
    """
    for block in blocks_of(path, "score file"):
        columns = block.columns
        if columns is None or len(columns) != 3:
            row = next(row for row, own in enumerate(block.rows) if len(own) != 3)
            line = _text(block.rows[row], path, block.numbers[row])
            raise SdpnError(f"{path}, line {block.numbers[row]}: expected `enroll test score`, got '{line}'")
        enroll, test, texts = columns
        try:
            scores = np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            scores = np.array([_number(text) for text in texts])
        broken = np.flatnonzero(np.isnan(scores))
        if len(broken):
            number = block.numbers[broken[0]]
            line = _text(block.rows[broken[0]], path, number)
            raise SdpnError(f"{path}, line {number}: the score in '{line}' is not a number")
        yield _Batch(block.numbers, enroll, test, scores)


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(fields: Sequence[bytes], path: str | Path, number: int) -> str:
    return decode_line(b" ".join(fields), path, number)[:80]


def _refuse_others(batch: _Batch, enroll: list[bytes], test: list[bytes], path: str | Path, where: str | Path) -> None:
    """Make sure that the lines of a score file are of the trials that are named, whatever Unicode's form.

    Raises:
        SdpnError: one is not; the sentence names it.
    """
    if (batch.enroll, batch.test) == (enroll, test):
        return
    pairs = zip(batch.enroll, batch.test, strict=True), zip(enroll, test, strict=True)
    for number, own, wanted in zip_longest(batch.numbers, *pairs):
        if wanted is None:
            line = _text(own, path, number)
            raise SdpnError(f"{path}, line {number}: it scores '{line}' behind the last trial of {where}")
        found = [decode_name(field, path, number) for field in own]
        expected = [decode_name(field, where) for field in wanted]
        if found != expected:
            raise SdpnError(
                f"{path}, line {number}: expected the score of {' '.join(expected)}, got that of {' '.join(found)}: "
                f"the lines must be those of {where}, in its order"
            )
