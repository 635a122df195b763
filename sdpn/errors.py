"""The one exception type for what a user can cause and mend."""


class SdpnError(Exception):
    """A user's mistake or a full disk: one sentence that says what, where, and what to do.

    The command that meets it prints the sentence on standard error and exits with `status`. Any other exception is a
    bug of ours and keeps its traceback.
    """

    status = 1
