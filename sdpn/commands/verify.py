"""`sdpn verify`: whether two recordings are one speaker's."""

from pathlib import Path

import click

from sdpn.commands.options import (
    PATH,
    answer,
    channel_option,
    check_device,
    decision_options,
    errors_apart,
    likelihood_words,
    model_option,
    no_decision,
    warn_of,
)


@click.command()
@click.argument("a", metavar="A.wav", type=PATH)
@click.argument("b", metavar="B.wav", type=PATH)
@model_option
@decision_options
@channel_option
@click.option("-q", "--quiet", is_flag=True, help="say nothing: the exit status is the answer")
def verify(
    a: Path,
    b: Path,
    model: Path,
    device: str,
    backend: str | None,
    prior: float,
    threshold: float | None,
    channel: int | str | None,
    quiet: bool,
) -> int:
    """Say whether one speaker is heard in both recordings, whatever their format and sampling rate.

    \b
    sdpn verify a.wav b.m4a --model exp/toy

    Exit status: 0 the same speaker, 1 different speakers, 2 an error or no decision.

    The score is higher the more alike the voices are. A model that stage 6 of the recipe has calibrated also says
    how much likelier that score is of one speaker than of two, and decides by that and --prior; any other takes a
    --threshold for the score.
    """
    with errors_apart():
        check_device(device)
        from sdpn.console import say, warn
        from sdpn.errors import SdpnError
        from sdpn.recognizer import Recognizer

        recognizer = Recognizer(model, backend, device)
        limit = recognizer.limit(prior, threshold)
        found = list(recognizer.embedder.embed_files([a, b], channel))
        vectors = []
        for path, one in zip((a, b), found, strict=True):
            if one.vector is None:
                raise SdpnError(one.reason)
            vectors.append(one.vector)
            if not quiet:
                warn_of(path, one, recognizer.embedder.frame_seconds)
        score = recognizer.score(*vectors)
        ratio = recognizer.log_likelihood_ratio(score)
        if quiet:
            return answer(score, limit)
        say(f"score {score:.4f} ({recognizer.backend})")
        if ratio is not None:
            say(f"log-likelihood ratio {ratio:.2f}: {likelihood_words(ratio)}")
        if limit is None:
            warn(no_decision(recognizer.uncalibrated))
        elif score >= limit:
            say(f"the same speaker (the score is not below {limit:.4f})")
        else:
            say(f"different speakers (the score is below {limit:.4f})")
        return answer(score, limit)
