"""Why something is left out: a kind, by which it is counted, and a detail for the reader."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a file, an utterance or a row is left out.

    Attributes:
        kind: what happened, in a few words that are the same for every case of it, e.g. "cut off". Counts go by it.
        detail: what is particular to this case, e.g. "the header gives 3.00 s, 1.52 s are there"; may be empty.
    """

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        """Return kind and detail as one line, `kind: detail`."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def count_by_kind(reasons: Iterable[Reason]) -> Counter[str]:
    """Count reasons by their kind."""
    return Counter(reason.kind for reason in reasons)
