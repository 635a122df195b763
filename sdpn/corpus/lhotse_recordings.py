"""Recordings of Lhotse manifests: which are read as any file is, and which Lhotse has to read."""

import os
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdpn.audio.headers import Header
from sdpn.corpus.sources import Source
from sdpn.errors import Reason
from sdpn.utterance import sources_in

if TYPE_CHECKING:
    from lhotse import Recording

_TRIED_SECONDS = 0.2


class Recorded(NamedTuple):
    """A recording of a manifest.

    Attributes:
        sources: the files and commands that it is read from; others (a URL, memory) are Lhotse's to read.
        sampling_rate, num_samples: as it is read, by the manifest.
        num_channels: by the manifest.
        source_rate: Hz, of its one source where it is resampled and nothing else; None elsewhere.
        entry: its manifest entry where Lhotse has to read it, since it is changed when it is read (speed, volume,
            reverberation, ...), or consists of several files, or of none; None elsewhere.
    """

    sources: tuple[Source, ...]
    sampling_rate: int
    num_samples: int
    num_channels: int
    source_rate: int | None
    entry: dict[str, Any] | None

    @staticmethod
    def of(recording: "Recording") -> "Recorded":
        source, transforms = recording.sources[0], recording.transforms or []
        entry, source_rate = None, None
        simple = len(recording.sources) == 1 and source.type in ("file", "command")
        if simple and not transforms:  # the usual case, a million times
            sources = (Source(source.source, source.type == "command"),)
        else:
            entry = recording.to_dict()
            sources = tuple(
                Source(found, kind == "command") for kind in ("file", "command") for found in sources_in(entry, kind)
            )
            if simple and [transform["name"] for transform in entry["transforms"]] == ["Resample"]:
                source_rate, entry = entry["transforms"][0]["kwargs"]["source_sampling_rate"], None
        rate, samples, channels = recording.sampling_rate, recording.num_samples, recording.num_channels
        return Recorded(sources, rate, samples, channels, source_rate, entry)

    @property
    def form(self) -> str:
        """In what way Lhotse has to read it: what it can read of one recording, it can of the others."""
        changes = [transform["name"] for transform in self.entry.get("transforms") or []]
        return " ".join([*changes, *(source["type"] for source in self.entry["sources"])])

    def below(self, base: Path) -> "Recorded":
        """The same with absolute paths, where relative ones are relative to `base`."""
        sources = tuple(
            source if source.command else Source(os.path.abspath(os.path.join(base, source.place)))
            for source in self.sources
        )
        entry = None if self.entry is None else _with_absolute_paths(self.entry, base)
        return self._replace(sources=sources, entry=entry)


def _with_absolute_paths(entry: Any, base: Path) -> Any:
    """A copy of a manifest entry; files stand in it at any depth, such as the impulse response of a reverberation."""
    if isinstance(entry, list):
        return [_with_absolute_paths(part, base) for part in entry]
    if not isinstance(entry, dict):
        return entry
    copy = {key: _with_absolute_paths(part, base) for key, part in entry.items()}
    if entry.get("type") == "file" and "source" in entry:
        copy["source"] = os.path.abspath(base / entry["source"])
    return copy


def refusal_of_lhotse(recorded: Recorded, headers: list[Header | Reason], checked: set[str]) -> Reason | None:
    """Why Lhotse cannot read a recording; None where it can.

    Whether it can do what a recording is changed by is tried on the first one of every `checked` form: it may need a
    library that is not installed.
    """
    wrong = next((header for header in headers if isinstance(header, Reason)), None)
    if wrong or recorded.form in checked:
        return wrong
    from lhotse import Recording

    try:
        recording = Recording.from_dict(deepcopy(recorded.entry))  # it takes the entry apart
        recording.load_audio(duration=min(_TRIED_SECONDS, recording.duration))
    except Exception as error:  # Lhotse wraps whatever its back-ends raise
        return Reason("Lhotse cannot read it", " ".join(str(error).split("[extra info]")[0].split())[:200])
    checked.add(recorded.form)
    return None
