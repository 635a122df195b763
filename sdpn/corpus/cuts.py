"""Stage 1: the cuts of a set, one an utterance, from its recordings and supervisions."""

import json
import math
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
from sdpn.corpus.manifests import read_set, read_speakers
from sdpn.corpus.writer import refuse_shared_speakers
from sdpn.errors import Reason, SdpnError
from sdpn.files import exclusive, jsonl_gz_writer, write_text
from sdpn.shards import Work
from sdpn.skipped import Skipped, count_reasons, read_skipped, refuse_many_skipped, write_skipped
from sdpn.utterance import Utterance

# s, one analysis window: there is no frame of fbank in anything shorter
SHORTEST = 0.025
ROLES = ("train", "eval", "clips", "rir")
_LIMITS = ("min_duration", "max_duration")
_LABELS = {"train": "utt2spk.oracle", "eval": "utt2spk"}


@dataclass
class Tally:
    """What became of the utterances of a set.

    Attributes:
        utterances, cuts, seconds, speakers: what is used; no speakers where there are no labels.
        longest: seconds of the longest cut.
        skipped: utterances left out, by the kind of the reason, those of stage 0 included.
        windowed: utterances (or clips) that became several cuts.
        trimmed: seconds of silence cut off.
        resampled: recordings of another sampling rate, by that rate (as text, for JSON).
        several_channels: recordings with more than one channel.
    """

    utterances: int = 0
    cuts: int = 0
    seconds: float = 0.0
    longest: float = 0.0
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
    if not (folder / "recordings.jsonl.gz").exists():
        raise SdpnError(f"{folder}/recordings.jsonl.gz is missing: run stage 0 first")
    if has_features:
        config = replace(config, max_duration=math.inf)
    if role not in ("train", "eval"):  # silence in a noise is part of it
        config = replace(config, trim_silence=False)
    with exclusive(folder):
        work = Work(folder, "cuts", _inputs(folder, role, config))
        reason = work.stale_reason()
        if reason is None:
            return name, None, Tally(**work.report())
        if work.is_new():
            reason = "new"
        tally, labels = Tally(), []
        skipped = read_skipped(folder / "skipped_files.tsv")
        with jsonl_gz_writer(folder / "cuts.jsonl.gz") as write:
            for cut in _in_order(_cut_all(folder, role, config, tally, skipped), folder):
                if cut.speaker is not None:
                    labels.append((cut.id, cut.speaker))
                write(cut.cut_entry(labels=role != "train"))
                tally.cuts += 1
                tally.seconds += cut.duration
                tally.longest = max(tally.longest, cut.duration)
            # The cuts are complete, but not under their name: what was there is touched only if these may replace it
            listing = folder / "skipped.tsv"
            listing.unlink(missing_ok=True)
            if skipped:
                write_skipped(listing, skipped)
            tally.skipped = count_reasons(skipped)
            _refuse_unusable(folder, tally, config)
            work.begin()
        tally.speakers = len({speaker for _, speaker in labels})
        outputs = [folder / "cuts.jsonl.gz", *([listing] if skipped else []), *_write_labels(folder, role, labels)]
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


def _inputs(folder: Path, role: str, config: CutsConfig) -> dict[str, Any]:
    """What the cuts of a set are made from, for `Work.inputs`."""
    files = ["recordings.jsonl.gz", "supervisions.jsonl.gz", "skipped_files.tsv"]
    files += ["speech.json"] if config.trim_silence else []
    limits = {"train": _LIMITS, "clips": ("max_duration",)}.get(role, ())
    settings = {
        key: value
        for key, value in to_dict(config).items()
        if (config.trim_silence or not key.startswith("vad_")) and (key in limits or key not in _LIMITS)
    }
    return {
        **{name.split(".")[0]: folder / name for name in files},
        "role": role,
        "cuts": settings,
        "Lhotse's version": version("lhotse"),
    }


def _cut_all(
    folder: Path, role: str, config: CutsConfig, tally: Tally, skipped: list[Skipped]
) -> Iterator[tuple[str, list[Utterance]]]:
    """The id of every utterance of a set, sorted, and its cuts; who has none joins `skipped`, the others `tally`."""
    spans = _read_spans(folder) if config.trim_silence else {}
    for utterance in read_set(folder):
        used = _used_part(utterance, spans.get(utterance.id), role, config)
        if isinstance(used, Reason):
            skipped.append(Skipped(utterance.id, used))
            continue
        cuts = cut_out(used, role, config)
        tally.utterances += 1
        tally.trimmed += utterance.duration - used.duration if spans else 0.0
        if utterance.sampling_rate != config.sampling_rate:
            tally.resampled[str(utterance.sampling_rate)] += 1
        tally.several_channels += utterance.num_channels > 1
        tally.windowed += role != "rir" and len(cuts) > 1
        yield utterance.id, cuts


def _used_part(
    utterance: Utterance, span: tuple[float, float] | Reason | None, role: str, config: CutsConfig
) -> Utterance | Reason:
    """The part of an utterance that is used: within its recording and, where `span` is given, its speech alone.

    Or why it is left out.
    """
    if isinstance(span, Reason):
        return span
    part = utterance.within_recording()
    if isinstance(part, Reason):
        return part
    if span is not None:
        part = part.changed(start=part.start + span[0], duration=min(span[1], part.duration) - span[0])
    if part.duration < SHORTEST and role != "rir":
        return Reason("shorter than one frame")
    if role == "train" and part.duration < config.min_duration:
        return Reason(f"shorter than {config.min_duration:g} s")
    return part


def cut_out(utterance: Utterance, role: str, config: CutsConfig) -> list[Utterance]:
    """The cuts of one utterance; see `make_cuts`.

    What is longer than `max_duration` becomes windows of equal length, `<id>-w1`, `<id>-w2`, ...: with a remainder the
    last one would be short. A room with several channels becomes `<id>-c1`, `<id>-c2`, ...
    """
    rate, start, duration = config.sampling_rate, utterance.start, utterance.duration
    channels = utterance.channels
    if role != "rir":
        channels = [channels[min(config.channel, len(channels) - 1)]]
    is_speech, whole = role in ("train", "eval"), utterance.resampled(rate)
    if (whole.is_speech, whole.channel) != (is_speech, channels[0]):
        whole = whole.changed(is_speech=is_speech, channel=channels[0])
    windows = 1
    if role in ("train", "clips") and duration > config.max_duration:
        windows = math.ceil(duration / config.max_duration)
    if windows == len(channels) == 1:
        return [whole]
    edges = [start + round(duration * rate * number / windows) / rate for number in range(windows)]
    ends = [*edges[1:], start + duration]
    cuts = []
    for channel in channels:
        for number, (begin, end) in enumerate(zip(edges, ends, strict=True), start=1):
            id = whole.id + (f"-c{channel + 1}" if len(channels) > 1 else "") + (f"-w{number}" if windows > 1 else "")
            part = whole.changed(id=id, recording=whole.recording_id, channel=channel)
            if windows > 1:
                part.start, part.duration = round(begin, 8), round(end - begin, 8)
            cuts.append(part)
    return cuts


def _in_order(utterances: Iterable[tuple[str, list[Utterance]]], folder: Path) -> Iterator[Utterance]:
    """All cuts, sorted by their ids; they come sorted by those of the utterances.

    These orders differ: `a-1` lies between `a` and its window `a-w1`. A cut waits until no smaller id can come.

    Raises:
        SdpnError: two cuts have one id.
    """
    waiting: list[tuple[bytes, int, Utterance]] = []
    last, count = None, 0
    for id, cuts in chain(utterances, [(None, [])]):
        reached = None if id is None else id.encode()
        while waiting and (reached is None or waiting[0][0] < reached):
            name, _, cut = heappop(waiting)
            if name == last:
                raise SdpnError(f"{folder}: two cuts have the id {cut.id}: rename one of the utterances")
            last = name
            yield cut
        for cut in cuts:
            count += 1
            heappush(waiting, (cut.id.encode(), count, cut))


def _refuse_unusable(folder: Path, tally: Tally, config: CutsConfig) -> None:
    """Make sure that a set can be worked with.

    Raises:
        SdpnError: there are no cuts, or too many utterances are left out.
    """
    if not tally.cuts:
        reasons = ", ".join(f"{count} {kind}" for kind, count in tally.skipped.items()) or "there are none"
        raise SdpnError(f"{folder}: none of its utterances can be used: {reasons}")
    total = tally.utterances + tally.skipped.total()
    refuse_many_skipped(str(folder), tally.skipped, total, config.max_skipped, folder / "skipped.tsv")


def _write_labels(folder: Path, role: str, labels: list[tuple[str, str]]) -> list[Path]:
    """Write who speaks; return the file, or nothing where that is not known."""
    if role not in _LABELS:
        return []
    path = folder / _LABELS[role]
    path.unlink(missing_ok=True)
    if not labels:
        return []
    write_text(path, "".join(f"{id} {speaker}\n" for id, speaker in labels))
    return [path]


def _read_spans(folder: Path) -> dict[str, tuple[float, float] | Reason]:
    """Begin and end (s) of the speech in each utterance, or why there is none; see `vad.find_speech`."""
    spans = json.loads((folder / "speech.json").read_text(encoding="utf-8"))["spans"]
    return {id: Reason(*span) if isinstance(span[0], str) else tuple(span) for id, span in spans.items()}


def check_speakers(data: Path, corpus: Corpus) -> None:
    """Make sure that nobody is both trained on and evaluated, where both have labels.

    Raises:
        SdpnError: the training set and an evaluation set share speakers; some are named.
    """
    sets = [corpus.train, *corpus.evals]
    checked = Work(data, "speakers", {name: data / name / "supervisions.jsonl.gz" for name in sets})
    if checked.stale_reason() is not None:
        checked.begin()
        refuse_shared_speakers({name: read_speakers(data / name) for name in sets}, data)
        checked.finish([])
