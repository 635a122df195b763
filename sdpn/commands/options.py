"""What the verbs that use a model have in common."""

import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from sdpn.errors import SdpnError
from sdpn.files import sentence

if TYPE_CHECKING:
    from sdpn.extraction.embedder import Embedded

PATH = click.Path(path_type=Path)
ERROR = 2
"""Exit status of an error where 1 is an answer."""

SHORT = 1.0
"""Seconds, of a recording; a judgement and not a measurement."""


def no_decision(why: str | None) -> str:
    """Say that a score alone decides nothing, `why` there is no calibration, and what a user can do."""
    return f"no decision: there is no usable calibration: {why}; or give the score to decide by as --threshold"


def model_option(command: Callable) -> Callable:
    """A decorator: --model and --device."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="what computes: cpu, cuda, cuda:1"),
        click.option(
            "--model",
            required=True,
            type=PATH,
            envvar="SDPN_MODEL",
            show_envvar=True,
            help="an experiment (exp/NAME), a model folder, or an exported .onnx",
        ),
    ):
        command = option(command)
    return command


def statistics_option(command: Callable) -> Callable:
    """A decorator: --with-statistics."""
    help = "have mean and deviation of the fbank stand beside each x-vector: xvector+fbank-stats of the results"
    return click.option("--with-statistics", "statistics", is_flag=True, help=help)(command)


def one_model(argument: Path | None, option: Path | None) -> Path:
    """What was named, by an argument or by --model, where both are possible.

    Raises:
        click.UsageError: nothing was named, or both.
    """
    named = argument or option
    if named is None or None not in (argument, option):
        raise click.UsageError("name an experiment or a model folder, once")
    return named


def _finite(_: click.Context, option: click.Parameter, number: float | None) -> float | None:
    """The number; Python reads `nan` and `inf` as numbers too, and no score is below NaN.

    Raises:
        click.BadParameter: it is one of these.
    """
    if number is not None and not math.isfinite(number):
        raise click.BadParameter(f"{number} is not a finite number.", param=option)
    return number


def decision_options(command: Callable) -> Callable:
    """A decorator: --backend, --prior and --threshold."""
    for option in (
        click.option(
            "--threshold",
            type=float,
            callback=_finite,
            help="the score from which on it is one speaker, in place of --prior",
        ),
        click.option(
            "--prior",
            default=0.5,
            show_default=True,
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            callback=_finite,
            help="how probable the same speaker is before anything is heard; needs a calibration",
        ),
        click.option(
            "--backend",
            help="back-end of the experiment by name (lda-plda, xvector+fbank-stats/lda-plda), a fitted .h5, a chain  "
            "[default: cosine]",
        ),
    ):
        command = option(command)
    return command


def _channel(_: click.Context, option: click.Parameter, word: str | None) -> int | str | None:
    """The number of a channel, or "mean".

    Raises:
        click.BadParameter: it is neither.
    """
    if word in (None, "mean"):
        return word
    if not word.isdecimal() or int(word) < 1:
        raise click.BadParameter(f"'{word}' is neither a number from 1 on nor 'mean'.", param=option)
    return int(word)


channel_option = click.option(
    "--channel",
    callback=_channel,
    metavar="N|mean",
    help="channel to use if a recording has several, from 1, or the mean of all  [default: the first, with a warning "
    "where they differ]",
)


@contextmanager
def errors_apart() -> Iterator[None]:
    """Exit with the status ERROR after any error, a bug included, since the status 1 is an answer here."""
    try:
        yield
    except SdpnError as error:
        error.status = ERROR
        raise
    except OSError as error:
        reason = sentence(error)
        if reason is None:
            _leave()
        refused = SdpnError(f"{error.filename}: {reason}" if error.filename else reason)
        refused.status = ERROR
        raise refused from None
    except Exception:
        _leave()


def _leave() -> NoReturn:
    traceback.print_exc()
    sys.exit(ERROR)


def answer(score: float, limit: float | None) -> int:
    """The exit status: 0 for a score that reaches the limit, 1 for any other, ERROR where there is no limit."""
    return ERROR if limit is None else int(not score >= limit)


def warn_of(path: Path, found: "Embedded", frame_seconds: float) -> None:
    """Say that a recording is too short for its score to be relied on, where it is, and which channel was taken."""
    from sdpn.console import warn

    seconds = found.num_frames * frame_seconds
    if found.note:
        warn(found.note)
    if seconds < SHORT:
        warn(f"{path}: only {seconds:.2f} s long: too little to rely on")


def check_device(device: str) -> None:
    """Make sure that torch knows the device.

    Raises:
        SdpnError: it does not.
    """
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SdpnError(f"--device is '{device}': {' '.join(str(error).split())[:120]}") from None


def likelihood_words(ratio: float) -> str:
    """A natural log-likelihood ratio in words, e.g. "67 times as likely of one speaker as of two"."""
    times = math.exp(min(abs(ratio), 30))
    one, other = ("one speaker", "two") if ratio >= 0 else ("two speakers", "one")
    many = "more than a million" if times > 1e6 else f"{times:,.0f}" if times >= 9.95 else f"{times:.1f}"
    return f"{many} times as likely of {one} as of {other}"
