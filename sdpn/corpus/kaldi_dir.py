"""Kaldi data directories: wav.scp, segments, utt2spk, spk2utt, spk2gender and feats.scp in."""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sdpn.audio.headers import Header
from sdpn.console import say
from sdpn.corpus.sources import Source, base_of, fingerprint_sources, probe_sources, refuse_commands
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.reasons import Reason
from sdpn.skipped import Skipped
from sdpn.tables import lines_of
from sdpn.trials.lists import some
from sdpn.utterance import Utterance

_IN_ARCHIVE = re.compile(r".+:\d+(\[.*\])?$")
PLACE = re.compile(
    r"(?P<path>.+):(?P<offset>\d+)(\[((?P<first>\d+):(?P<last>\d+)|:)(?P<columns>,[\d:]+)?\])?", re.ASCII
)
"""A matrix in an archive as a feats.scp names it, with a range of rows and columns where it is a part of one."""
ALL_COLUMNS = (None, ",:")
"""What `columns` of `PLACE` may be where no column is left out."""

_CHANNELS = {"A": 0, "B": 1}


@dataclass(frozen=True)
class Segment:
    """A line of `segments`: seconds of a recording, to its end where `end` is None."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


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
        segments = _segments(folder / "segments", recordings) if (folder / "segments").is_file() else None
        speakers = _speakers(folder)
        spk2gender = folder / "spk2gender"
        genders = (
            {speaker: word[:1].lower() for speaker, word in read_table(spk2gender).items()}
            if spk2gender.is_file()
            else {}
        )
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

    def entries(self, run: Callable, cache: Path) -> tuple[list[Utterance], list[Skipped]]:
        """The utterances that can be used, and what is left out; see `headers.probe` for `run` and `cache`."""
        headers = probe_sources(self.recordings, run, f"headers of {self.folder}", cache)
        entries, skipped = [], []
        segments = self.segments if self.segments is not None else {id: Segment(id) for id in self.recordings}
        for id, segment in segments.items():
            header = headers[segment.recording]
            reason = header if isinstance(header, Reason) else self._refusal(id, segment, header)
            if reason:
                skipped.append(Skipped(id, reason))
                continue
            source, speaker = self.recordings[segment.recording], self.speakers.get(id)
            utterance = Utterance(
                id,
                source.place,
                *header,
                speaker=speaker,
                gender=self.genders.get(speaker),
                recording=None if self.segments is None else segment.recording,
                start=segment.start,
                duration=None if segment.end is None else segment.end - segment.start,
                kind=source.kind,
                channel=segment.channel,
            ).within_recording()
            if isinstance(utterance, Reason):
                skipped.append(Skipped(id, utterance))
            else:
                entries.append(utterance)
        return entries, skipped

    def _refusal(self, id: str, segment: Segment, header: Header) -> Reason | None:
        if segment.channel is not None and segment.channel >= header.num_channels:
            name = next((word for word, number in _CHANNELS.items() if number == segment.channel), segment.channel)
            return Reason("its recording lacks the channel", str(name))
        if self.speakers and id not in self.speakers:
            return Reason("it has no speaker in utt2spk")
        return None


def read_table(path: Path) -> dict[str, str]:
    """`key value...` lines, in their order, whatever the line ends.

    Raises:
        SdpnError: it is not UTF-8, a line has no value, or a key stands there twice.
    """
    table: dict[str, str] = {}
    for number, line in lines_of(path, "table"):
        words = line.split(maxsplit=1)
        if len(words) < 2:
            raise SdpnError(f"{path}, line {number}: expected an id and a value, got '{line[:80]}'")
        if words[0] in table:
            raise SdpnError(f"{path}, line {number}: {words[0]} stands there twice")
        table[words[0]] = words[1]
    if not table:
        raise SdpnError(f"{path} is empty")
    return table


def _recordings(folder: Path) -> dict[str, Source]:
    table = read_table(folder / "wav.scp")
    files = [value for value in table.values() if not value.endswith("|")]
    base = base_of(files, folder) or Path.cwd()
    inside = [value for value in files if _IN_ARCHIVE.match(value) and not (base / value).exists()]
    if inside:
        raise SdpnError(
            f"{folder}/wav.scp: {len(inside)} recordings are in archives, e.g. {inside[0]}, which are not read: write "
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


def _segments(path: Path, recordings: dict[str, Source]) -> dict[str, Segment]:
    segments = {}
    for id, value in read_table(path).items():
        words = value.split()
        try:
            recording, start, end = words[0], float(words[1]), float(words[2])
            channel = _channel(words[3]) if len(words) > 3 else None
        except (IndexError, ValueError):
            raise SdpnError(
                f"{path}: {id}: expected `utterance recording start end`, perhaps with a channel (A, B or a number), "
                f"got '{value[:80]}'"
            ) from None
        if not start >= 0 or not (end == -1 or end > start):  # also where one is nan
            raise SdpnError(f"{path}: {id}: it ends at {end:g} s, where it begins at {start:g} s")
        segments[id] = Segment(recording, start, None if end == -1 else end, channel)
    unknown = sorted({segment.recording for segment in segments.values()} - recordings.keys())
    if unknown:
        raise SdpnError(f"{path}: {len(unknown)} recordings are not in wav.scp: {some(unknown)}")
    return segments


def _speakers(folder: Path) -> dict[str, str]:
    utt2spk, spk2utt = folder / "utt2spk", folder / "spk2utt"
    speakers = read_table(utt2spk) if utt2spk.is_file() else {}
    several = [id for id, speaker in speakers.items() if len(speaker.split()) > 1]
    if several:
        raise SdpnError(f"{utt2spk}: {several[0]} has more than one speaker: '{speakers[several[0]][:80]}'")
    if not spk2utt.is_file():
        return speakers
    turned = {id: speaker for speaker, ids in read_table(spk2utt).items() for id in ids.split()}
    differ = sorted(id for id in turned if speakers and speakers.get(id) != turned[id])
    if differ:
        raise SdpnError(f"{utt2spk} and spk2utt disagree on {len(differ)} utterances: {some(differ)}")
    return speakers or turned


def read_features(folder: Path) -> dict[str, str]:
    """feats.scp with absolute paths, or nothing (and a word on it) where features come from commands.

    Raises:
        SdpnError: some are neither whole matrices of archives nor ranges of their rows.
    """
    table = read_table(folder / "feats.scp")
    if any(value.endswith("|") for value in table.values()):
        say(f"  {folder}/feats.scp names commands, so features are made anew")
        return {}
    found = {id: PLACE.fullmatch(value) for id, value in table.items()}
    others = [id for id, match in found.items() if not match or match["columns"] not in ALL_COLUMNS]
    if others:
        raise SdpnError(
            f"{folder}/feats.scp: {len(others)} lines are not `utterance path:offset` or that with a range of rows, "
            f"e.g. '{others[0]} {table[others[0]][:80]}': write the features out with Kaldi's copy-feats"
        )
    base = base_of((match["path"] for match in found.values()), folder) or Path.cwd()
    return {id: os.path.normpath(base / value) for id, value in table.items()}
