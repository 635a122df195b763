"""Lhotse manifests of a set: what stage 0 writes, the same bytes whenever it is asked for the same."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sdpn.console import counted
from sdpn.errors import SdpnError
from sdpn.files import jsonl_gz_writer, read_jsonl_gz, write_jsonl_gz
from sdpn.utterance import Utterance, in_order

_REMEDY = "run stage 0 again"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def refuse_equal_ids(utterances: Iterable[Utterance], where: str) -> None:
    """Make sure that every utterance has an id of its own.

    Raises:
        SdpnError: two have one id; the sentence counts them and names the two places of the first.
    """
    places: dict[str, str] = {}
    twice: list[Utterance] = []
    for utterance in utterances:
        if utterance.id in places:
            twice.append(utterance)
        else:
            places[utterance.id] = utterance.source
    if twice:
        utterance, first = twice[0], places[twice[0].id]
        raise SdpnError(
            f"{where}: {len(twice)} ids are used twice, e.g. {utterance.id} for {first} and for {utterance.source}: "
            "take one of the two away, or name a folder that holds but one of them"
        )


def refuse_control_characters(utterances: Iterable[Utterance], where: str) -> None:
    """Make sure that no id, label or path holds a line end or another control character.

    Tables of Kaldi's have a line for each: what stands behind a line feed would be one of its own, a command even.

    Raises:
        SdpnError: one does; the sentence counts them and names the first.
    """
    found = [text for utterance in utterances for text in _names_of(utterance) if not text.isprintable()]
    found = [text for text in found if _CONTROL.search(text)]
    if found:
        raise SdpnError(
            f"{where}: {len(found)} names hold a line end or another control character, the first {found[0][:80]!r}: "
            "give these files, utterances or speakers other names"
        )


def _names_of(utterance: Utterance) -> Iterator[str]:
    yield from {utterance.id, utterance.recording_id}
    yield from (label for label in (utterance.speaker, utterance.session) if isinstance(label, str))
    yield from (source for source in utterance.sources() if isinstance(source, str))


def summary(utterances: Iterable[Utterance]) -> str:
    """E.g. "200 speakers, 1800 utterances, 1.58 h"; no speakers where there are no labels."""
    utterances = list(utterances)
    speakers = {utterance.speaker for utterance in utterances} - {None}
    hours = sum(utterance.duration for utterance in utterances) / 3600
    labels = f"{counted(len(speakers), 'speaker')}, " if speakers else "no speaker labels, "
    return f"{labels}{counted(len(utterances), 'utterance')}, {hours:.2f} h"


def write_set(set_dir: str | Path, utterances: Iterable[Utterance], speech: bool = True) -> list[Path]:
    """Write `recordings.jsonl.gz` and, for speech, `supervisions.jsonl.gz` into `set_dir`; return their paths.

    A supervision of a whole recording has its id; the session stands in `custom`. Lhotse reads both with
    `RecordingSet.from_file` and `SupervisionSet.from_file`, and writes the same from its own objects (there is a test):
    these dictionaries are made without them because they take ten times as long. Paths are absolute, so that any later
    command finds the audio wherever it is started. Both files are sorted by id.
    """
    utterances = in_order(utterances)
    recordings = Path(set_dir) / "recordings.jsonl.gz"
    supervisions = Path(set_dir) / "supervisions.jsonl.gz"
    whole = utterances
    if any(utterance.recording is not None for utterance in utterances):  # every recording once
        by_id = {utterance.recording_id: utterance for utterance in utterances}
        whole = [by_id[id] for id in sorted(by_id, key=str.encode)]
    with jsonl_gz_writer(recordings) as write:
        for utterance in whole:
            entry = utterance.recording_entry()
            for source in entry["sources"]:
                if source["type"] == "file":
                    source["source"] = os.path.abspath(source["source"])
            write(entry)
    if not speech:
        return [recordings]
    write_jsonl_gz(supervisions, (utterance.supervision_entry() for utterance in utterances))
    return [recordings, supervisions]


def read_set(set_dir: Path) -> Iterator[Utterance]:
    """Read every utterance of a set, sorted by id; a set without supervisions has its recordings whole.

    Raises:
        SdpnError: the manifests are damaged or do not fit together.
    """
    recordings: dict[str, Utterance] = {}
    for entry in read_jsonl_gz(set_dir / "recordings.jsonl.gz", _REMEDY):
        if entry["id"] in recordings:
            raise SdpnError(f"{set_dir}/recordings.jsonl.gz: two recordings have the id {entry['id']}")
        recordings[entry["id"]] = Utterance.of_recording(entry)
    supervisions = set_dir / "supervisions.jsonl.gz"
    if not supervisions.exists():
        yield from in_order(recordings.values())
        return
    last = None
    for entry in _sorted_by_id(supervisions):
        if entry["id"] == last:
            raise SdpnError(f"{supervisions}: two utterances have the id {entry['id']}")
        last = entry["id"]
        recording = recordings.get(entry["recording_id"])
        if recording is None:
            raise SdpnError(
                f"{supervisions}: {entry['id']} names the recording {entry['recording_id']}, which is missing"
            )
        yield recording.supervised(entry)


def _sorted_by_id(path: Path) -> Iterator[dict[str, Any]]:
    """The entries sorted by id: as they come where they are, which stage 0 sees to."""
    last = b""
    for entry in read_jsonl_gz(path, _REMEDY):
        if entry["id"].encode() < last:
            yield from sorted(read_jsonl_gz(path, _REMEDY), key=lambda entry: entry["id"].encode())
            return
        last = entry["id"].encode()
    yield from read_jsonl_gz(path, _REMEDY)


def read_speakers(set_dir: Path) -> set[str | None]:
    """Read who speaks in a set; None among them where an utterance has no label."""
    path = set_dir / "supervisions.jsonl.gz"
    return {entry.get("speaker") for entry in read_jsonl_gz(path, _REMEDY)} if path.exists() else set()
