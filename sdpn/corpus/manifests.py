"""Lhotse manifests of a set: what stage 0 writes, the same bytes whenever it is asked for the same."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import SdpnError
from sdpn.files import write_jsonl_gz


@dataclass(frozen=True, slots=True)
class Entry:
    """One utterance of a set (or one clip), where its audio is, and what is known about it.

    Attributes:
        id: unique in the set; an utterance's starts with its speaker, as in Kaldi.
        path: where the audio lies; for a command, the command whose output it is.
        sampling_rate: Hz.
        num_samples: per channel, of the whole file.
        num_channels: 1 for mono.
        speaker, session, gender: labels, None where the corpus does not know them; gender is "m" or "f".
        recording: id of the recording that it is a part of; None where it is a whole one.
        start, end: s, which part it is; an end of None is that of the recording.
        command: whether `path` is a command.
        channel: the one channel that it is said in, None where it is all of them.
    """

    id: str
    path: str
    sampling_rate: int
    num_samples: int
    num_channels: int = 1
    speaker: str | None = None
    session: str | None = None
    gender: str | None = None
    recording: str | None = None
    start: float = 0.0
    end: float | None = None
    command: bool = False
    channel: int | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return (self.num_samples / self.sampling_rate if self.end is None else self.end) - self.start


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted by id as the C locale sorts (by UTF-8 bytes)."""
    return sorted(entries, key=lambda entry: entry.id.encode())


def refuse_equal_ids(entries: Iterable[Entry], where: str) -> None:
    """Make sure that every utterance has an id of its own.

    Raises:
        SdpnError: two have one id; the sentence counts them and names the two places of the first.
    """
    places: dict[str, str] = {}
    twice: list[Entry] = []
    for entry in entries:
        if entry.id in places:
            twice.append(entry)
        else:
            places[entry.id] = entry.path
    if twice:
        entry, first = twice[0], places[twice[0].id]
        raise SdpnError(
            f"{where}: {len(twice)} ids are used twice, e.g. {entry.id} for {first} and for {entry.path}: take one of "
            "the two away, or name a folder that holds but one of them"
        )


def summary(entries: Iterable[Entry]) -> str:
    """E.g. "200 speakers, 1800 utterances, 1.58 h"; no speakers where there are no labels."""
    entries = list(entries)
    speakers = {entry.speaker for entry in entries} - {None}
    hours = sum(entry.duration for entry in entries) / 3600
    labels = f"{len(speakers)} speakers, " if speakers else "no speaker labels, "
    return f"{labels}{len(entries)} utterances, {hours:.2f} h"


def write_set(set_dir: str | Path, entries: Iterable[Entry], speech: bool = True) -> list[Path]:
    """Write `recordings.jsonl.gz` and, for speech, `supervisions.jsonl.gz` into `set_dir`; return their paths.

    A supervision of a whole recording has its id; the session stands in `custom`. Lhotse reads both with
    `RecordingSet.from_file` and `SupervisionSet.from_file`, and writes the same from its own objects (there is a test):
    these dictionaries are made without them because they take ten times as long. Paths are absolute, so that any later
    command finds the audio wherever it is started. Both files are sorted by id.
    """
    entries = in_order(entries)
    recordings = Path(set_dir) / "recordings.jsonl.gz"
    supervisions = Path(set_dir) / "supervisions.jsonl.gz"
    write_jsonl_gz(recordings, _recordings(entries))
    if not speech:
        return [recordings]
    write_jsonl_gz(supervisions, map(_supervision, entries))
    return [recordings, supervisions]


def _recordings(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    """Every recording once, sorted by id: the entries are where each is a whole recording."""
    if any(entry.recording is not None for entry in entries):
        by_id = {entry.recording or entry.id: entry for entry in entries}
        entries = [by_id[id] for id in sorted(by_id, key=str.encode)]
    for entry in entries:
        channels = list(range(entry.num_channels))
        source = entry.path if entry.command else os.path.abspath(entry.path)
        yield {
            "id": entry.recording or entry.id,
            "sources": [{"type": "command" if entry.command else "file", "channels": channels, "source": source}],
            "sampling_rate": entry.sampling_rate,
            "num_samples": entry.num_samples,
            "duration": entry.num_samples / entry.sampling_rate,
            "channel_ids": channels,
        }


def _supervision(entry: Entry) -> dict[str, Any]:
    channel = entry.channel
    if channel is None:
        channel = 0 if entry.num_channels == 1 else list(range(entry.num_channels))
    supervision: dict[str, Any] = {
        "id": entry.id,
        "recording_id": entry.recording or entry.id,
        "start": entry.start,
        "duration": round(entry.duration, 8),
        "channel": channel,
        "speaker": entry.speaker,
        "gender": entry.gender,
        "custom": None if entry.session is None else {"session": entry.session},
    }
    return {key: value for key, value in supervision.items() if value is not None}
