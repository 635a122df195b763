"""An utterance on its way through stages 0 to 3: where its audio lies, which part of it is meant, who speaks.

A Lhotse manifest line is read into an `Utterance` once and written from one once:

    recordings.jsonl.gz    Utterance.of_recording   recording_entry
    supervisions.jsonl.gz  supervised               supervision_entry
    cuts.jsonl.gz          Utterance.of_cut         cut_entry
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from sys import intern
from typing import Any

from sdpn.errors import Reason

OVERSHOOT = 0.5
"""s by which a part may end behind its recording, which then is its end, as in Kaldi's extract-segments."""


@dataclass(slots=True)
class Utterance:
    """One utterance of a set, or one clip. It is not changed once it is made: `changed` gives another one.

    Attributes:
        id: unique in the set; where there are labels, an utterance's starts with its speaker, as in Kaldi.
        source: the file that its audio lies in, or the command that writes it.
        sampling_rate: Hz, at which it is read.
        length: samples per channel of the whole recording, at that rate.
        num_channels: of the recording; 1 for mono.
        speaker, session, gender: labels, None where they are not known; gender is "m" or "f".
        recording: id of the recording that it is a part of; None where that is its own.
        start, duration: s, which part of the recording it is; all the rest where no duration is given.
        channel: the one channel that it is said in; None where it is all of them.
        kind: how it is read: from a "file", from a "command", or by "lhotse", where that takes more (a URL, several
            files, another speed): `raw` then says how.
        source_rate: Hz, of the source where it is resampled to `sampling_rate`; None elsewhere.
        is_speech: whether its cut gets a supervision: noise, music and rooms have none.
        raw: JSON, the manifest entry of its recording, or of the cut itself, where that has more in it than stands
            here; None elsewhere.

    Example::

        >>> whole = Utterance("ann-1", "ann-1.wav", sampling_rate=16000, length=48000)
        >>> whole.duration, whole.num_samples
        (3.0, 48000)
    """

    id: str
    source: str
    sampling_rate: int
    length: int
    num_channels: int = 1
    speaker: str | None = None
    session: str | None = None
    gender: str | None = None
    recording: str | None = None
    start: float = 0.0
    duration: float = None  # type: ignore[assignment]
    channel: int | None = None
    kind: str = "file"
    source_rate: int | None = None
    is_speech: bool = True
    raw: bytes | None = None

    def __post_init__(self) -> None:
        if self.duration is None:
            self.duration = self.length / self.sampling_rate - self.start

    @property
    def num_samples(self) -> int:
        """Samples in it, at the rate at which it is read."""
        return round_half_up(self.duration * self.sampling_rate)

    @property
    def recording_id(self) -> str:
        """Id of its recording."""
        return self.recording or self.id

    @property
    def is_resampled(self) -> bool:
        """Whether its recording has another sampling rate than the one at which it is read."""
        return self.source_rate is not None or (self.raw is not None and b'"Resample"' in self.raw)

    @property
    def channels(self) -> list[int]:
        """The channels that it is said in, as its recording numbers them."""
        if self.channel is not None:
            return [self.channel]
        return list(range(self.num_channels)) if self.raw is None else self.recording_entry()["channel_ids"]

    def changed(self, **fields: Any) -> "Utterance":
        """Copy it with some fields changed, as `dataclasses.replace` does in four times as long."""
        copy = Utterance(*_all_fields(self))
        for name, value in fields.items():
            setattr(copy, name, value)
        return copy

    @classmethod
    def of_recording(cls, entry: dict[str, Any], is_speech: bool = True) -> "Utterance":
        """A whole recording, as an utterance in all its channels, from its manifest entry."""
        whole = _of_recording(entry)
        whole.is_speech = is_speech
        if whole.kind not in _READ_HERE or whole.recording_entry() != entry:
            whole.kind, whole.raw = "lhotse", _as_json(entry)
        return whole

    def supervised(self, entry: dict[str, Any]) -> "Utterance":
        """The part of this recording that a supervision names, with what it says of who speaks."""
        channel = entry["channel"]
        if isinstance(channel, list):
            channel = None if channel == list(range(self.num_channels)) else next(iter(channel), None)
        return self.changed(
            id=entry["id"],
            recording=self.id if self.id != entry["id"] else None,
            start=entry["start"],
            duration=entry["duration"],
            channel=channel,
            speaker=None if entry.get("speaker") is None else intern(entry["speaker"]),
            gender=entry.get("gender"),
            session=(entry.get("custom") or {}).get("session"),
        )

    @classmethod
    def of_cut(cls, entry: dict[str, Any]) -> "Utterance":
        """That of a single-channel cut, from its manifest entry."""
        if "recording" not in entry:  # mixed, or padding: Lhotse knows what to do with it
            return cls(entry["id"], "", 0, 0, duration=entry.get("duration", 0.0), kind="lhotse", raw=_as_json(entry))
        cut = _of_recording(entry["recording"])
        if cut.id != entry["id"]:
            cut.recording, cut.id = cut.id, entry["id"]
        cut.start, cut.duration, cut.channel = entry["start"], entry["duration"], entry["channel"]
        cut.is_speech = bool(entry.get("supervisions"))
        if cut.is_speech:
            known = entry["supervisions"][0]
            cut.speaker, cut.gender = known.get("speaker"), known.get("gender")
            cut.session = (known.get("custom") or {}).get("session")
        if cut.cut_entry() != entry:
            plain = entry.get("type") == "MonoCut" and cut.kind in _READ_HERE
            if not plain or cut.recording_entry() != entry["recording"]:
                cut.kind = "lhotse"
            cut.raw = _as_json(entry)
        return cut

    def resampled(self, sampling_rate: int) -> "Utterance":
        """The same read at another rate (Hz)."""
        if sampling_rate == self.sampling_rate:
            return self
        if self.kind == "lhotse" or self.source_rate is not None:
            from lhotse import Recording

            recording = Recording.from_dict(self.recording_entry()).resample(sampling_rate)
            raw = _as_json(recording.to_dict())
            return self.changed(sampling_rate=sampling_rate, length=recording.num_samples, kind="lhotse", raw=raw)
        length = round_half_up(round(self.length / self.sampling_rate * sampling_rate, 8))
        return self.changed(sampling_rate=sampling_rate, length=length, source_rate=self.sampling_rate)

    def within_recording(self) -> "Utterance | Reason":
        """The same, not longer than its recording; or that it lies elsewhere, or ends too far behind it."""
        whole = self.length / self.sampling_rate
        rest = whole - self.start
        if rest <= 0:
            return Reason("it begins behind the end of its recording", f"at {self.start:g} of {whole:g} s")
        if self.start < 0 or self.duration <= 0:
            return Reason("it lies outside of its recording", f"{self.duration:g} s from {self.start:g} s on")
        if self.duration <= rest:
            return self
        if self.duration - rest > OVERSHOOT:
            return Reason(
                "it ends behind the end of its recording", f"at {self.start + self.duration:g} of {whole:g} s"
            )
        return self.changed(duration=rest)

    def recording_entry(self) -> dict[str, Any]:
        """The manifest entry of its recording, as `lhotse.Recording.to_dict` gives it."""
        if self.raw is not None:
            return (raw := json.loads(self.raw)).get("recording", raw)
        channels = list(range(self.num_channels))
        entry = {
            "id": self.recording or self.id,
            "sources": [{"type": self.kind, "channels": channels, "source": self.source}],
            "sampling_rate": self.sampling_rate,
            "num_samples": self.length,
            "duration": self.length / self.sampling_rate,
            "channel_ids": channels,
        }
        if self.source_rate is not None:
            rates = {"source_sampling_rate": self.source_rate, "target_sampling_rate": self.sampling_rate}
            entry["transforms"] = [{"name": "Resample", "kwargs": rates}]
        return entry

    def supervision_entry(self) -> dict[str, Any]:
        """Its supervision in the recording, as `lhotse.SupervisionSegment.to_dict` gives it."""
        channel: int | list[int] | None = self.channel
        if channel is None:
            channel = 0 if self.num_channels == 1 else list(range(self.num_channels))
        return {
            "id": self.id,
            "recording_id": self.recording or self.id,
            "start": self.start,
            "duration": round(self.duration, 8),
            "channel": channel,
            **self._labels(),
        }

    def cut_entry(self, labels: bool = True) -> dict[str, Any]:
        """Its cut, as `lhotse.MonoCut.to_dict` gives it, with or without the labels that there are."""
        if self.raw is not None and "type" in (cut := json.loads(self.raw)):
            return cut
        heard = {
            "id": self.id,
            "recording_id": self.recording or self.id,
            "start": 0.0,
            "duration": self.duration,
            "channel": self.channel,
            **(self._labels() if labels else {}),
        }
        return {
            "id": self.id,
            "start": self.start,
            "duration": self.duration,
            "channel": self.channel,
            "supervisions": [heard] if self.is_speech else [],
            "recording": self.recording_entry(),
            "type": "MonoCut",
        }

    def _labels(self) -> dict[str, Any]:
        custom = None if self.session is None else {"session": self.session}
        labels = {"speaker": self.speaker, "gender": self.gender, "custom": custom}
        return {key: value for key, value in labels.items() if value is not None}

    def identity(self) -> list:
        """All that its samples depend on but the content of its source, for JSON; labels do not belong to it."""
        raw = None if self.raw is None else self.raw.decode()
        whole = [self.kind, self.source, self.sampling_rate, self.source_rate, self.length, self.num_channels]
        return [self.id, *whole, self.start, self.duration, self.channel, raw]

    def sources(self, kind: str = "file") -> Iterator[str]:
        """The files that it is read from, or the commands."""
        if self.raw is None:
            if self.kind == kind:
                yield self.source
        else:
            yield from sources_in(json.loads(self.raw), kind)


_all_fields = attrgetter(*(field.name for field in fields(Utterance)))


def in_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Sorted by id as the C locale sorts (by UTF-8 bytes)."""
    return sorted(utterances, key=lambda utterance: utterance.id.encode())


def utterance_of(cut: Any) -> Utterance:
    """The same utterance, or that of a Lhotse cut (or of anything else with such a `to_dict()`)."""
    return cut if isinstance(cut, Utterance) else Utterance.of_cut(cut.to_dict())


def round_half_up(number: float) -> int:
    """The nearest whole number, as Lhotse turns seconds into samples."""
    return math.floor(number + 0.5)


_READ_HERE = ("file", "command")  # kinds of sources that take nobody else to be read
_rates: dict[int, int] = {}  # as strings are interned: a million recordings have a few rates


def _as_json(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode()


def _of_recording(entry: dict[str, Any]) -> Utterance:
    """What an `Utterance` can tell of a whole recording, which may not be all."""
    source, transforms = entry["sources"][0], entry.get("transforms")
    resampling = transforms[0].get("kwargs", {}) if transforms else {}
    rate = entry["sampling_rate"]
    return Utterance(
        entry["id"],
        source["source"] if isinstance(source["source"], str) else "",
        _rates.setdefault(rate, rate),
        entry["num_samples"],
        len(entry["channel_ids"]),
        duration=entry["duration"],
        kind=intern(source["type"]),
        source_rate=resampling.get("source_sampling_rate"),
    )


def sources_in(entry: Any, kind: str) -> Iterator[str]:
    """The files or commands (`kind`) in a manifest entry, wherever in it they stand."""
    if isinstance(entry, dict):
        if entry.get("type") == kind and "source" in entry:
            yield entry["source"]
        entry = list(entry.values())
    if isinstance(entry, list):
        for value in entry:
            yield from sources_in(value, kind)
