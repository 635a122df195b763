"""`sdpn enroll` and `sdpn identify`: speakers by name, and who of them is heard."""

from pathlib import Path

import click

from sdpn.commands.options import (
    ERROR,
    PATH,
    answer,
    channel_option,
    check_device,
    decision_options,
    errors_apart,
    likelihood_words,
    model_option,
    no_decision,
    statistics_option,
    warn_of,
)

_speakers_option = click.option(
    "--speakers", "speakers_file", default="speakers.json", show_default=True, type=PATH, help="the enrolled speakers"
)


SEVERAL = (
    "the calibration is of one recording against one: with speakers enrolled with several, log-likelihood ratios may "
    "be too high, and more strangers accepted than --prior asks for; a --threshold of your own is safer"
)


@click.command()
@click.argument("name")
@click.argument("recordings", nargs=-1, required=True, type=PATH)
@model_option
@statistics_option
@_speakers_option
@channel_option
@click.option("--replace", is_flag=True, help="forget what NAME was enrolled with before")
def enroll(
    name: str,
    recordings: tuple[Path, ...],
    model: Path,
    device: str,
    statistics: bool,
    speakers_file: Path,
    channel: int | str | None,
    replace: bool,
) -> None:
    """Enroll the speaker NAME with one or more RECORDINGS of that voice alone.

    \b
    sdpn enroll anna anna1.wav anna2.m4a --model exp/toy

    What NAME was enrolled with before is kept, but for recordings of the same absolute path, which are replaced. Of a
    pipe, whose path is nobody's tomorrow, no path is kept. A recording that cannot be used changes nothing.
    """
    check_device(device)
    from sdpn.console import say
    from sdpn.enrollment import Enrollment, check_name, held, recording_name
    from sdpn.errors import SdpnError
    from sdpn.extraction.embedder import Embedder
    from sdpn.models.folder import find_model

    check_name(name)
    folder = find_model(model)
    embedder = Embedder(folder, device, statistics=statistics)
    known = (speakers_file, embedder.digest, embedder.dimension)
    Enrollment.read(*known, may_be_new=True)  # refused before any work
    found = list(embedder.embed_files(recordings, channel))
    broken = [one.reason for one in found if one.vector is None]
    if broken:
        more = f" (and {len(broken) - 1} more)" if broken[1:] else ""
        raise SdpnError(f"nobody was enrolled: {broken[0]}{more}")
    for path, one in zip(recordings, found, strict=True):
        warn_of(path, one, embedder.frame_seconds)
    with held(speakers_file):
        enrollment = Enrollment.read(*known, may_be_new=True)
        own = {} if replace else enrollment.speakers.get(name, {})
        vectors = [one.vector for one in found if one.vector is not None]  # of all, or it would not have come so far
        heard = {recording_name(path, one): one for path, one in zip(recordings, vectors, strict=True)}
        replaced = [recording for recording in heard if recording in own]
        own |= heard
        enrollment.speakers[name] = own
        enrollment.write()
    for recording in replaced:
        say(f"{name}: {recording} was enrolled before and is replaced")
    count = "one recording" if len(own) == 1 else f"{len(own)} recordings"
    speakers = "one speaker" if len(enrollment.speakers) == 1 else f"{len(enrollment.speakers)} speakers"
    say(f"{name}: {count} in {speakers_file}, which knows {speakers}")


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=PATH)
@model_option
@_speakers_option
@decision_options
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(1), help="speakers to list, the likeliest first"
)
@channel_option
@click.option("-q", "--quiet", is_flag=True, help="print but the name for each recording, or - for nobody or an error")
def identify(
    recordings: tuple[Path, ...],
    model: Path,
    device: str,
    speakers_file: Path,
    backend: str | None,
    prior: float,
    threshold: float | None,
    top: int,
    channel: int | str | None,
    quiet: bool,
) -> int:
    """Say who of the enrolled speakers is heard in each of RECORDINGS, if anybody.

    \b
    sdpn identify call.wav --model exp/toy

    The calibration is of one recording against one. With speakers enrolled with several, log-likelihood ratios may be
    too high, and more strangers accepted than --prior asks for: a --threshold of your own is safer.

    Exit status: 0 somebody was recognised in every recording, 1 nobody in one of them, 2 an error or no decision.
    """
    with errors_apart():
        check_device(device)
        import numpy as np

        from sdpn.console import say, warn
        from sdpn.enrollment import Enrollment
        from sdpn.errors import SdpnError
        from sdpn.recognizer import Recognizer

        recognizer = Recognizer(model, backend, device)
        enrollment = Enrollment.read(speakers_file, recognizer.embedder.digest, recognizer.dimension)
        if not enrollment.speakers:
            raise SdpnError(f"{speakers_file}: nobody is enrolled")
        names = list(enrollment.speakers)
        voices = [np.stack(list(own.values())) for own in enrollment.speakers.values()]
        limit = recognizer.limit(prior, threshold)
        if limit is None:
            warn(no_decision(recognizer.uncalibrated))
        judged = recognizer.calibration is not None and not (quiet and threshold is not None)
        if judged and any(len(own) > 1 for own in voices):
            warn(SEVERAL)
        status = 0
        for path, found in zip(recordings, recognizer.embedder.embed_files(recordings, channel), strict=True):
            if found.vector is None:
                warn(found.reason)
                status = ERROR
                if quiet:
                    say("-")
                continue
            if not quiet:
                warn_of(path, found, recognizer.embedder.frame_seconds)
            scores = recognizer.score_all(voices, found.vector[None])[:, 0]
            order = np.argsort(-scores)
            best = scores[order[0]]
            status = max(status, answer(best, limit))
            somebody = names[order[0]] if limit is not None and best >= limit else None
            if quiet:
                say(somebody or "-")
                continue
            say(f"{path}: {somebody or ('nobody who is enrolled' if limit is not None else 'no decision')}")
            for row in order[:top]:
                ratio = recognizer.log_likelihood_ratio(scores[row])
                words = "" if ratio is None else f", log-likelihood ratio {ratio:.2f}: {likelihood_words(ratio)}"
                say(f"  {names[row]}: score {scores[row]:.4f}{words}")
        return status
