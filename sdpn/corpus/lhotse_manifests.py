"""Lhotse manifests as files: recordings with supervisions, cuts, or a Shar folder."""

import codecs
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import soundfile

from sdpn.console import Progress
from sdpn.errors import SdpnError
from sdpn.files import atomic_path, digest

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


def read_pairs(path: Path, audio: Path) -> Iterator[tuple["Recording | None", Listed]]:
    """Yield every utterance of a manifest with its recording, None where it has none.

    Args:
        path, audio: see `lhotse_sets.Manifests.read`.

    Raises:
        SdpnError: there is no manifest, or it is damaged or of another kind.
    """
    shards = sorted(path.glob("cuts.*.jsonl*")) if path.is_dir() and list(path.glob("recording.*.tar*")) else []
    try:
        if shards:
            yield from map(_of_cut, _unpacked(path, shards, audio))
            return
        cuts, recordings, supervisions = _find(path)
        if cuts is not None:
            yield from map(_of_cut, _open(cuts, "cuts"))
        elif recordings is not None:
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

    return "recordings" in path.name and isinstance(_load(path), RecordingSet)


def _beside(recordings: Path) -> Path | None:
    """The manifest of supervisions that Lhotse's recipes put beside one of recordings; None where there is none."""
    supervisions = recordings.with_name(recordings.name.replace("recordings", "supervisions"))
    return supervisions if supervisions.exists() else None


def _load(path: Path) -> Any:
    """A set of Lhotse's, whatever it holds; None where the manifest is empty."""
    from lhotse.serialization import deserialize_item, load_manifest_lazy_or_eager, resolve_manifest_set_class

    open_any = gzip.open if path.suffix == ".gz" else open
    with open_any(path, "rb") as opened:
        if opened.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8 or ".yaml" in path.suffixes:
            return load_manifest_lazy_or_eager(path)
    with open_any(path, "rt", encoding="utf-8-sig") as opened:  # a mark that some editors put there, and Lhotse refuses
        lines = (json.loads(line) for line in opened if line.strip())
        items = list(lines) if ".jsonl" in path.suffixes else json.load(opened)
    if not items:
        return None
    first = deserialize_item(deepcopy(items[0]))  # which takes things out of what it is given
    return resolve_manifest_set_class(first).from_dicts(items)


def _open(path: Path, what: str) -> Any:
    from lhotse import CutSet, RecordingSet, SupervisionSet

    kind = {"cuts": CutSet, "recordings": RecordingSet, "supervisions": SupervisionSet}[what]
    opened = _load(path)
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
    with Progress(f"audio of {path}", total, "cuts") as progress, TemporaryDirectory() as folder:
        for cut in CutSet.from_shar(in_dir=_without_marks(path, shards, Path(folder))):
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


def _without_marks(path: Path, shards: list[Path], folder: Path) -> Path:
    """The same Shar folder; one of links in `folder` where cuts begin with a byte order mark, which Lhotse refuses."""
    marked = {}
    for shard in shards:
        with (gzip.open if shard.suffix == ".gz" else open)(shard, "rb") as opened:
            if opened.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                marked[shard.name] = opened.read()
    if not marked:
        return path
    for file in path.iterdir():
        if file.name in marked:
            packed = file.suffix == ".gz"
            (folder / file.name).write_bytes(gzip.compress(marked[file.name]) if packed else marked[file.name])
        else:
            (folder / file.name).symlink_to(file.resolve())
    return folder


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
