"""Kaldi data directories: wav.scp, segments, utt2spk, spk2utt, spk2gender and feats.scp in.

What Kaldi's utils/validate_data_dir.sh refuses and its fix_data_dir.sh takes away, utterances that some of these files
name and others do not, is left out here, counted and listed; more of it than --max-skipped allows is refused.
"""

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdpn.audio.headers import Header
from sdpn.console import counted, say
from sdpn.corpus.sources import Source, base_of, fingerprint_sources, probe_sources, refuse_commands
from sdpn.errors import Reason, SdpnError
from sdpn.feats_scp import read_feats_scp
from sdpn.files import digest
from sdpn.skipped import Skipped
from sdpn.tables import composed, read_groups, read_map, read_table
from sdpn.trials.names import some
from sdpn.utterance import OVERSHOOT, Utterance

_IN_ARCHIVE = re.compile(r".+:\d+(\[.*\])?$")
_CHANNELS = {"A": 0, "B": 1}


@dataclass(frozen=True)
class Segment:
    """A line of `segments`: seconds of a recording, to its end where `end` is None."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None

    def samples(self, header: Header) -> tuple[int, int] | Reason:
        """Return the first sample and the one behind the last, exactly as Kaldi's extract-segments chooses them.

        It cuts the fractions of both ends off, each for itself; an end less than half a second behind the recording's
        becomes the recording's.
        """
        rate, length = header.sampling_rate, header.num_samples
        first = int(self.start * rate)
        last = length if self.end is None else int(self.end * rate)
        if first >= length:
            return Reason("it begins behind the end of its recording", f"at {self.start:g} of {length / rate:g} s")
        if last > length and last >= length + int(OVERSHOOT * rate):
            return Reason("it ends behind the end of its recording", f"at {self.end:g} of {length / rate:g} s")
        if last <= first:
            return Reason("there is no sample in it", f"from {self.start:g} to {self.end:g} s")
        return first, min(last, length)


@dataclass(frozen=True)
class DataDir:
    """A Kaldi data directory, read and checked but for the audio.

    Attributes:
        folder: where it is.
        recordings: of wav.scp.
        segments: of `segments` by utterance; None where every recording is an utterance.
        speakers: by utterance; empty where there are no labels.
        genders: by speaker, "m" or "f".
        features: rxspecifiers of feats.scp with absolute paths, by utterance; empty where there are none.
    """

    folder: Path
    recordings: dict[str, Source]
    segments: dict[str, Segment] | None
    speakers: dict[str, str]
    genders: dict[str, str] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path, allow_pipes: bool) -> "DataDir":
        """Read the files of a data directory.

        Raises:
            SdpnError: wav.scp is missing, a line has another form, files contradict each other, or there are commands
                that may not be run.
        """
        if not (folder / "wav.scp").is_file():
            raise SdpnError(f"{folder}/wav.scp is missing: is this a Kaldi data directory?")
        recordings = _recordings(folder)
        refuse_commands(recordings.values(), folder / "wav.scp", allow_pipes)
        segments = _segments(folder / "segments") if (folder / "segments").is_file() else None
        speakers = _speakers(folder)
        spk2gender = folder / "spk2gender"
        genders = read_map(spk2gender, "table of genders", "speaker m|f", optional=True)
        genders = {speaker: word[:1].lower() for speaker, word in genders.items()}
        wrong = [speaker for speaker, gender in genders.items() if gender not in ("m", "f")]
        if wrong:
            raise SdpnError(f"{spk2gender}: {len(wrong)} genders are neither m nor f, e.g. that of {wrong[0]}")
        features = read_features(folder) if (folder / "feats.scp").is_file() else {}
        return DataDir(folder, recordings, segments, speakers, genders, features)

    @property
    def fingerprint(self) -> str:
        """What changes when one of its files, or the audio, does."""
        segments = {id: vars(segment) for id, segment in (self.segments or {}).items()}
        return digest(fingerprint_sources(self.recordings), segments, self.speakers, self.genders, self.features)

    def find_usable(self, run: Callable, cache: Path) -> tuple[list[Utterance], list[Skipped]]:
        """The utterances that can be used, and what is left out; see `headers.probe` for `run` and `cache`."""
        segments = self.segments if self.segments is not None else {id: Segment(id) for id in self.recordings}
        used = {segment.recording for segment in segments.values()} & self.recordings.keys()
        if len(used) < len(self.recordings):
            unused = len(self.recordings) - len(used)
            without = counted(unused, "recording of wav.scp has", "recordings of wav.scp have")
            say(f"  {self.folder}: {without} no segment, so nothing of that is used")
        recordings = {id: source for id, source in self.recordings.items() if id in used}
        headers = probe_sources(recordings, run, f"headers of {self.folder}", cache)
        usable, skipped = [], self._lost(segments)
        for id, segment in segments.items():
            header = headers.get(segment.recording) or Reason("its recording is not in wav.scp", segment.recording)
            part = header if isinstance(header, Reason) else self._part(id, segment, header)
            if isinstance(part, Reason):
                skipped.append(Skipped(id, part))
                continue
            source, speaker = recordings[segment.recording], self.speakers.get(id)
            first, last = part
            usable.append(
                Utterance(
                    id,
                    source.place,
                    *header,
                    speaker=speaker,
                    gender=self.genders.get(speaker),
                    recording=None if self.segments is None else segment.recording,
                    start=first / header.sampling_rate,
                    duration=None if last == header.num_samples else (last - first) / header.sampling_rate,
                    kind=source.kind,
                    channel=segment.channel,
                )
            )
        return usable, skipped

    def _lost(self, segments: Mapping[str, Segment]) -> list[Skipped]:
        """Utterances that another file names, of which there is no sound."""
        sound = "wav.scp" if self.segments is None else "segments"
        named = {"utt2spk": self.speakers, "feats.scp": self.features}
        lost: dict[str, list[str]] = defaultdict(list)
        for file, ids in named.items():
            for id in sorted(ids.keys() - segments.keys()):
                lost[id].append(file)
        return [
            Skipped(
                id, Reason(f"it is not in {sound}", f"{' and '.join(files)} name{'s' if len(files) == 1 else ''} it")
            )
            for id, files in lost.items()
        ]

    def _part(self, id: str, segment: Segment, header: Header) -> tuple[int, int] | Reason:
        """First sample and the one behind the last of an utterance, or why it cannot be used."""
        if segment.channel is not None and segment.channel >= header.num_channels:
            name = next((word for word, number in _CHANNELS.items() if number == segment.channel), segment.channel)
            return Reason("its recording lacks the channel", str(name))
        if self.speakers and id not in self.speakers:
            return Reason("it has no speaker in utt2spk")
        return segment.samples(header)


def _recordings(folder: Path) -> dict[str, Source]:
    table = read_table(folder / "wav.scp", "list of recordings")
    files = [value for value in table.values() if not value.endswith("|")]
    base = base_of(files, folder) or Path.cwd()
    inside = [value for value in files if _IN_ARCHIVE.match(value) and not (base / value).exists()]
    if inside:
        raise SdpnError(
            f"{folder}/wav.scp: {counted(len(inside), 'recording is in an archive', 'recordings are in archives')}, "
            f"e.g. {inside[0]}, and archives are not read: write "
            "them out with Kaldi's wav-copy, or extract them in commands (`wav-copy ... - |`) with --allow-pipes"
        )
    commands = [value[:-1].strip() for value in table.values() if value.endswith("|")]
    go = _go_where_they_run(commands, folder)
    return {
        id: Source(go + value[:-1].strip(), True) if value.endswith("|") else Source(os.path.abspath(base / value))
        for id, value in table.items()
    }


def _go_where_they_run(commands: list[str], folder: Path) -> str:
    """What takes commands to the folder that their relative paths are relative to; nothing where they name none."""
    words = (word.strip("'\"") for command in commands for word in command.split())
    base = base_of((word for word in words if "/" in word and not word.startswith(("/", "-"))), folder)
    return f"cd {shlex.quote(str(base))} && " if base else ""


def _channel(word: str) -> int:
    """Raises ValueError for a word that names none."""
    if not word.isdecimal() and word not in _CHANNELS:
        raise ValueError
    return _CHANNELS[word] if word in _CHANNELS else int(word)


def _segments(path: Path) -> dict[str, Segment]:
    segments = {}
    for id, value in read_table(path, "list of segments").items():
        words = value.split()
        try:
            recording, start, end = composed(words[0]), float(words[1]), float(words[2])
            channel = _channel(words[3]) if len(words) > 3 else None
        except (IndexError, ValueError):
            raise SdpnError(
                f"{path}: {id}: expected `utterance recording start end`, perhaps with a channel (A, B or a number), "
                f"got '{value[:80]}'"
            ) from None
        if not start >= 0 or not (end == -1 or end > start):  # also where one is nan
            raise SdpnError(f"{path}: {id}: it ends at {end:g} s, where it begins at {start:g} s")
        segments[id] = Segment(recording, start, None if end == -1 else end, channel)
    return segments


def _speakers(folder: Path) -> dict[str, str]:
    utt2spk, spk2utt = folder / "utt2spk", folder / "spk2utt"
    speakers = read_map(utt2spk, "table of speakers", optional=True)
    groups = read_groups(spk2utt, "table of utterances", optional=True)
    turned = {id: speaker for speaker, ids in groups.items() for id in ids}
    if len(turned) < sum(map(len, groups.values())):
        twice = next(id for speaker, ids in groups.items() for id in ids if turned[id] != speaker)
        raise SdpnError(f"{spk2utt}: {twice} has more than one speaker")
    differ = sorted(id for id in turned if speakers and speakers.get(id) != turned[id])
    if differ:
        raise SdpnError(f"{utt2spk} and spk2utt disagree on {counted(len(differ), 'utterance')}: {some(differ)}")
    return speakers or turned


def read_features(folder: Path) -> dict[str, str]:
    """feats.scp with absolute paths, or nothing (and a word on it) where features come from commands.

    Raises:
        SdpnError: a line is of another form than `feats_scp.read_feats_scp` reads.
    """
    path = folder / "feats.scp"
    if any(text.endswith("|") for text in read_table(path, "list of features").values()):
        say(f"  {path} names commands, so features are made anew")
        return {}
    parts = read_feats_scp(path)
    base = base_of((part.path for part in parts.values()), folder) or Path.cwd()
    return {id: str(part._replace(path=os.path.normpath(base / part.path))) for id, part in parts.items()}
