"""Where speech begins and ends in an utterance, by its energy: Kaldi's compute-vad-energy."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.audio import pipes
from sdpn.audio.read import read_blocks
from sdpn.audio.vad import decide
from sdpn.config import to_dict
from sdpn.console import Progress
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.manifests import read_set
from sdpn.errors import Reason, SdpnError
from sdpn.files import digest, exclusive, file_stamp, write_text
from sdpn.shards import Work
from sdpn.utterance import Utterance

_UTTERANCES_PER_JOB = 500
_UNREADABLE = "its audio cannot be read"
_FORMAT = 3  # of the spans that are kept
_HOP = 0.005  # s; a frame is 5 hops (25 ms), the next one begins 2 hops later (10 ms)


def log_energies(blocks: Iterable[np.ndarray], rate: int) -> np.ndarray:
    """(n_frames,) natural log of the energy of 25 ms frames every 10 ms, on the scale of 16-bit integers.

    Args:
        blocks: (n_samples,) samples within [-1, 1].
        rate: Hz.
    """
    hop = max(1, round(_HOP * rate))
    squares, sums, rest = [], [], np.zeros(0)
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = len(samples) // hop * hop
        hops = samples[:whole].reshape(-1, hop) * 32768.0
        squares.append(np.square(hops).sum(axis=1))
        sums.append(hops.sum(axis=1))
        rest = samples[whole:]
    if not squares:
        return np.zeros(0)
    square, total = (np.convolve(np.concatenate(parts), np.ones(5), "valid")[::2] for parts in (squares, sums))
    return np.log(np.maximum(square - total**2 / (5 * hop), 1.1920929e-07))  # the mean removed, floored as in Kaldi


def speech_span(blocks: Iterable[np.ndarray], rate: int, config: CutsConfig) -> tuple[float, float] | None:
    """Begin and end (s) of the speech in an utterance, with `vad_margin` on both sides; None where there is none."""
    energies = log_energies(blocks, rate)
    found = np.flatnonzero(decide(energies, config))
    if not len(found):
        return None
    hop = max(1, round(_HOP * rate)) / rate
    end = (2 * int(found[-1]) + 5) * hop + config.vad_margin
    return round(max(0.0, 2 * int(found[0]) * hop - config.vad_margin), 5), round(end, 5)


def find_speech(folder: Path, config: CutsConfig, run: Callable[..., Iterable]) -> None:
    """Write `speech.json` of a set: the span of speech in every utterance, from its start, or why there is none.

    Every file is decoded for it, in shards that are kept while neither they nor the settings change; only what could
    not be read is tried again.

    Raises:
        SdpnError: audio comes from commands, which may not be run.
    """
    settings = {key: value for key, value in to_dict(config).items() if key.startswith(("vad_", "channel"))}
    with exclusive(folder):
        utterances = list(read_set(folder))
        for utterance in utterances:
            for command in utterance.sources("command"):
                pipes.refuse_unless_allowed(command)
        firsts = range(0, len(utterances), _UTTERANCES_PER_JOB)
        parts = [utterances[first : first + _UTTERANCES_PER_JOB] for first in firsts]
        jobs = [(number, part, folder / "vad", settings, config) for number, part in enumerate(parts)]
        spans: dict[int, dict] = {}
        with Progress(f"speech in {folder.name}", len(utterances), "utterances") as progress:
            for number, found in run(_find_some, jobs):
                spans[number] = found
                progress.advance(len(found))
        total = {id: span for number in sorted(spans) for id, span in spans[number].items()}
        text = json.dumps({"spans": total}, ensure_ascii=False)
        path = folder / "speech.json"
        if not path.exists() or path.read_bytes() != text.encode():
            write_text(path, text)


def _find_some(
    number: int, utterances: Sequence[Utterance], cache: Path, settings: dict[str, Any], config: CutsConfig
) -> tuple[int, dict[str, Any]]:
    """The number of a shard, and the spans of speech (or why there is none) in its utterances, by their ids."""
    inputs = {
        "vad": settings,
        "utterances": digest([utterance.identity() for utterance in utterances]),
        "audio": digest([file_stamp(path) for utterance in utterances for path in utterance.sources()]),
        "format of the spans": _FORMAT,
    }
    work, kept = Work(cache, str(number), inputs), cache / f"{number}.json"
    spans = {}
    if work.was_made_so():
        with suppress(SdpnError, FileNotFoundError):  # what is not whole is found again
            work.refuse_changed(kept, "it is found again")
            spans = json.loads(kept.read_text(encoding="utf-8"))
    if work.stale_reason() is None:
        return number, spans
    work.begin()
    again = []
    for utterance in utterances:
        if spans.get(utterance.id, [_UNREADABLE])[0] != _UNREADABLE:
            continue
        try:
            spans[utterance.id] = _span_of(utterance, config) or Reason("no speech is heard in it")
        except SdpnError as error:
            spans[utterance.id] = Reason(_UNREADABLE, str(error))
            again.append(utterance.id)
    write_text(kept, json.dumps(spans, ensure_ascii=False))
    work.finish([kept], again=again)
    return number, spans


def _span_of(utterance: Utterance, config: CutsConfig) -> tuple[float, float] | None:
    """Begin and end (s) of the speech in an utterance, from its start; None where there is none."""
    rate = utterance.sampling_rate
    channel = utterance.channels[min(config.channel, len(utterance.channels) - 1)]
    first, last = round(utterance.start * rate), round((utterance.start + utterance.duration) * rate)

    blocks = read_blocks(utterance.source, utterance.kind == "command", rate, first, last, utterance.length)
    wanted = (block[:, min(channel, block.shape[1] - 1)] for block in blocks)
    span = speech_span(wanted, rate, config)
    return span and (span[0], min(span[1], utterance.duration))
