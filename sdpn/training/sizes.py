"""Numbers of a training that its corpus must be large enough for: lowered where it is not, or refused."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sdpn.console import counted
from sdpn.errors import SdpnError
from sdpn.training.config import TrainConfig

SHORTEST_VIEW = 10  # frames, as TrainConfig has it


def fit_to_corpus(
    config: TrainConfig, given: Collection[str], utterances: int, longest: int | None, processes: int = 1
) -> tuple[TrainConfig, list[str]]:
    """Lower those settings that the training set is too small for; the same set always gets the same settings.

    Args:
        config: as the configuration file and the command line have it.
        given: the settings that the user gave on the command line, which are not lowered.
        utterances: how many the training set has.
        longest: frames of the longest one; None where it is not known.
        processes: that train together, of which each takes an equal share of a batch.

    Returns:
        The settings, and a sentence for each one that was lowered.

    Raises:
        SdpnError: a number that the user gave does not fit, or the set is too small for any training.
    """
    parts = processes * config.accumulate
    if utterances < 2 * parts:
        raise SdpnError(
            f"the training set has {counted(utterances, 'utterance')}, "
            f"but a step needs at least {2 * parts}: 2 for each of "
            f"{processes} processes x {config.accumulate} micro-batches"
        )
    wanted: dict[str, tuple[int, str]] = {}
    whole = f"the training set has {counted(utterances, 'utterance')}"
    batch = min(config.batch_size, utterances) // parts * parts
    if config.batch_size > utterances:
        wanted["batch_size"] = batch, whole if parts == 1 else f"{whole}, and a batch is {parts} equal parts"
    elif batch < config.batch_size:
        wanted["batch_size"] = (
            batch,
            f"a batch is {processes} processes x {config.accumulate} micro-batches of one size",
        )
    if config.prototypes > utterances:
        wanted["prototypes"] = max(2, utterances // 2), f"{whole}, and a prototype needs two of them to stand for"
    if longest is not None:
        lacking = f"the longest training utterance has {longest} frames"
        share = max(SHORTEST_VIEW, round(config.student_frames * longest / config.teacher_frames))
        if config.teacher_frames > longest:
            wanted["teacher_frames"] = longest, lacking
        if config.student_frames > longest:
            wanted["student_frames"] = min(share, longest), lacking
        elif "teacher_frames" in wanted and share < config.student_frames and "student_frames" not in given:
            wanted["student_frames"] = share, "a local view stays the same share of a global one"
        if longest < SHORTEST_VIEW:
            raise SdpnError(f"{lacking}: at least {SHORTEST_VIEW} are needed for a view")
    most = {"prototypes": utterances, "student_frames": longest}
    sentences = []
    for name, (value, why) in wanted.items():
        before = getattr(config, name)
        if name in given:
            option = f"--{name.replace('_', '-')}"
            why = whole if name == "prototypes" else why  # how many would do well does not limit how many may be given
            raise SdpnError(f"{option} is {before}, but {why}: give at most {most.get(name, value)}")
        sentences.append(f"{name} lowered from {before} to {value}: {why}")
    lowered: dict[str, Any] = {name: value for name, (value, _) in wanted.items()}
    return replace(config, **lowered), sentences
