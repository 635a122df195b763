"""What there is in audio files: sampling rate, length, channels; looked up once for each file."""

import os
import stat
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import soundfile

from sdpn.audio import faults, read, route
from sdpn.audio.decoders import adts, chunks, container, ffmpeg, flac, mp4, mpeg, ogg, parts
from sdpn.audio.files import AudioFile, fingerprint
from sdpn.audio.read import UNTOLD, Header, measure, open_plain, sum_of_parts
from sdpn.audio.route import START, Route, find_route
from sdpn.console import Progress
from sdpn.errors import Reason, UnusableError
from sdpn.files import digest, file_digest, read_record, write_record

_FILES_PER_JOB = 2000
# Hz: slower than any telephone, faster than any microphone is no recording of speech
_RATES = (2000, 768000)
# A second, less than even silence takes in FLAC: a damaged header may promise weeks
_FEWEST_BYTES = 20


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
    if kept is None:
        return number, [read_header(file.path) for file in files]
    inputs = {"files": fingerprint(files), "reader": _reader()}
    try:
        known = read_record(kept, (*inputs, "headers"))
        if {name: known[name] for name in inputs} == inputs:
            return number, known["headers"]
    except (FileNotFoundError, ValueError):
        pass
    headers = [read_header(file.path) for file in files]
    write_record(kept, {**inputs, "headers": headers})
    return number, headers


def _reader() -> list:
    """What headers depend on beside the files: this code, libsndfile, and whether there is ffmpeg."""
    own = (adts, chunks, container, ffmpeg, flac, mp4, mpeg, ogg, parts, read, route)
    code = [file_digest(file) for file in (__file__, *(module.__file__ for module in own))]
    return [digest(code, soundfile.__libsndfile_version__), ffmpeg.available()]


def from_json(found: Sequence) -> Header | Reason:
    """Read a header or a reason again from the list that JSON makes of it."""
    return Reason(*found) if isinstance(found[0], str) else Header(*found)


def read_header(path: str | Path) -> Header | Reason:
    """Find out what there is in an audio file; a Reason where the file cannot be used.

    The header says it. A file whose header does not is decoded once: FLAC and WAV from a pipe, recordings of browsers,
    and most of what ffmpeg alone reads.
    """
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            return Reason(faults.NOT_REGULAR)  # a pipe that nobody writes into is waited for until then
        with open(path, "rb") as opened:  # libsndfile's word for a file that may not be opened is "System error"
            start = opened.read(START)
            chunks.refuse_faulty(opened, start, path)
            route = find_route(opened, start)
        return _header(path, route)
    except UnusableError as error:
        return error.reason
    except UnicodeEncodeError:
        return Reason("its name is not UTF-8")
    except OSError as error:
        return Reason(error.strerror.lower())
    except soundfile.LibsndfileError as error:
        return Reason(faults.NOT_AUDIO, error.error_string.rstrip("."))


def _header(path: str | Path, route: Route) -> Header | Reason:
    """What the file says, or what is found by reading it, unless that cannot be."""
    if route.by_ffmpeg:
        header = Header(*ffmpeg.read_header(path))
    elif route.parts:
        header = sum_of_parts(path, route)
    elif (sound := open_plain(path)) is None:
        header = _by_ffmpeg(path)
    else:
        with sound:
            header = Header(sound.samplerate, sound.frames, sound.channels)
        if header.num_samples >= UNTOLD:
            header = measure(path)
    sampling_rate, num_samples, num_channels = header
    if num_samples <= 0 or num_channels <= 0:
        return Reason(faults.NO_SAMPLES)
    if not _RATES[0] <= sampling_rate <= _RATES[1]:
        return Reason("the header gives an impossible sampling rate", f"{sampling_rate} Hz")
    seconds, size = num_samples / sampling_rate, os.path.getsize(path)
    if seconds > 60 + size / _FEWEST_BYTES:
        return Reason("the header gives an impossible length", f"{seconds:.0f} s in {size} bytes")
    return header


def _by_ffmpeg(path: str | Path) -> Header:
    """What ffmpeg finds in a file that libsndfile refuses; where it refuses it too, libsndfile's word counts."""
    try:
        return Header(*ffmpeg.read_header(path))
    except UnusableError as error:
        if error.reason.kind == faults.NOT_AUDIO and "Invalid data" in error.reason.detail:
            soundfile.info(path)
        raise
