"""What a container tells of the sound in it, and what is there."""

from typing import NamedTuple

from sdpn.audio import faults
from sdpn.reasons import Reason


class Sound(NamedTuple):
    """The sound in a container.

    Attributes:
        told: bytes, by the header; None where it does not tell.
        there: bytes up to the end of the file.
        per_second: bytes; 0 where that is not known.
        unit: bytes that cannot be told from none: an unfinished sample.
    """

    told: int | None
    there: int
    per_second: int = 0
    unit: int = 2

    @property
    def fault(self) -> Reason | None:
        """Why the file cannot be used; None where nothing speaks against it."""
        if self.told is None or self.told - self.there < max(1, self.unit):
            return None
        if self.per_second:
            told, there = self.told / self.per_second, self.there / self.per_second
            return Reason(faults.CUT_OFF, f"its header says {told:.2f} s, {there:.2f} s are there")
        return Reason(faults.CUT_OFF, f"its header tells of {self.told} bytes, {self.there} are there")
