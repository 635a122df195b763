"""The forms of a line in a trial list, and which of them a whole file has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.tables import Block, decode_line


@dataclass(frozen=True)
class Form:
    """What the fields of a line are.

    Attributes:
        text: the form, for sentences.
        enroll, test: the columns of the names.
        label: the column of the label; None in a list without labels.
        labels: whether each possible label says that the trial is a target.
    """

    text: str
    enroll: int
    test: int
    label: int | None
    labels: Mapping[bytes, bool] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return 2 if self.label is None else 3

    def fits(self, columns: Sequence[Sequence[bytes]]) -> bool:
        """Return whether lines can have this form, given the columns of their fields."""
        return len(columns) == self.width and (self.label is None or self.labels.keys() >= set(columns[self.label]))


_DIGITS = {b"1": True, b"0": False}
WORDS = Form("`enroll test target|nontarget`", 0, 1, 2, {b"target": True, b"nontarget": False})
LAST = Form("`enroll test 0|1`", 0, 1, 2, _DIGITS)
FIRST = Form("`0|1 enroll test`", 1, 2, 0, _DIGITS)
UNLABELLED = Form("`enroll test`", 0, 1, None)
LABELLED = (WORDS, LAST, FIRST)


def still_fitting(forms: Sequence[Form], block: Block, path: str | Path) -> tuple[list[Form], list[list[bytes]]]:
    """Return those of `forms` that all lines of `block` can have, and the columns of the lines.

    Args:
        forms: those that the lines before them can have.

    Raises:
        SdpnError: there is no such form; the sentence names the first line that has none of them.
    """
    columns = block.columns
    if columns and (fitting := [form for form in forms if form.fits(columns)]):
        return fitting, columns
    rows, misfit = block.rows, 0
    while left := [form for form in forms if form.fits([(cell,) for cell in rows[misfit]])]:
        misfit, forms = misfit + 1, left
    expected = " or ".join(form.text for form in forms)
    number = block.numbers[misfit]
    line = decode_line(b" ".join(rows[misfit]), path, number)
    raise SdpnError(f"{path}, line {number}: expected {expected}, got '{line[:80]}'")


def only_form(forms: Sequence[Form], columns: Sequence[np.ndarray], path: str | Path) -> Form:
    """Return the one of `forms` that a whole file has.

    Words say for certain what they are. Digits may be names: where every line of a file begins and ends with 0 or 1,
    nobody can tell which of the two is the label.

    Args:
        forms: those that every line can have.
        columns: (n_lines,) integers each, equal where the fields are.

    Raises:
        SdpnError: there are two, and they say different things.
    """
    if WORDS in forms or len(forms) == 1:
        return forms[0]
    one, other = forms
    assert one.label is not None and other.label is not None, "lines of two fields have one form"
    roles = ((one.enroll, other.enroll), (one.test, other.test), (one.label, other.label))
    if all(np.array_equal(columns[a], columns[b]) for a, b in roles):
        return one
    raise SdpnError(
        f"{path}: every line begins and ends with 0 or 1, so the list may be of {one.text} or of {other.text} lines: "
        f"write the labels as words, {WORDS.text}"
    )
