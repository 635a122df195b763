"""Lhotse manifests of a set: what stage 0 writes, the same bytes whenever it is asked for the same."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sdpn.files import write_jsonl_gz


@dataclass(frozen=True)
class Entry:
    """One audio file of a set, and what is known about it.

    Attributes:
        id: unique in the set; an utterance's starts with its speaker, as in Kaldi.
        path: where the audio lies.
        sampling_rate: Hz.
        num_samples: per channel.
        num_channels: 1 for mono.
        speaker, session, gender: labels, None where the corpus does not know them; gender is "m" or "f".
    """

    id: str
    path: str
    sampling_rate: int
    num_samples: int
    num_channels: int = 1
    speaker: str | None = None
    session: str | None = None
    gender: str | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sampling_rate


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted by id as the C locale sorts (by UTF-8 bytes)."""
    return sorted(entries, key=lambda entry: entry.id.encode())


def summary(entries: Iterable[Entry]) -> str:
    """E.g. "200 speakers, 1800 utterances, 1.58 h"."""
    entries = list(entries)
    speakers = {entry.speaker for entry in entries}
    hours = sum(entry.duration for entry in entries) / 3600
    return f"{len(speakers)} speakers, {len(entries)} utterances, {hours:.2f} h"


def write_set(set_dir: str | Path, entries: Iterable[Entry], speech: bool = True) -> list[Path]:
    """Write `recordings.jsonl.gz` and, for speech, `supervisions.jsonl.gz` into `set_dir`; return their paths.

    A supervision has the recording's id and covers it; the session stands in its `custom`. Lhotse reads both with
    `RecordingSet.from_file` and `SupervisionSet.from_file`. Paths are absolute, so that any later command finds the
    audio wherever it is started.
    """
    from lhotse import AudioSource, Recording, SupervisionSegment

    entries = in_order(entries)
    recordings = Path(set_dir) / "recordings.jsonl.gz"
    supervisions = Path(set_dir) / "supervisions.jsonl.gz"
    write_jsonl_gz(
        recordings,
        (
            Recording(
                id=entry.id,
                sources=[AudioSource("file", list(range(entry.num_channels)), os.path.abspath(entry.path))],
                sampling_rate=entry.sampling_rate,
                num_samples=entry.num_samples,
                duration=entry.duration,
            ).to_dict()
            for entry in entries
        ),
    )
    if not speech:
        return [recordings]
    write_jsonl_gz(
        supervisions,
        (
            SupervisionSegment(
                id=entry.id,
                recording_id=entry.id,
                start=0.0,
                duration=entry.duration,
                channel=0 if entry.num_channels == 1 else list(range(entry.num_channels)),
                speaker=entry.speaker,
                gender=entry.gender,
                custom=None if entry.session is None else {"session": entry.session},
            ).to_dict()
            for entry in entries
        ),
    )
    return [recordings, supervisions]
