"""Samples of cuts, block by block, so that an utterance of hours needs no more memory than one of seconds."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sdpn.audio import faults, pipes
from sdpn.audio.read import read_blocks, resample
from sdpn.errors import UnusableError
from sdpn.utterance import Utterance, round_half_up, utterance_of


def load_samples(cut: Any) -> np.ndarray:
    """The (n_samples,) float32 samples of a single-channel cut, resampled as its recording says.

    Args:
        cut: an Utterance, or a Lhotse cut.

    Raises:
        SdpnError: the file is missing, unreadable, of another rate or shorter than the manifest says, or empty.
    """
    blocks = list(stream_samples(cut))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_samples(cut: Any) -> Iterator[np.ndarray]:
    """The same in consecutive blocks of half a minute at most; see `load_samples` for what it raises.

    A recording of one file that libsndfile or ffmpeg reads, or of one command, resampled or not, is read here: several
    times as fast as through Lhotse, and in bounded memory, but for what a command writes. What else a cut may be (a
    URL, an augmented recording, several sources) Lhotse loads in one piece.
    """
    utterance = utterance_of(cut)
    if utterance.duration <= 0:
        raise UnusableError("the audio is empty")
    rate = utterance.source_rate or utterance.sampling_rate
    own = utterance.kind != "lhotse"
    blocks = _read(utterance, rate) if own else _through_lhotse(utterance)
    if own and rate != utterance.sampling_rate:
        blocks = resample(blocks, rate, utterance.sampling_rate)
    wanted = utterance.num_samples
    count = 0
    for block in blocks:
        block = block[: wanted - count]  # a resampler may be one sample ahead
        count += len(block)
        if len(block):
            yield block
    if 0 < wanted - count <= 2 and own and rate != utterance.sampling_rate:
        yield np.zeros(wanted - count, dtype=np.float32)  # ... or one behind
    elif count != wanted:
        raise UnusableError(
            faults.CUT_OFF, f"or changed since stage 0: {count} samples where the manifest says {wanted}"
        )


def _read(utterance: Utterance, rate: int) -> Iterator[np.ndarray]:
    """(n_samples,) blocks of the utterance's channel, at the rate (Hz) of its source."""
    channel, source, is_command = utterance.channel or 0, utterance.source, utterance.kind == "command"
    if not 0 <= channel < utterance.num_channels:
        raise UnusableError("its recording lacks the channel", str(utterance.channel))
    first, length = (
        round_half_up(utterance.start * rate),
        round_half_up(utterance.length / utterance.sampling_rate * rate),
    )
    last = first + round_half_up(utterance.duration * rate)
    for block in read_blocks(source, is_command, rate, first, last, length):
        if channel >= block.shape[1]:
            has = f"{source[:100]} has {block.shape[1]} channels where the manifest says more"
            raise UnusableError("its recording lacks the channel", f"{has}: run stage 0 again")
        yield np.ascontiguousarray(block[:, channel])


def _through_lhotse(utterance: Utterance) -> Iterator[np.ndarray]:
    """The whole cut, as Lhotse loads it."""
    from lhotse.serialization import deserialize_item

    for command in utterance.sources("command"):
        pipes.refuse_unless_allowed(command)
    try:
        samples = deserialize_item(utterance.cut_entry()).load_audio()
    except Exception as error:  # Lhotse wraps whatever its audio back-ends raise
        reason = " ".join(str(error).split())
        raise UnusableError(faults.UNREADABLE, reason[:200]) from None
    if samples is None or samples.size == 0:
        raise UnusableError("the audio is empty")
    yield np.ascontiguousarray(samples[0], dtype=np.float32)
