"""How a step speaks: plain lines, a progress bar on a terminal, one sentence for an error, no long silence."""

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from tqdm import tqdm

from sdpn.errors import SdpnError
from sdpn.files import sentence

EXTRAS = {"lhotse": "train", "tensorboard": "train", "matplotlib": "train", "plotly": "report", "onnx": "onnx"}
"""Packages that only parts of the work need, and the extra in setup.py that brings them."""

SILENCE = 25.0
"""Seconds without a word after which a step says that it is still at work: silence looks like a hang."""


def say(text: str) -> None:
    """Print one line at once, also into a log file."""
    _life.spoke()
    print(text, flush=True)


def warn(text: str) -> None:
    """Print one line of warning on standard error."""
    _life.spoke()
    print(f"warning: {text}", file=sys.stderr, flush=True)


class SignsOfLife:
    """Says from a thread what goes on if nothing else has been said for `SILENCE` seconds.

    The thread takes no lock but the interpreter's: processes are forked beside it, and a lock that it held at that
    moment would never be released in them.
    """

    def __init__(self):
        self._spoken = self._silent_since = time.monotonic()
        self.progress: Progress | None = None

    def start(self) -> None:
        """Begin to watch, until the process ends."""
        threading.Thread(target=self._watch, name="signs of life", daemon=True).start()

    def spoke(self) -> None:
        """Note that something was said just now."""
        self._spoken = self._silent_since = time.monotonic()

    def _watch(self) -> None:
        while True:
            time.sleep(SILENCE / 10)
            if time.monotonic() - self._spoken >= SILENCE:
                self._spoken = time.monotonic()
                text = self.progress.text() if self.progress else "still at work"
                os.write(2, f"  {text} ({self._spoken - self._silent_since:.0f} s without news)\n".encode())


_life = SignsOfLife()


class Progress:
    """A progress bar on a terminal; elsewhere a plain line each time another tenth is done.

    Args:
        title: what goes on.
        total: how much there is to do, in `unit`.
        done: how much of it an earlier run has done.
        own_lines: whether the caller prints lines of its own where there is no terminal.

    Example::

        with Progress("fbank", total=1200, unit="utterances") as progress:
            progress.advance(50)
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, own_lines: bool = False):
        self.title, self.total, self.unit = title, total, unit
        self.done, self.own_lines = done, own_lines
        self._tenth = 0
        self._start = time.monotonic()
        self._bar = None
        _life.progress = self
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=title, unit=f" {unit}", leave=False, dynamic_ncols=True)

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        """Count `amount` more; `note` stands behind the figures until there is another one."""
        self.done += amount
        if self._bar is not None:
            _life.spoke()
            if note is not None:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)
        elif self.own_lines:
            if note is not None:
                say(f"  {note}")
        elif self.done * 10 // max(self.total, 1) > self._tenth:
            self._tenth = self.done * 10 // max(self.total, 1)
            seconds = time.monotonic() - self._start
            say(f"  {self.text()}, {seconds:.0f} s {note or ''}".rstrip())

    def keep(self, text: str) -> None:
        """Print a line that stays, above the bar; elsewhere than on a terminal it is among the lines already."""
        if self._bar is not None:
            self._bar.write(f"  {text}", file=sys.stderr)

    def text(self) -> str:
        """Return how much is done, as one line."""
        return f"{self.title}: {self.done}/{self.total} {self.unit}"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def close(self) -> None:
        """Clear the bar away."""
        _life.progress = None
        if self._bar is not None:
            self._bar.close()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say at the end of the block that `what` is done and how long it took."""
    start = time.monotonic()
    yield
    say(f"  {what} ({time.monotonic() - start:.1f} s)")


def run(command: click.Command, resumes: bool = True) -> None:
    """Run a click command as a program: a user's mistake is one sentence on standard error and status 1.

    Args:
        resumes: whether it goes on, called again, where it was interrupted.

    Wrong usage keeps click's own sentence and its status 2; an unexpected exception keeps its traceback.
    """
    interrupted = "interrupted: run the same command again to go on" if resumes else "interrupted"
    # A list of a million records would be searched for cycles, of which it has none, over and over while it grows
    gc.set_threshold(100_000, 50, 100)
    if resumes:
        _life.start()
    try:
        status = command.main(standalone_mode=False)
    except click.exceptions.Abort as abort:
        cause = abort.__cause__ or abort.__context__
        if isinstance(cause, EOFError):  # click takes any for the end of its input
            raise cause from None
        fail(interrupted, 130)
    except KeyboardInterrupt:
        fail(interrupted, 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SdpnError as error:
        fail(str(error), error.status)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        fail(f"this needs {package}, which is not installed: run pip install 'sdpn[{EXTRAS[package]}]'", 1)
    except OSError as error:
        reason = sentence(error)
        if reason is None:
            raise
        fail(f"{error.filename}: {reason}" if error.filename else reason, 1)
    sys.exit(status if isinstance(status, int) else 0)


def fail(reason: str, status: int) -> None:
    """Print one sentence on standard error and leave with `status`."""
    print(f"error: {reason}", file=sys.stderr, flush=True)
    sys.exit(status)
