"""Lhotse manifests in: which utterances there are, and which of them can be used."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.audio.decoders import ffmpeg
from sdpn.audio.headers import Header
from sdpn.audio.route import PLAIN, route_of
from sdpn.corpus.lhotse_manifests import Listed, read_pairs
from sdpn.corpus.lhotse_recordings import Recorded, refusal_of_lhotse
from sdpn.corpus.sources import Source, base_of, fingerprint_sources, probe_sources, refuse_commands
from sdpn.errors import Reason, SdpnError
from sdpn.files import digest
from sdpn.skipped import Skipped
from sdpn.utterance import Utterance, round_half_up

if TYPE_CHECKING:
    from lhotse import Recording


@dataclass(frozen=True)
class Manifests:
    """What a manifest holds, but for the audio.

    Attributes:
        path: of the manifest, or the folder.
        recordings: by id.
        utterances: parts of the recordings.
        skipped: utterances that cannot be used, and why.
    """

    path: Path
    recordings: dict[str, Recorded]
    utterances: list[Listed]
    skipped: list[Skipped]

    @staticmethod
    def read(path: Path, allow_pipes: bool, audio: Path) -> "Manifests":
        """Read a manifest of cuts or of recordings, a folder that holds one, or a Shar folder.

        Supervisions are those in the folder, or beside recordings in a file of the same name (`recordings` aside).
        Lhotse numbers the channels of a recording as it likes; those of the utterances here are columns of the file,
        where Lhotse does not read it. Of several channels of a recording the first in the list is taken; None is all,
        of which stage 1 chooses.

        Args:
            audio: the audio in a Shar folder is copied there as it is (still encoded), once: what its archives hold
                cannot be read file by file.

        Raises:
            SdpnError: it is none of these, it is damaged, an id stands for two recordings or utterances, or it names
                commands that may not be run.
        """
        found: dict[str, Recorded] = {}
        utterances: list[Listed] = []
        skipped: list[Skipped] = []
        seen: set[str] = set()
        for recording, utterance in read_pairs(path, audio):
            if utterance.id in seen:
                raise SdpnError(f"{path}: two utterances have the id {utterance.id}")
            seen.add(utterance.id)
            reason = _refusal(recording, utterance)
            if reason:
                skipped.append(Skipped(utterance.id, reason))
                continue
            recorded = Recorded.of(recording)
            known = found.setdefault(recording.id, recorded)
            if known != recorded:
                first, second = (
                    " and ".join(source.place for source in one.sources) + (f" ({one.form})" if one.entry else "")
                    for one in (known, recorded)
                )
                raise SdpnError(f"{path}: the recording {recording.id} is once {first} and once {second}")
            channel = _wanted(recording, utterance.channel)
            if channel is not None and recorded.entry is None:
                channel = recording.sources[0].channels.index(channel)
            utterances.append(replace(utterance, channel=channel))
        files = (source.place for recorded in found.values() for source in recorded.sources if not source.command)
        base = base_of(files, path) or Path.cwd()
        found = {id: recorded.below(base) for id, recorded in found.items()}
        refuse_commands((source for recorded in found.values() for source in recorded.sources), path, allow_pipes)
        return Manifests(path, found, utterances, skipped)

    @property
    def _sources(self) -> dict[str, Source]:
        """Every file and command; the first of a recording by its id."""
        return {
            f"{id} {number}" if number else id: source
            for id, recorded in self.recordings.items()
            for number, source in enumerate(recorded.sources)
        }

    @property
    def fingerprint(self) -> str:
        """What changes when a manifest, or the audio, does."""
        entries = {id: recorded.entry for id, recorded in self.recordings.items() if recorded.entry}
        utterances = [vars(utterance) for utterance in self.utterances]
        return digest(fingerprint_sources(self._sources), utterances, entries)

    def find_usable(self, run: Callable, cache: Path) -> tuple[list[Utterance], list[Skipped]]:
        """The utterances that can be used, and what is left out; see `headers.probe` for `run` and `cache`.

        A manifest's word for a length is not taken: the header of the file has it. They differ where ffmpeg reads the
        file, since Lhotse counts what an encoder put behind the end; what lies there is cut off. Only where a recording
        is changed when it is read, or put together, the manifest alone knows the length of what comes.
        """
        headers = probe_sources(self._sources, run, f"headers of {self.path}", cache)
        usable, skipped = [], list(self.skipped)
        checked: set[str] = set()
        unusable: dict[str, Reason | None] = {}
        for utterance in self.utterances:
            recorded = self.recordings[utterance.recording]
            if recorded.entry is None:
                header = headers[utterance.recording]
                reason = header if isinstance(header, Reason) else _misfit(recorded, header, utterance)
            else:
                if utterance.recording not in unusable:
                    own = [headers[name] for name in self._names(utterance.recording)]
                    unusable[utterance.recording] = refusal_of_lhotse(recorded, own, checked)
                reason = unusable[utterance.recording]
            found = reason or _utterance_of(utterance, recorded, headers.get(utterance.recording)).within_recording()
            if isinstance(found, Reason):
                skipped.append(Skipped(utterance.id, found))
            else:
                usable.append(found)
        return usable, skipped

    def _names(self, recording: str) -> list[str]:
        """How `_sources` calls the sources of a recording."""
        count = len(self.recordings[recording].sources)
        return [f"{recording} {number}" if number else recording for number in range(count)]


def _utterance_of(utterance: Listed, recorded: Recorded, header: Header | None) -> Utterance:
    """A part of a recording that can be read; its header is that of its file, where it has one alone."""
    rate = recorded.sampling_rate
    whole = utterance.start == 0 and abs(utterance.duration - recorded.num_samples / rate) < 0.5 / rate
    if recorded.entry is None:
        length, channels, kind = header.num_samples, header.num_channels, recorded.sources[0].kind
        length = round_half_up(round(length / header.sampling_rate * rate, 8))
    else:
        length, channels, kind = recorded.num_samples, recorded.num_channels, "lhotse"
    return Utterance(
        utterance.id,
        recorded.sources[0].place if recorded.sources else "",
        rate,
        length,
        channels,
        utterance.speaker,
        utterance.session,
        utterance.gender,
        recording=None if whole and utterance.recording == utterance.id else utterance.recording,
        start=utterance.start,
        duration=None if whole else utterance.duration,
        kind=kind,
        channel=utterance.channel,
        source_rate=recorded.source_rate,
        raw=None if recorded.entry is None else json.dumps(recorded.entry, ensure_ascii=False).encode(),
    )


def _misfit(recorded: Recorded, header: Header, utterance: Listed) -> Reason | None:
    """Why an utterance of the file that there is cannot be used."""
    rate = recorded.source_rate or recorded.sampling_rate
    samples = recorded.num_samples
    there = round_half_up(round(header.num_samples / header.sampling_rate * recorded.sampling_rate, 8))
    source = recorded.sources[0]
    padding = ffmpeg.TOLERANCE * recorded.sampling_rate / rate
    route = route_of(source.place) if samples != there and not source.command else PLAIN
    guessed = route.parts or (route.by_ffmpeg and abs(samples - there) <= padding)  # an MP3's by its bit rate, e.g.
    if rate != header.sampling_rate or (samples != there and not guessed):
        said = f"{samples} samples at {recorded.sampling_rate} Hz"
        said += f" out of {rate} Hz" if recorded.source_rate else ""
        return Reason("the manifest lies", f"{said} where there are {header.num_samples} at {header.sampling_rate} Hz")
    if utterance.channel is not None and utterance.channel >= header.num_channels:
        return Reason("the manifest lies", f"it has more channels than the file, which has {header.num_channels}")
    return None


def _refusal(recording: "Recording | None", utterance: Listed) -> Reason | None:
    """Why an utterance of a manifest cannot be used; None where it can."""
    if recording is None:
        return Reason("it has no recording of its own, but is a mixture or features alone")
    wanted = _wanted(recording, utterance.channel)
    if wanted is not None and wanted not in recording.channel_ids:
        return Reason("its recording lacks the channel", str(wanted))
    if utterance.id != "_".join(utterance.id.split()):
        return Reason("its id has white space in it")
    return None


def _wanted(recording: "Recording", channel: int | list[int] | None) -> int | None:
    """The one channel that is used, as Lhotse numbers it: of a list the first; None where it is all of them."""
    if not isinstance(channel, list):
        return channel
    return None if channel == recording.channel_ids and len(channel) > 1 else next(iter(channel), None)
