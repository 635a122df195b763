"""What the headers of audio files say: sampling rate, length, channels; never by decoding, and once for each file."""

import json
import os
import stat
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import soundfile

from sdpn.audio import faults
from sdpn.audio.decoders import ffmpeg, mp3, mp4
from sdpn.audio.files import AudioFile, fingerprint
from sdpn.console import Progress
from sdpn.errors import UnusableError
from sdpn.files import digest, file_digest, write_text
from sdpn.reasons import Reason

_FILES_PER_JOB = 2000
# Sizes that mean "until the end of the file": what sox, ffmpeg and others write into a pipe
_OPEN_END = 0x7FFFF000
# Hz: slower than any telephone, faster than any microphone is no recording of speech
_RATES = (2000, 768000)
# A second, less than even silence takes in FLAC: a damaged header may promise weeks
_FEWEST_BYTES = 20


class Header(NamedTuple):
    """What an audio file's header says."""

    sampling_rate: int
    num_samples: int
    num_channels: int


def probe(
    files: Sequence[AudioFile], run: Callable[..., Iterable], title: str, cache: Path | None = None
) -> list[Header | Reason]:
    """The header of each file, or the reason why it cannot be used, in the order of `files`.

    Files are dealt with in shards, a folder's together; which shard a folder is in depends on its name alone. What a
    shard gave is kept in `cache` as soon as it is whole, and used again while none of its files has changed.

    Args:
        run: yields `function(*job)` for every job, e.g. `partial(sdpn.cluster.pool.run_jobs, nj=4)`.
        cache: a folder; None keeps nothing.
    """
    shards: dict[int, list[int]] = defaultdict(list)
    count = 1
    while count * _FILES_PER_JOB < len(files):
        count *= 2
    for place, file in enumerate(files):
        shards[zlib.crc32(os.path.dirname(file.raw).encode()) % count].append(place)
    results: list[Any] = [None] * len(files)
    jobs = (
        (
            number,
            [files[place] for place in shards[number]],
            None if cache is None else cache / f"{count}.{number}.json",
        )
        for number in sorted(shards)
    )
    with Progress(title, len(files), "files") as progress:
        for number, found in run(_probe_shard, list(jobs)):
            for place, one in zip(shards[number], found, strict=True):
                results[place] = from_json(one)
            progress.advance(len(found))
    for old in cache.glob("*.json") if cache else ():  # of another number of shards
        if not old.name.startswith(f"{count}."):
            old.unlink()
    return results


def _probe_shard(number: int, files: list[AudioFile], kept: Path | None) -> tuple[int, list]:
    stamp = fingerprint(files)
    if kept is not None:
        try:
            known = json.loads(kept.read_text(encoding="utf-8"))
            if (known["files"], known["reader"]) == (stamp, _reader()):
                return number, known["headers"]
        except (FileNotFoundError, ValueError, KeyError):
            pass
    headers = [read_header(file.path) for file in files]
    if kept is not None:
        record = {"files": stamp, "reader": _reader(), "headers": headers}
        write_text(kept, json.dumps(record, ensure_ascii=False))
    return number, headers


@lru_cache
def _code() -> str:
    modules = (__file__, ffmpeg.__file__, mp3.__file__, mp4.__file__)
    return digest([file_digest(module) for module in modules], soundfile.__libsndfile_version__)


def _reader() -> list:
    """What headers depend on beside the files: this code, libsndfile, and whether there is ffmpeg."""
    return [_code(), ffmpeg.available()]


def from_json(found: Sequence) -> Header | Reason:
    """Read a header or a reason again from the list that JSON makes of it."""
    return Reason(*found) if isinstance(found[0], str) else Header(*found)


def read_header(path: str | Path) -> Header | Reason:
    """Read what the header of an audio file says; a Reason where the file cannot be used."""
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            return Reason(faults.NOT_REGULAR)  # a pipe that nobody writes into is waited for until then
        with open(path, "rb") as opened:  # libsndfile's word for a file that may not be opened is "System error"
            start = opened.read(12)
            if not start:
                return Reason("the file is empty")
            if ffmpeg.needed(path, start):
                ffmpeg.refuse_without(path)
                return _checked(path, *ffmpeg.read_header(path))
            cut = _cut_off(opened, start)
            if cut:
                return cut
        info = soundfile.info(path)
    except UnusableError as error:
        return error.reason
    except OSError as error:
        return Reason(error.strerror.lower())
    except UnicodeEncodeError:
        return Reason("its name is not UTF-8")
    except TypeError:  # soundfile goes by the name: .raw
        return Reason(faults.NOT_AUDIO, "samples without a header")
    except soundfile.LibsndfileError as error:
        return Reason(faults.NOT_AUDIO, error.error_string.rstrip("."))
    if info.frames >= 2**48:  # libsndfile's mark for a length that the header does not tell
        return Reason("the header does not tell its length")
    return _checked(path, info.samplerate, info.frames, info.channels)


def _checked(path: str | Path, sampling_rate: int, num_samples: int, num_channels: int) -> Header | Reason:
    if num_samples <= 0 or num_channels <= 0:
        return Reason(faults.NO_SAMPLES)
    if not _RATES[0] <= sampling_rate <= _RATES[1]:
        return Reason("the header gives an impossible sampling rate", f"{sampling_rate} Hz")
    seconds, size = num_samples / sampling_rate, os.path.getsize(path)
    if seconds > 60 + size / _FEWEST_BYTES:
        return Reason("the header gives an impossible length", f"{seconds:.0f} s in {size} bytes")
    return Header(sampling_rate, num_samples, num_channels)


def _cut_off(opened: BinaryIO, start: bytes) -> Reason | None:
    """Why a WAV file that is shorter than it says is refused, None for any other: libsndfile takes what is there."""
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        return None
    size = os.fstat(opened.fileno()).st_size
    place, per_second, per_sample = 12, 0, 1
    while len(head := opened.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        place += 8
        if kind == b"data":
            missing = place + length - size
            if length >= _OPEN_END or missing < per_sample:
                return None
            if per_second:
                said, there = length / per_second, (size - place) / per_second
                return Reason(faults.CUT_OFF, f"its header says {said:.2f} s, {there:.2f} s are there")
            return Reason(faults.CUT_OFF, "it is shorter than its header says")
        if kind == b"fmt ":
            form = opened.read(min(length, 16))
            if len(form) == 16:
                per_second, per_sample = struct.unpack_from("<IH", form, 8)
        place += length + length % 2
        opened.seek(place)
    return Reason(faults.CUT_OFF, "there is no sound behind its header") if place >= size else None
