"""The one exception type for what a user can cause and mend."""


class SdpnError(Exception):
    """A user's mistake or a full disk: one sentence that says what, where, and what to do.

    The command that meets it prints the sentence on standard error and exits with `status`. Any other exception is a
    bug of ours and keeps its traceback.
    """

    status = 1


class OutsideError(SdpnError):
    """What failed lies outside the recording, e.g. a command that fetches it: another run may have it."""


class MissingToolError(OutsideError):
    """A program or library is not installed: whatever needs it would fail alike."""
