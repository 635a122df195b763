"""Stage 1: the cuts of a set, one an utterance, from its recordings and supervisions."""

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from sdpn.config import to_dict
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.corpus.writer import refuse_shared_speakers
from sdpn.errors import SdpnError
from sdpn.files import digest, exclusive, file_digest, write_jsonl_gz, write_text
from sdpn.reasons import Reason
from sdpn.shards import Work
from sdpn.skipped import Skipped, count_reasons, read_skipped, refuse_many_skipped, write_skipped

# s, one analysis window: there is no frame of fbank in anything shorter
SHORTEST = 0.025
ROLES = ("train", "eval", "clips", "rir")
_LIMITS = ("min_duration", "max_duration")


@dataclass
class Tally:
    """What became of the utterances of a set.

    Attributes:
        cuts, seconds, speakers: what there is; no speakers where there are no labels.
        skipped: utterances left out, by reason, those of stage 0 included.
        windowed: utterances (or clips) that became several cuts.
        trimmed: seconds of silence cut off.
        resampled: recordings of another sampling rate, by that rate (as text, for JSON).
        several_channels: recordings with more than one channel.
    """

    cuts: int = 0
    seconds: float = 0.0
    speakers: int = 0
    skipped: Counter = field(default_factory=Counter)
    windowed: int = 0
    trimmed: float = 0.0
    resampled: Counter = field(default_factory=Counter)
    several_channels: int = 0


def make_cuts(
    data: Path, name: str, role: str, config: CutsConfig, has_features: bool = False
) -> tuple[str, str | None, Tally]:
    """Write `data/<name>/cuts.jsonl.gz`, sorted by id, unless it is there and what it depends on is unchanged.

    Cuts are single-channel views of the recordings, which Lhotse resamples when they are read. Training cuts carry
    neither speaker nor gender nor anything in `custom`; what was known stands in `utt2spk.oracle`. Their ids and paths
    remain what the corpus calls them, and may contain a speaker's name: no stage reads labels from those. Evaluation
    sets get `utt2spk`. What is left out, here or in stage 0, is listed with its reason in `skipped.tsv`.

    Args:
        role: "train", "eval", "clips" (noises, music, talkers) or "rir", of which every channel becomes a cut.
        has_features: the set brings features, of whole utterances, so none of these becomes several cuts.

    Returns:
        the set's name, why it was made (None where it was not), and its figures.

    Raises:
        SdpnError: stage 0 has not made the set, its manifests do not fit together, nothing in it can be used, or too
            much of it is left out.
    """
    folder = data / name
    recordings, supervisions = folder / "recordings.jsonl.gz", folder / "supervisions.jsonl.gz"
    if not recordings.exists():
        raise SdpnError(f"{recordings} is missing: run stage 0 first")
    if has_features:
        config = replace(config, max_duration=math.inf)
    with exclusive(folder):
        inputs = {path.stem.split(".")[0]: path for path in (recordings, supervisions, folder / "skipped_files.tsv")}
        if role in ("train", "eval") and config.trim_silence:
            inputs["speech"] = folder / "speech.json"
        fingerprint = {
            **{part: file_digest(path) if path.exists() else "none" for part, path in inputs.items()},
            "options": digest(_options(config, role), role),
            "Lhotse's version": version("lhotse"),
        }
        work = Work(folder, "cuts", fingerprint)
        reason = work.stale_reason()
        if reason is None:
            return name, None, Tally(**work.report())
        if work.is_new():
            reason = "new"
        tally, outputs = _write(folder, role, config, work)
        work.finish(outputs, **vars(tally))
        return name, reason, tally


def refuse_to_trim_given(corpus: Corpus, config: CutsConfig) -> None:
    """Make sure that no silence is to be cut off where features are given: these are of the whole utterances.

    Raises:
        SdpnError: it is.
    """
    given = [name for name in (corpus.train, *corpus.evals) if name in corpus.given_features]
    if config.trim_silence and given:
        raise SdpnError(
            f"trim_silence is on, but {given[0]} brings features (feats.scp), which keep the silence: turn it off, or "
            "take feats.scp out of the data directory and run stage 0 again to have features computed"
        )


def _options(config: CutsConfig, role: str) -> dict[str, Any]:
    """The settings that bind the sets of a role."""
    trimmed = role in ("train", "eval") and config.trim_silence
    limits = {"train": _LIMITS, "clips": ("max_duration",)}.get(role, ())
    return {
        key: value
        for key, value in to_dict(config).items()
        if (trimmed or not key.startswith("vad_")) and (key in limits or key not in _LIMITS)
    }


def _write(folder: Path, role: str, config: CutsConfig, work: Work) -> tuple[Tally, list[Path]]:
    tally = Tally()
    labels: list[tuple[str, str]] = []
    skipped = read_skipped(folder / "skipped_files.tsv")
    spans = _read_spans(folder) if role in ("train", "eval") and config.trim_silence else {}
    outputs = [folder / "cuts.jsonl.gz"]

    utterances = len(skipped)

    def made() -> Iterator[tuple[dict, dict]]:
        nonlocal utterances
        for segment, recording in segments(folder):
            utterances += 1
            part = _part(segment, recording, spans, config)
            why = part if isinstance(part, Reason) else _unusable(part, role, config)
            if why:
                skipped.append(Skipped(segment["id"], why))
                continue
            tally.trimmed += segment["duration"] - part[1] if spans else 0.0
            if recording["sampling_rate"] != config.sampling_rate:
                tally.resampled[str(recording["sampling_rate"])] += 1
            tally.several_channels += len(recording["channel_ids"]) > 1
            own = list(cut_out(segment, recording, part, role, config))
            tally.windowed += role != "rir" and len(own) > 1
            yield from ((segment, cut) for cut in own)

    def written() -> Iterator[dict]:
        for segment, cut in _in_order(made(), folder):
            tally.cuts += 1
            tally.seconds += cut["duration"]
            if segment.get("speaker") is not None:
                labels.append((cut["id"], segment["speaker"]))
            yield cut
        tally.skipped.update(count_reasons(skipped))
        _write_what_was_skipped(folder, skipped, outputs)
        if not tally.cuts:
            reasons = ", ".join(f"{count} {why}" for why, count in tally.skipped.items()) or "there are none"
            raise SdpnError(f"{folder}: none of its utterances can be used: {reasons}")
        refuse_many_skipped(str(folder), tally.skipped, utterances, config.max_skipped, folder / "skipped.tsv")
        work.begin()
        _write_labels(folder, role, labels, outputs)

    write_jsonl_gz(outputs[0], written())
    tally.speakers = len({speaker for _, speaker in labels})
    return tally, outputs


def _in_order(made: Iterable[tuple[dict[str, Any], dict[str, Any]]], folder: Path) -> Iterator[tuple[dict, dict]]:
    """The same pairs of utterance and cut, sorted by the id of the cut; they come sorted by that of the utterance.

    These orders differ: `a-1` lies between `a` and its window `a-w1`. A cut waits until no smaller id can come.

    Raises:
        SdpnError: two cuts have one id.
    """
    waiting: list[tuple[bytes, int, tuple[dict, dict]]] = []
    last = None
    for number, (segment, cut) in enumerate(chain(made, [({"id": None}, {})])):
        reached = segment["id"] and segment["id"].encode()
        while waiting and (reached is None or waiting[0][0] < reached):
            id, _, pair = heappop(waiting)
            if id == last:
                raise SdpnError(f"{folder}: two cuts have the id {pair[1]['id']}: rename one of the utterances")
            last = id
            yield pair
        if cut:
            heappush(waiting, (cut["id"].encode(), number, (segment, cut)))


def _write_what_was_skipped(folder: Path, skipped: list[Skipped], outputs: list[Path]) -> None:
    """Write what was left out; the file joins `outputs`."""
    listing = folder / "skipped.tsv"
    listing.unlink(missing_ok=True)
    if skipped:
        write_skipped(listing, skipped)
        outputs.append(listing)


def _write_labels(folder: Path, role: str, labels: list[tuple[str, str]], outputs: list[Path]) -> None:
    """Write who speaks; the file joins `outputs`."""
    if role in ("train", "eval"):
        path = folder / ("utt2spk.oracle" if role == "train" else "utt2spk")
        path.unlink(missing_ok=True)
        if labels:
            write_text(path, "".join(f"{id} {speaker}\n" for id, speaker in labels))
            outputs.append(path)


def _part(
    segment: dict, recording: dict, spans: dict[str, tuple[float, float] | Reason], config: CutsConfig
) -> tuple[float, float] | Reason:
    """Start and duration (s) of what is used of a recording, or why nothing is."""
    start, duration = segment["start"], min(segment["duration"], recording["duration"] - segment["start"])
    if start < 0 or duration <= 0:
        return Reason("it lies outside of its recording")
    span = spans.get(segment["id"])
    if isinstance(span, Reason):
        return span
    return (start + span[0], min(span[1], duration) - span[0]) if span else (start, duration)


def _unusable(part: tuple[float, float], role: str, config: CutsConfig) -> Reason | None:
    """Why an utterance is left out; None where it stays."""
    if part[1] < SHORTEST and role != "rir":
        return Reason("shorter than one frame")
    if role == "train" and part[1] < config.min_duration:
        return Reason(f"shorter than {config.min_duration:g} s")
    return None


def cut_out(
    segment: dict, recording: dict, part: tuple[float, float], role: str, config: CutsConfig
) -> Iterator[dict[str, Any]]:
    """The cuts of one utterance, as `lhotse.MonoCut.to_dict` gives them; see `make_cuts`.

    What is longer than `max_duration` becomes windows of equal length, `<id>-w1`, `<id>-w2`, ...: with a remainder the
    last one would be short. A room with several channels becomes `<id>-c1`, `<id>-c2`, ...
    """
    rate, (start, duration) = config.sampling_rate, part
    channels = segment["channel"] if isinstance(segment["channel"], list) else [segment["channel"]]
    if role != "rir":
        channels = [channels[min(config.channel, len(channels) - 1)]]
    if recording["sampling_rate"] != rate:
        from lhotse import Recording

        recording = Recording.from_dict(dict(recording)).resample(rate).to_dict()
    windows = 1
    if role in ("train", "clips") and duration > config.max_duration:
        windows = math.ceil(duration / config.max_duration)
    edges = [start + round(duration * rate * number / windows) / rate for number in range(windows)]
    ends = [*edges[1:], start + duration]
    for channel in channels:
        for number, (begin, end) in enumerate(zip(edges, ends, strict=True), start=1):
            id = segment["id"]
            id += f"-c{channel + 1}" if len(channels) > 1 else ""
            id += f"-w{number}" if windows > 1 else ""
            seconds = duration if windows == 1 else round(end - begin, 8)
            heard: dict[str, Any] = {"id": id, "recording_id": recording["id"], "start": 0.0, "duration": seconds}
            heard["channel"] = channel
            if role == "eval":
                heard |= {key: segment[key] for key in ("speaker", "gender", "custom") if segment.get(key) is not None}
            yield {
                "id": id,
                "start": begin if windows == 1 else round(begin, 8),
                "duration": seconds,
                "channel": channel,
                "supervisions": [heard] if role in ("train", "eval") else [],
                "recording": recording,
                "type": "MonoCut",
            }


def segments(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every utterance with its recording, sorted by id; a set without supervisions has its recordings whole.

    A million recordings are kept as lines of JSON, a tenth of what they take as objects.
    """
    recordings: dict[str, bytes] = {}
    for row, line in _rows(folder / "recordings.jsonl.gz"):
        if row["id"] in recordings:
            raise SdpnError(f"{folder}/recordings.jsonl.gz: two recordings have the id {row['id']}")
        recordings[row["id"]] = line
    supervisions = folder / "supervisions.jsonl.gz"
    last = None
    for segment in _sorted_rows(supervisions) if supervisions.exists() else _whole(recordings):
        if segment["id"] == last:
            raise SdpnError(f"{supervisions}: two utterances have the id {segment['id']}")
        last = segment["id"]
        if segment["recording_id"] not in recordings:
            raise SdpnError(
                f"{supervisions}: {segment['id']} names the recording {segment['recording_id']}, which is missing"
            )
        yield segment, json.loads(recordings[segment["recording_id"]])


def _whole(recordings: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    for id in sorted(recordings, key=str.encode):
        row = json.loads(recordings[id])
        yield {"id": id, "recording_id": id, "start": 0.0, "duration": row["duration"], "channel": row["channel_ids"]}


def _sorted_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows sorted by id: as they come where they are, which stage 0 sees to."""
    last = b""
    for row, _ in _rows(path):
        if row["id"].encode() < last:
            yield from sorted((row for row, _ in _rows(path)), key=lambda row: row["id"].encode())
            return
        last = row["id"].encode()
    for row, _ in _rows(path):
        yield row


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                yield json.loads(line), line
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile):
        raise SdpnError(f"{path} is damaged: remove it and run stage 0 again") from None


def _read_spans(folder: Path) -> dict[str, tuple[float, float] | Reason]:
    """Begin and end (s) of the speech in each utterance, or why there is none; see `vad.find_speech`."""
    spans = json.loads((folder / "speech.json").read_text(encoding="utf-8"))["spans"]
    return {id: Reason(*span) if isinstance(span[0], str) else tuple(span) for id, span in spans.items()}


def check_speakers(data: Path, corpus: Corpus) -> None:
    """Make sure that nobody is both trained on and evaluated, where both have labels.

    Raises:
        SdpnError: the training set and an evaluation set share speakers; some are named.
    """
    speakers = {name: _speakers(data / name) for name in [corpus.train, *corpus.evals]}
    refuse_shared_speakers(speakers, data)


def _speakers(folder: Path) -> set[str | None]:
    path = folder / "supervisions.jsonl.gz"
    return {row.get("speaker") for row, _ in _rows(path)} if path.exists() else set()
