"""Lhotse manifests in: recordings with supervisions, cuts, or a Shar folder."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile

from sdpn.audio.decoders import ffmpeg
from sdpn.audio.headers import Header
from sdpn.audio.route import PLAIN, route_of
from sdpn.console import Progress
from sdpn.corpus.lhotse_recordings import Recorded, refusal_of_lhotse
from sdpn.corpus.sources import Source, base_of, fingerprint_sources, probe_sources, refuse_commands
from sdpn.errors import SdpnError
from sdpn.files import atomic_path, digest
from sdpn.reasons import Reason
from sdpn.skipped import Skipped
from sdpn.utterance import Utterance, round_half_up

if TYPE_CHECKING:
    from lhotse import Recording

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".yaml", ".yaml.gz")


@dataclass(frozen=True)
class Listed:
    """One supervision, or one cut, of a manifest; `channel` is as `Manifests.read` says."""

    id: str
    recording: str
    start: float
    duration: float
    channel: int | list[int] | None
    speaker: str | None
    gender: str | None
    session: str | None


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
        for recording, utterance in _pairs(path, audio):
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

    def entries(self, run: Callable, cache: Path) -> tuple[list[Utterance], list[Skipped]]:
        """The utterances that can be used, and what is left out; see `headers.probe` for `run` and `cache`.

        A manifest's word for a length is not taken: the header of the file has it. They differ where ffmpeg reads the
        file, since Lhotse counts what an encoder put behind the end; what lies there is cut off. Only where a recording
        is changed when it is read, or put together, the manifest alone knows the length of what comes.
        """
        headers = probe_sources(self._sources, run, f"headers of {self.path}", cache)
        entries, skipped = [], list(self.skipped)
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
                entries.append(found)
        return entries, skipped

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


def _pairs(path: Path, audio: Path) -> Iterator[tuple["Recording | None", Listed]]:
    """Every utterance with its recording, None where it has none."""
    shards = sorted(path.glob("cuts.*.jsonl*")) if path.is_dir() and list(path.glob("recording.*.tar*")) else []
    try:
        if shards:
            yield from map(_of_cut, _unpacked(path, shards, audio))
            return
        cuts, recordings, supervisions = _find(path)
        if cuts is not None:
            yield from map(_of_cut, _open(cuts, "cuts"))
        else:
            yield from _of_supervisions(recordings, supervisions)
    except (ValueError, KeyError, TypeError, EOFError, OSError, AssertionError, tarfile.TarError) as error:
        raise SdpnError(f"{path}: not a readable Lhotse manifest: {' '.join(str(error).split())[:200]}") from None


def _find(path: Path) -> tuple[Path | None, Path | None, Path | None]:
    """The manifest of cuts, or those of recordings and supervisions, that `path` is or holds."""
    if path.is_file():
        return (None, path, _beside(path)) if _has_recordings(path) else (path, None, None)
    if not path.is_dir():
        raise SdpnError(f"{path}: there is no such manifest or folder")
    found: dict[str, list[Path]] = {"cuts": [], "recordings": [], "supervisions": []}
    for file in sorted(path.iterdir()):
        if file.name.endswith(_SUFFIXES):
            for kind, files in found.items():
                if kind in file.name:
                    files.append(file)
    for kind, files in found.items():
        if len(files) > 1:
            do = "take the others away" if kind == "supervisions" else "name one"
            raise SdpnError(f"{path} holds {len(files)} manifests of {kind}, {files[0].name} and others: {do}")
    if found["recordings"]:
        return None, found["recordings"][0], next(iter(found["supervisions"]), None)
    if found["cuts"]:
        return found["cuts"][0], None, None
    raise SdpnError(f"{path} holds no Lhotse manifest (*cuts*.jsonl.gz, *recordings*.jsonl.gz, or Shar)")


def _has_recordings(path: Path) -> bool:
    """Whether a file is called a manifest of recordings and is one: cuts may be called so, too."""
    from lhotse import RecordingSet
    from lhotse.serialization import load_manifest_lazy_or_eager

    return "recordings" in path.name and isinstance(load_manifest_lazy_or_eager(path), RecordingSet)


def _beside(recordings: Path) -> Path | None:
    """The manifest of supervisions that Lhotse's recipes put beside one of recordings; None where there is none."""
    supervisions = recordings.with_name(recordings.name.replace("recordings", "supervisions"))
    return supervisions if supervisions.exists() else None


def _open(path: Path, what: str) -> Any:
    from lhotse import CutSet, RecordingSet, SupervisionSet
    from lhotse.serialization import load_manifest_lazy_or_eager

    kind = {"cuts": CutSet, "recordings": RecordingSet, "supervisions": SupervisionSet}[what]
    opened = load_manifest_lazy_or_eager(path)
    if opened is None:
        raise SdpnError(f"{path} is empty")
    if not isinstance(opened, kind):
        hint = ": of recordings and supervisions, name that of recordings (*recordings*), or the folder that holds both"
        raise SdpnError(
            f"{path} is a {type(opened).__name__} where {what} were expected{hint if what == 'cuts' else ''}"
        )
    return opened


def _of_supervisions(recordings: Path, supervisions: Path | None) -> Iterator[tuple["Recording | None", Listed]]:
    by_id = {recording.id: recording for recording in _open(recordings, "recordings")}
    if supervisions is None:
        for recording in by_id.values():
            yield recording, Listed(recording.id, recording.id, 0.0, recording.duration, None, None, None, None)
        return
    for segment in _open(supervisions, "supervisions"):
        if segment.recording_id not in by_id:
            raise SdpnError(
                f"{supervisions}: {segment.id} names the recording {segment.recording_id}, which is missing"
            )
        yield (
            by_id[segment.recording_id],
            _utterance(segment.id, segment.recording_id, segment, segment, segment.channel),
        )


def _of_cut(cut: Any) -> tuple["Recording | None", Listed]:
    """A cut and its recording; its speaker where all of it is one person's."""
    supervisions = list(getattr(cut, "supervisions", []))
    speakers = {segment.speaker for segment in supervisions}
    known = supervisions[0] if len(speakers) == 1 else None
    recording = getattr(cut, "recording", None) if type(cut).__name__ in ("MonoCut", "MultiCut") else None
    name = recording.id if recording is not None else ""
    return recording, _utterance(cut.id, name, cut, known, getattr(cut, "channel", None))


def _utterance(id: str, recording: str, part: Any, known: Any, channel: Any) -> Listed:
    custom = (known.custom or {}) if known is not None else {}
    gender = (known.gender or "")[:1].lower() if known is not None else ""
    return Listed(
        id,
        recording,
        max(0.0, getattr(part, "start", 0.0)),
        part.duration,
        channel,
        None if known is None or known.speaker is None else "_".join(str(known.speaker).split()),
        gender if gender in ("m", "f") else None,
        custom.get("session"),
    )


def _unpacked(path: Path, shards: list[Path], audio: Path) -> Iterator[Any]:
    """The cuts of a Shar folder, their audio copied to files.

    It holds for each cut the audio of that cut alone, under the id of the recording that it was cut from: here each
    becomes a recording of its own, with the id of the cut.
    """
    from lhotse import AudioSource, CutSet
    from lhotse.serialization import open_best
    from lhotse.utils import fastcopy

    total = 0
    for shard in shards:
        with open_best(shard) as lines:
            total += sum(1 for _ in lines)
    with Progress(f"audio of {path}", total, "cuts") as progress:
        for cut in CutSet.from_shar(in_dir=path):
            recording = getattr(cut, "recording", None)
            if recording is not None and recording.sources[0].type == "memory":
                content = recording.sources[0].source
                file = audio / f"{_file_name(cut.id)}.{_suffix(content)}"
                if not file.exists() or file.read_bytes() != content:  # its time is what tells later stages of a change
                    with atomic_path(file) as temporary:
                        temporary.write_bytes(content)
                source = AudioSource("file", recording.sources[0].channels, str(file))
                cut = fastcopy(cut, recording=fastcopy(recording, id=cut.id, sources=[source]))
            progress.advance()
            yield cut


def _file_name(id: str) -> str:
    """What the file of a cut is called, without suffix: a name that file systems take, and no other cut has."""
    name = id.replace("/", "-").encode()[:150].decode(errors="ignore")
    whole = digest(id)
    return f"{whole[:2]}/{name}" if name == id else f"{whole[:2]}/{name}-{whole}"


def _suffix(content: bytes) -> str:
    try:
        return soundfile.info(io.BytesIO(content)).format.lower()
    except soundfile.LibsndfileError:
        return "audio"
