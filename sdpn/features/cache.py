"""Filling a feature cache: items in, shards of feature files and one index out; resumable at any moment."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from sdpn.audio.decoders import ffmpeg
from sdpn.console import Progress, counted, say, warn
from sdpn.errors import Reason, SdpnError
from sdpn.features.ark import HEADER_BYTES
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.features.index_files import FORMAT, StoredFile, write_index
from sdpn.features.shard import Item, Load, Shard, make_shard
from sdpn.features.storage import KIND_OF, Extent
from sdpn.features.writers import SUFFIXES
from sdpn.files import atomic_path, digest, exclusive, file_stamp, stamps_digest, write_text
from sdpn.shards import Work, completes, prepares
from sdpn.skipped import Skipped, count_reasons, write_skipped

VERSION = 5
"""Of what is computed and how it is stored: where it changes, every cache is made anew."""

_SMALLEST_SHARD = 200
_MOST_SHARDS = 500  # every file of a cache is one that a training holds open


@dataclass(frozen=True)
class Listed:
    """Items that are read only where something is to be made of them: a million take their time.

    Attributes:
        read: gives the items.
        inputs: what they depend on, for `Work.inputs`, e.g. the file that lists them.
        audio: what changes when their audio does; None for sizes and times of all their files.
    """

    read: Callable[[], Sequence[Item]]
    inputs: dict[str, Any]
    audio: str | None = None


def fill(
    directory: Path,
    items: Sequence[Item] | Listed,
    load: Load,
    config: FbankConfig,
    depends: dict[str, Any],
    run: Callable[[Callable, Sequence[tuple]], Iterable[Any]],
    make: Callable[[Shard], int] | None = None,
) -> bool:
    """Make those shards of `directory` that are not done yet or stale, then the index and feats.scp.

    Items are cut into shards in the order of their ids, so the number of jobs changes neither the files nor their
    bytes. An item that cannot be used is left out, counted, and listed in skipped_fbank.txt; what is remarkable about
    others is listed in notes_fbank.txt.

    Args:
        directory: the folder of the set, or of the bank.
        items: what to make features of.
        load: samples of an item at `config.sampling_rate`.
        config: what features to make, and how to store them.
        depends: what the samples of all items depend on besides the items themselves, for `Work.inputs`.
        run: runs a function over jobs, in any order, and yields the results; see also `shards.completes`.
        make: makes a shard, `make_shard` where None.

    Returns:
        Whether anything was made.

    Raises:
        SdpnError: there is no item or none is usable, the disk is full, or another run is writing here.
    """
    if not isinstance(items, Listed):
        given = items
        items = Listed(lambda: given, {"items": digest([item.identity() for item in given])})
    import soundfile

    depends = {
        "fbank": vars(replace(config, shard_size=0)),
        "version of the cache": VERSION,
        "libsndfile's version": soundfile.__libsndfile_version__,
        **depends,
    }
    listing = directory / "index" / "sources.txt.gz"  # so that the next run can look at them without reading the items
    with exclusive(directory) if prepares(run) else nullcontext():
        whole = _whole(directory, items, config, depends, _read_sources(listing))
        if whole.stale_reason() is None:
            say(f"  {directory}: nothing to do, all of it is done ({counted(whole.report()['shards'], 'shard')})")
            return False
        wanted = sorted(items.read(), key=lambda item: item.id.encode())
        if not wanted:
            raise SdpnError(f"{directory}: there is nothing to make features of: the set is empty")
        shards = list(_plan(directory, wanted, load, config, depends))
        todo = [(shard, reason) for shard in shards if (reason := shard.work.stale_reason())]
        for reason in sorted({reason for shard, reason in todo if not shard.work.is_new()}):
            again = sum(one == reason for _, one in todo)
            say(f"  {directory}: {again} of {counted(len(shards), 'shard')} made again: {reason}")
        sources: list[str] = []
        if items.audio is None:  # those of the windows of one recording, which stand together, once
            sources = [path for path, _ in groupby(chain.from_iterable(item.sources() for item in wanted))]
        whole = _whole(directory, items, config, depends, sources)
        if not todo and not whole.is_new():
            say(f"  {directory}: the index is made again: {whole.stale_reason()}")
        if prepares(run):
            whole.begin()
            (directory / "index" / "index.json").unlink(missing_ok=True)  # no one may read new files by the old index
        if len(todo) < len(shards):
            say(f"  {directory}: {len(shards) - len(todo)} of {counted(len(shards), 'shard')} done already")
        with Progress(str(directory), sum(len(shard.items) for shard, _ in todo), "utterances") as progress:
            for count in run(make or make_shard, [(shard,) for shard, _ in todo]):
                progress.advance(count)
        if not completes(run):
            return True
        files = [shard.path for shard in shards]
        outputs, again = _finish(directory, shards)
        if items.audio is None:
            with atomic_path(listing) as temporary:
                paths = "".join(f"{source}\0" for source in sources).encode()
                temporary.write_bytes(gzip.compress(paths, compresslevel=1, mtime=0))
            outputs.append(listing)
        whole.finish([*files, *outputs], checked=files, shards=len(shards), again=again)
    return True


def verify(directory: Path) -> int:
    """Read every feature of a finished cache against its checksum, and have damaged shards made again.

    Returns:
        The number of damaged utterances; each is named, and the shards that hold them count as not done from now on.
    """
    with exclusive(directory):
        index = FeatureIndex.open(directory)  # it is whole: `fill` has seen to that
        damaged = list(index.damaged())
        for utterance, reason in damaged:
            warn(reason)
            for name in (index.path(utterance).stem, "index"):
                Work(directory, name, {}).begin()
    return len(damaged)


def shard_size(config: FbankConfig, num_items: int) -> int:
    """Utterances in a file of the cache: a function of their number alone, whatever the number of jobs."""
    return config.shard_size or max(_SMALLEST_SHARD, -(-num_items // _MOST_SHARDS))


def _whole(directory: Path, items: Listed, config: FbankConfig, depends: dict, sources: list[str]) -> Work:
    """All of a cache as a piece of work; while it holds, so do its shards."""
    own = {"shard_size": config.shard_size, "format of the index": FORMAT}
    own |= _versions(sources, True)
    own["audio"] = stamps_digest(sources) if items.audio is None else items.audio
    return Work(directory, "index", {**depends, **items.inputs, **own})


def _plan(directory: Path, items: Sequence[Item], load: Load, config: FbankConfig, depends: dict) -> Iterator[Shard]:
    size = shard_size(config, len(items))
    for number, first in enumerate(range(0, len(items), size), 1):
        part = items[first : first + size]
        name = f"feats.{number:04d}"
        path = directory / f"{name}.{SUFFIXES[config.feats_type]}"
        paths = (source for item in part for source in item.sources())
        versions = _versions(paths, any(item.is_resampled for item in part))
        inputs = {"utterances": digest([describe(item) for item in part]), **depends, **versions}
        yield Shard(Work(directory, name, inputs), path, part, load, config)


def _versions(paths: Iterable[str], resampled: bool) -> dict[str, str]:
    """The versions of what else the samples of some files go through, where they do."""
    extensions = tuple(ffmpeg.EXTENSIONS)
    found = {"ffmpeg's version": ffmpeg.version()} if any(path.lower().endswith(extensions) for path in paths) else {}
    return {**found, "soxr's version": version("soxr")} if resampled else found


def describe(item: Item) -> Any:
    """All that tells an item from another: its identity, and size and time of every file that it is made from."""
    return [item.identity(), [file_stamp(path) for path in item.sources()]]


def _read_sources(listing: Path) -> list[str]:
    """The files that items were made from; nothing where they cannot be read."""
    try:
        return gzip.decompress(listing.read_bytes()).decode().split("\0")[:-1]
    except (OSError, EOFError, ValueError, zlib.error):
        return []


def _finish(directory: Path, shards: list[Shard]) -> tuple[list[Path], list[str]]:
    """Write index, feats.scp and the lists of what is amiss; remove files of earlier plans.

    Returns:
        the files of the cache beside the shards', and the ids of what may be had another time.
    """
    config = shards[0].config
    entries: list[tuple[str, int, Extent]] = []
    skipped: list[Skipped] = []
    notes: list[Skipped] = []
    again: list[str] = []
    for number, shard in enumerate(shards):
        report = shard.work.report()
        entries += [(id, number, extent) for id, extent in shard.extents()]
        skipped += [Skipped(id, Reason(*reason)) for id, reason in report["skipped"].items()]
        notes += [Skipped(id, Reason(*note)) for id, own in report["notes"].items() for note in own]
        again += report["again"]
    if not entries:
        raise SdpnError(f"{directory}: none of the {len(skipped)} utterances is usable (the first, {skipped[0]})")
    files = [StoredFile(shard.path.name, KIND_OF[config.compress]) for shard in shards]
    outputs = write_index(directory, files, entries, config)
    if config.feats_type == "ark":
        lines = [
            f"{name} {directory / files[file].name}:{extent.offset - HEADER_BYTES[extent.kind]}\n"
            for name, file, extent in sorted(entries, key=lambda entry: entry[0].encode())
        ]
        write_text(directory / "feats.scp", "".join(lines))
        outputs.append(directory / "feats.scp")
    else:
        (directory / "feats.scp").unlink(missing_ok=True)
    left_out, kept = "left out, listed with the reason", "kept but to be looked at, listed"
    outputs += list_items(directory / "skipped_fbank.txt", skipped, f"{directory}: {{}} {left_out}")
    outputs += list_items(directory / "notes_fbank.txt", notes, f"{directory}: {{}} {kept}")
    own = {file.name for file in files} | {"feats.scp"}
    for old in directory.glob("feats.*"):
        if old.name not in own:
            old.unlink()
    for old in (directory / "done").glob("feats.*"):
        if old.stem not in {shard.work.name for shard in shards}:
            old.unlink()
    frames = sum(extent.frames for _, _, extent in entries)
    size = sum(shard.path.stat().st_size for shard in shards)
    hours = frames * config.row_seconds / 3600
    rows = "samples" if config.profile == "waveform" else "frames"
    say(
        f"  {directory}: {counted(len(entries), 'utterance')}, {frames} {rows} ({hours:.2f} h) in "
        f"{counted(len(shards), f'{config.feats_type} file')}, {size / 1e6:.1f} MB"
    )
    return outputs, again


def list_items(path: Path, rows: list[Skipped], warning: str) -> list[Path]:
    """Write what `read_skipped` reads, and warn with how many there are of each kind; no file where there are none.

    Returns:
        the file, where there is one.
    """
    path.unlink(missing_ok=True)
    if not rows:
        return []
    write_skipped(path, sorted(rows))
    kinds = count_reasons(rows).most_common(3)
    reasons = "; ".join(f"{count} {kind}" for kind, count in kinds)
    warn(f"{warning.format(counted(len(rows), 'utterance'))} in {path} ({reasons})")
    return [path]
