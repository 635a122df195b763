"""Kaldi data directories out, as utils/validate_data_dir.sh accepts them: sorted in the C locale, nothing missing."""

import gzip
import json
import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from sdpn.audio.route import PLAIN, route_of
from sdpn.corpus.kaldi_dir import read_features
from sdpn.errors import SdpnError
from sdpn.files import write_text
from sdpn.tables import read_map
from sdpn.utterance import round_half_up

FILES = ("wav.scp", "segments", "utt2spk", "spk2utt", "utt2dur", "reco2dur", "spk2gender", "feats.scp")
_MARK = ".exported"  # tells what was exported from what somebody made


@dataclass(frozen=True)
class Exported:
    """What was written: utterances, speakers, and utterances left out because they have no features."""

    utterances: int
    speakers: int
    left_out: int


def export_kaldi_dir(set_dir: Path, out: Path, oracle: bool) -> Exported:
    """Write the cuts of a set as a Kaldi data directory.

    A mono 16-bit WAV at the cuts' sampling rate is named as it is; anything else becomes a command that runs ffmpeg.
    Where utterance ids do not begin with their speakers in such a way that both orders agree, which Kaldi insists on,
    the speaker is put before each id. Where there are no labels, every utterance is a speaker of its own, as usual in
    Kaldi. `feats.scp` goes along where stage 2 has written one.

    Args:
        set_dir: e.g. data/eval, after stage 1.
        out: the folder to write.
        oracle: for the training set: take the labels kept aside in utt2spk.oracle.

    Raises:
        SdpnError: `out` is itself a set, or a data directory that was not exported before; stage 1 has not been run,
            there are no oracle labels, or ids cannot be brought into Kaldi's order.
    """
    if (out / "recordings.jsonl.gz").exists():
        raise SdpnError(f"{out} is a set of the recipe, whose files would be overwritten: name another folder")
    if (out / "wav.scp").exists() and not (out / _MARK).exists():
        raise SdpnError(f"{out} is a data directory that was not exported before: name another folder, or remove it")
    cuts = list(_cuts(set_dir / "cuts.jsonl.gz"))
    features = read_features(set_dir) if (set_dir / "feats.scp").is_file() else None
    kept = [cut for cut in cuts if features is None or cut["id"] in features]
    speakers = _speakers(set_dir, kept, oracle)
    names = _names(speakers)
    tables: dict[str, dict[str, str]] = {name: {} for name in FILES}
    whole = all(_is_whole(cut) for cut in kept)
    for cut in kept:
        recording, name = cut["recording"], names[cut["id"]]
        source = name if whole else recording["id"] + (f"-c{cut['channel'] + 1}" if cut["channel"] else "")
        if source not in tables["wav.scp"]:
            tables["wav.scp"][source] = _rxfilename(recording, cut["channel"])
            tables["reco2dur"][source] = f"{recording['duration']:.6f}"
        if not whole:
            rate = recording["sampling_rate"]
            first = round_half_up(cut["start"] * rate)
            last = first + round_half_up(cut["duration"] * rate)
            tables["segments"][name] = f"{source} {_seconds(first, rate)} {_seconds(last, rate)}"
        tables["utt2spk"][name] = speakers[cut["id"]]
        tables["utt2dur"][name] = f"{cut['duration']:.6f}"
        if features is not None:
            tables["feats.scp"][name] = features[cut["id"]]
    spk2utt: dict[str, list[str]] = defaultdict(list)
    for name in sorted(tables["utt2spk"], key=str.encode):
        spk2utt[tables["utt2spk"][name]].append(name)
    tables["spk2utt"] = {speaker: " ".join(own) for speaker, own in spk2utt.items()}
    tables["spk2gender"] = _genders(kept, speakers)
    write_text(out / _MARK, f"{set_dir.resolve()}\n")
    for file, table in tables.items():
        (out / file).unlink(missing_ok=True)
        if table:
            write_text(out / file, "".join(f"{key} {table[key]}\n" for key in sorted(table, key=str.encode)))
    return Exported(len(kept), len(spk2utt), len(cuts) - len(kept))


def _cuts(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise SdpnError(f"{path} is missing: run stages 0 and 1 first, and name the folder of one set, e.g. data/eval")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
    except (EOFError, ValueError, OSError):
        raise SdpnError(f"{path} is damaged: remove it and run stage 1 again") from None


def _speakers(set_dir: Path, cuts: list[dict], oracle: bool) -> dict[str, str]:
    """The speaker of every utterance, itself where that is not known."""
    path = set_dir / ("utt2spk.oracle" if oracle else "utt2spk")
    if oracle and not path.is_file():
        raise SdpnError(f"{path} is missing: the corpus has no labels, or this is not its training set")
    known = read_map(path, "table of speakers", optional=True)
    return {cut["id"]: known.get(cut["id"], cut["id"]) for cut in cuts}


def _names(speakers: Mapping[str, str]) -> dict[str, str]:
    """The id of every utterance in Kaldi: its own, or with the speaker before it, so that both sort alike."""
    for form in ("{0}", "{1}-{0}", "{1}!{0}"):  # no printable character sorts before !
        names = {id: form.format(id, speaker) for id, speaker in speakers.items()}
        in_order = sorted(names, key=lambda id: names[id].encode())
        if in_order == sorted(names, key=lambda id: (speakers[id].encode(), names[id].encode())):
            return names
    raise SdpnError("the speakers' ids cannot be put before the utterances' so that both sort alike, as Kaldi asks for")


def _genders(cuts: list[dict], speakers: Mapping[str, str]) -> dict[str, str]:
    """By speaker; nothing unless all are known."""
    genders = {}
    for cut in cuts:
        gender = next((heard.get("gender") for heard in cut["supervisions"]), None)
        if gender:
            genders[speakers[cut["id"]]] = gender
    return genders if genders.keys() == set(speakers.values()) else {}


def _is_whole(cut: dict[str, Any]) -> bool:
    recording = cut["recording"]
    same = cut["start"] == 0 and abs(cut["duration"] - recording["duration"]) < 1 / recording["sampling_rate"]
    return same and cut["id"] == recording["id"]


def _seconds(sample: int, rate: int) -> str:
    """Seconds with six decimals, of which Kaldi's extract-segments, which cuts the fraction off, makes that sample."""
    text = f"{sample / rate:.6f}"
    return text if int(float(text) * rate) == sample else f"{sample / rate + 1e-6:.6f}"


def _rxfilename(recording: dict[str, Any], channel: int) -> str:
    """How Kaldi gets at one channel of a recording.

    Raises:
        SdpnError: Lhotse alone can read it, since it is changed when it is read, or is no single file or command; or
            several streams are joined in the file.
    """
    source, changes = recording["sources"][0], [one["name"] for one in recording.get("transforms") or []]
    several_sources = len(recording["sources"]) > 1
    if several_sources or source["type"] not in ("file", "command") or changes not in ([], ["Resample"]):
        how = ", ".join(changes) or ("several files" if several_sources else source["type"])
        raise SdpnError(
            f"Lhotse alone can read the recording {recording['id']} ({how}), which Kaldi cannot: write it to a file "
            "first, with Lhotse's save_audios"
        )
    several, rate = len(recording["channel_ids"]) > 1, recording["sampling_rate"]
    resampled = bool(recording.get("transforms"))
    filters = [f"pan=mono|c0=c{channel}"] if several else []
    path = source["source"]
    if source["type"] == "command":
        return f"{path} | ffmpeg -v error -i -{_form(filters, rate)}" if several or resampled else f"{path} |"
    route = route_of(path) if os.path.isfile(path) else PLAIN  # it may lie on the machine that Kaldi runs on
    if route == PLAIN and not several and not resampled and path.lower().endswith(".wav") and _is_pcm16(path):
        return path
    if len(route.parts) > 1:
        raise SdpnError(
            f"{path}: {len(route.parts)} streams are joined in it, of which the program ffmpeg, which Kaldi would run, "
            "reads other samples than stage 2: write it to a WAV file first"
        )
    if route.by_ffmpeg and not resampled:  # the program alone leaves what an encoder put behind the end
        filters.append(f"atrim=end_sample={recording['num_samples']}")
    return f"ffmpeg -v error -nostdin -i {shlex.quote(path)}{_form(filters, rate)}"


def _form(filters: list[str], rate: int) -> str:
    """What makes of anything that ffmpeg reads the WAV that Kaldi reads."""
    chain = f" -af '{','.join(filters)}'" if filters else ""
    return f"{chain} -ar {rate} -c:a pcm_s16le -f wav - |"


def _is_pcm16(path: str) -> bool:
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return False
    return info.format in ("WAV", "WAVEX") and info.subtype == "PCM_16"
