"""What a stage leaves out: lists of it, counts by reason, and how much of it is too much."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sdpn.errors import Reason, SdpnError
from sdpn.tables import read_columns, write_columns


class Skipped(NamedTuple):
    """A file (by its path) or an utterance (by its id) that is left out, and why."""

    name: str
    reason: Reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    """Write `name<TAB>kind<TAB>detail` lines, without the last column where there is no detail."""
    write_columns(path, ([name, *filter(None, reason)] for name, reason in skipped))


def read_skipped(path: Path) -> list[Skipped]:
    """Read what `write_skipped` wrote; nothing where there is no such file."""
    rows = read_columns(path, "list of what was left out", optional=True)
    return [Skipped(name, Reason(*reason)) for name, *reason in rows]


def count_reasons(skipped: Iterable[Skipped]) -> Counter[str]:
    """Count by the kind of the reason."""
    return Counter(one.reason.kind for one in skipped)


def refuse_many_skipped(name: str, counts: Counter[str], total: int, most: float, listing: Path) -> None:
    """Make sure that no more than the share `most` of a set is skipped, since that is rarely meant.

    Raises:
        SdpnError: it is more; the reasons are counted.
    """
    skipped = sum(counts.values())
    if skipped > most * total:
        reasons = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        raise SdpnError(
            f"{name}: {skipped} of {total} ({100 * skipped / total:.1f} %) would be skipped, more than --max-skipped "
            f"{most:g} allows: {reasons}; {listing} lists them: mend them, or allow more"
        )
