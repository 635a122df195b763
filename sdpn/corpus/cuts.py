"""Stage 1: the cuts of a set, one an utterance, from its recordings and supervisions."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.config import to_dict
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.corpus.trials import some
from sdpn.errors import SdpnError
from sdpn.files import digest, exclusive, file_digest, write_jsonl_gz, write_text
from sdpn.shards import Work

if TYPE_CHECKING:  # Lhotse takes seconds to import: only those pay who make cuts
    from lhotse import MonoCut, Recording, SupervisionSegment

# s, one analysis window: there is no frame of fbank in anything shorter
SHORTEST = 0.025


@dataclass
class Tally:
    """What became of the utterances of a set.

    Attributes:
        cuts, seconds, speakers: what there is; no speakers where there are no labels.
        dropped: utterances left out, by reason.
        resampled: recordings of another sampling rate, by that rate (as text, for JSON).
        several_channels: recordings with more than one channel.
    """

    cuts: int = 0
    seconds: float = 0.0
    speakers: int = 0
    dropped: Counter = field(default_factory=Counter)
    resampled: Counter = field(default_factory=Counter)
    several_channels: int = 0


def make_cuts(data: Path, name: str, role: str, config: CutsConfig) -> tuple[str, str | None, Tally]:
    """Write `data/<name>/cuts.jsonl.gz`, sorted by id, unless it is there and what it depends on is unchanged.

    Cuts are single-channel views of the recordings, which Lhotse resamples when they are read. Training cuts carry
    neither speaker nor gender nor anything in `custom`; what was known stands in `utt2spk.oracle`. Their ids and paths
    remain what the corpus calls them, and may contain a speaker's name: no stage reads labels from those. Evaluation
    sets get `utt2spk`. Utterances left out are listed in `dropped.txt`.

    Args:
        role: "train", "eval" or "clips" (noises, music, impulse responses).

    Returns:
        the set's name, why it was made (None where it was not), and its figures.

    Raises:
        SdpnError: stage 0 has not made the set, its manifests do not fit together, or nothing in it can be used.
    """
    folder = data / name
    recordings, supervisions = folder / "recordings.jsonl.gz", folder / "supervisions.jsonl.gz"
    if not recordings.exists():
        raise SdpnError(f"{recordings} is missing: run stage 0 first")
    with exclusive(folder):
        options = to_dict(config)
        if role != "train":  # limits of duration bind the training set alone
            options = {key: options[key] for key in ("sampling_rate", "channel")}
        fingerprint = {
            "recordings": file_digest(recordings),
            "supervisions": file_digest(supervisions) if supervisions.exists() else "none",
            "options": digest(options, role),
            "Lhotse's version": version("lhotse"),
        }
        work = Work(folder, "cuts", fingerprint)
        reason = work.stale_reason()
        if reason is None:
            return name, None, Tally(**work.report())
        if work.is_new():
            reason = "new"
        work.begin()
        tally, outputs = _write(folder, role, config)
        work.finish(outputs, **vars(tally))
        return name, reason, tally


def _write(folder: Path, role: str, config: CutsConfig) -> tuple[Tally, list[Path]]:
    from lhotse.qa import validate

    tally = Tally()
    labels: list[tuple[str, str]] = []
    dropped: list[tuple[str, str]] = []

    def usable() -> Iterator[dict]:
        for segment, recording in _segments(folder):
            why = _unusable(segment, role, config)
            if why:
                dropped.append((segment.id, why))
                continue
            cut = cut_out(segment, recording, role, config)
            validate(cut)
            if segment.speaker is not None:
                labels.append((segment.id, segment.speaker))
            if recording.sampling_rate != config.sampling_rate:
                tally.resampled[str(recording.sampling_rate)] += 1
            tally.several_channels += recording.num_channels > 1
            tally.cuts += 1
            tally.seconds += cut.duration
            yield cut.to_dict()

    outputs = [folder / "cuts.jsonl.gz"]
    write_jsonl_gz(outputs[0], usable())
    tally.speakers = len({speaker for _, speaker in labels})
    tally.dropped.update(why for _, why in dropped)
    lists = {"dropped.txt": dropped}
    if role != "clips":
        lists["utt2spk.oracle" if role == "train" else "utt2spk"] = labels
    for file_name, rows in lists.items():
        (folder / file_name).unlink(missing_ok=True)
        if rows:
            write_text(folder / file_name, "".join(f"{id} {what}\n" for id, what in rows))
            outputs.append(folder / file_name)
    if not tally.cuts:
        (folder / "cuts.jsonl.gz").unlink()
        reasons = ", ".join(f"{count} {why}" for why, count in tally.dropped.items()) or "there are none"
        raise SdpnError(f"{folder}: none of its utterances can be used: {reasons}")
    return tally, outputs


def cut_out(segment: "SupervisionSegment", recording: "Recording", role: str, config: CutsConfig) -> "MonoCut":
    """The cut of one utterance; see `make_cuts`."""
    from lhotse import MonoCut, SupervisionSegment

    channel = recording.channel_ids[min(config.channel, recording.num_channels - 1)]
    if recording.sampling_rate != config.sampling_rate:
        recording = recording.resample(config.sampling_rate)
    duration = min(segment.duration, recording.duration - segment.start)
    heard = SupervisionSegment(segment.id, recording.id, start=0.0, duration=duration, channel=channel)
    if role == "eval":
        heard.speaker, heard.gender, heard.custom = segment.speaker, segment.gender, segment.custom
    return MonoCut(
        id=segment.id,
        start=segment.start,
        duration=duration,
        channel=channel,
        recording=recording,
        supervisions=[] if role == "clips" else [heard],
    )


def _segments(folder: Path) -> Iterator[tuple["SupervisionSegment", "Recording"]]:
    """Every utterance with its recording, sorted by id; a set without supervisions has its recordings whole."""
    from lhotse import Recording, SupervisionSegment

    recordings = {}
    for row in _rows(folder / "recordings.jsonl.gz"):
        if row["id"] in recordings:
            raise SdpnError(f"{folder}/recordings.jsonl.gz: two recordings have the id {row['id']}")
        recordings[row["id"]] = Recording.from_dict(row)
    supervisions = folder / "supervisions.jsonl.gz"
    if supervisions.exists():
        segments = [SupervisionSegment.from_dict(row) for row in _rows(supervisions)]
    else:
        segments = [SupervisionSegment(id, id, start=0.0, duration=found.duration) for id, found in recordings.items()]
    segments.sort(key=lambda segment: segment.id.encode())
    last = None
    for segment in segments:
        if segment.id == last:
            raise SdpnError(f"{supervisions}: two utterances have the id {segment.id}")
        last = segment.id
        if segment.recording_id not in recordings:
            raise SdpnError(
                f"{supervisions}: {segment.id} names the recording {segment.recording_id}, which is missing"
            )
        yield segment, recordings[segment.recording_id]


def _rows(path: Path) -> Iterator[dict]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile):
        raise SdpnError(f"{path} is damaged: remove it and run stage 0 again") from None


def _unusable(segment: "SupervisionSegment", role: str, config: CutsConfig) -> str | None:
    """Why an utterance is left out, in a few words; None where it stays."""
    if segment.duration < SHORTEST:
        return "shorter than one frame"
    if role == "train" and segment.duration < config.min_duration:
        return f"shorter than {config.min_duration:g} s"
    if role == "train" and segment.duration > config.max_duration:
        return f"longer than {config.max_duration:g} s"
    return None


def refuse_shared_speakers(data: Path, corpus: Corpus) -> None:
    """Make sure that nobody is both trained on and evaluated, where both have labels.

    Raises:
        SdpnError: the training set and an evaluation set share speakers; some are named.
    """
    trained = _speakers(data / corpus.train)
    for name in corpus.evals:
        shared = sorted(trained & _speakers(data / name))
        if shared:
            raise SdpnError(
                f"{data}: {len(shared)} speakers are both in {corpus.train} and in {name}: {some(shared)}; take them "
                "out of one, or give different people different names"
            )


def _speakers(folder: Path) -> set[str]:
    path = folder / "supervisions.jsonl.gz"
    return {row.get("speaker") for row in _rows(path)} - {None} if path.exists() else set()
