"""The exception types for what a user can cause and mend, and the typed reason for which something is left out."""

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


class SdpnError(Exception):
    """A user's mistake or a full disk: one sentence that says what, where, and what to do.

    The command that meets it prints the sentence on standard error and exits with `status`. Any other exception is a
    bug of ours and keeps its traceback.
    """

    status = 1


class UnwritableError(SdpnError):
    """A file cannot be written: whatever comes next cannot be, either."""


class UnusableError(SdpnError):
    """A recording or an utterance cannot be used; others may be, so a stage leaves it out and counts it.

    Args:
        kind, detail: see `Reason`.

    Attributes:
        reason: both.
    """

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind, detail)
        self.reason = Reason(kind, detail)

    def __str__(self) -> str:
        return str(self.reason)


class OutsideError(UnusableError):
    """What failed lies outside the recording, e.g. a command that fetches it: another run may have it."""


class MissingToolError(OutsideError):
    """A program or library is not installed: whatever needs it would fail alike."""


def refuse_unknown(name: str, given: str, allowed: Iterable[str]) -> None:
    """Make sure that a choice is one of those there are: `refuse_unknown("padding", padding, PADDINGS)`.

    Raises:
        SdpnError: it is none; the sentence names those that are allowed.
    """
    allowed = tuple(allowed)
    if given not in allowed:
        raise SdpnError(f"{name} is '{given}'; allowed: {', '.join(allowed)}")


def reason_of(error: SdpnError) -> Reason:
    """Why something is left out, from the error that says so; one without a kind of its own counts as "unusable"."""
    return error.reason if isinstance(error, UnusableError) else Reason("unusable", str(error))
