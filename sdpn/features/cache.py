"""Filling a feature cache: items in, shards of feature files and one index out; resumable at any moment."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sdpn.audio.decoders import ffmpeg
from sdpn.console import Progress, say, warn
from sdpn.errors import MissingToolError, OutsideError, SdpnError, UnusableError, reason_of
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.frontend import Features, features_of
from sdpn.features.index import FeatureIndex
from sdpn.features.index_files import FORMAT, StoredFile, write_index
from sdpn.features.storage import ARK_HEADER_BYTES, KIND_OF, SUFFIXES, WRITERS, Extent
from sdpn.files import atomic_path, digest, exclusive, stamp_of, write_text
from sdpn.reasons import Reason
from sdpn.shards import Work
from sdpn.skipped import Skipped, count_reasons, write_skipped

VERSION = 4
"""Of what is computed and how it is stored: where it changes, every cache is made anew."""

_SMALLEST_SHARD = 200
_MOST_SHARDS = 500  # every file of a cache is one that a training holds open


class Item(Protocol):
    """What becomes one utterance of the cache: see `Utterance`."""

    id: str
    num_samples: int
    is_resampled: bool

    def identity(self) -> Any:
        """All that its samples depend on but the content of its files, for JSON."""

    def sources(self) -> Iterable[str]:
        """The files that it is made from."""


Load = Callable[[Any], np.ndarray | Iterable[np.ndarray]]
"""item -> its (n,) float32 samples, full scale at 1, or consecutive blocks of them; SdpnError for a broken item."""


@dataclass(frozen=True)
class Shard:
    """One feature file to make.

    Attributes:
        work: its done-file and fingerprint.
        path: the feature file.
        items: the utterances in it.
        load: samples of an item; picklable.
        config: what features to make, and how to store them.
    """

    work: Work
    path: Path
    items: Sequence[Item]
    load: Load
    config: FbankConfig


def fill(
    directory: Path,
    items: Sequence[Item],
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
        depends: what the samples of all items depend on besides the items themselves, for the fingerprint.
        run: runs a function over jobs, in any order, and yields the results.
        make: makes a shard, `make_shard` where None.

    Returns:
        Whether anything was made.

    Raises:
        SdpnError: there is no item or none is usable, the disk is full, or another run is writing here.
    """
    if not items:
        raise SdpnError(f"{directory}: there is nothing to make features of: the set is empty")
    with exclusive(directory):
        items = sorted(items, key=lambda item: item.id.encode())
        shards = list(_plan(directory, items, load, config, depends))
        todo = [(shard, reason) for shard in shards if (reason := shard.work.stale_reason())]
        for reason in sorted({reason for shard, reason in todo if not shard.work.is_new()}):
            again = sum(one == reason for _, one in todo)
            say(f"  {directory}: {again} of {len(shards)} shards are made again: {reason}")
        done = len(shards) - len(todo)
        shards_digest = digest([_identity(shard) for shard in shards])
        whole = Work(directory, "index", {"shards": shards_digest, "format of the index": FORMAT})
        reason = whole.stale_reason()
        if not todo and reason is None:
            say(f"  {directory}: nothing to do, all {len(shards)} shards are done")
            return False
        if not todo and not whole.is_new():
            say(f"  {directory}: the index is made again: {reason}")
        whole.begin()
        (directory / "index" / "index.json").unlink(missing_ok=True)  # no one may read new files by the old index
        if done:
            say(f"  {directory}: {done} of {len(shards)} shards are done already")
        with Progress(str(directory), sum(len(shard.items) for shard, _ in todo), "utterances") as progress:
            for count in run(make or make_shard, [(shard,) for shard, _ in todo]):
                progress.advance(count)
        _finish(directory, shards, whole)
    return True


def verify(directory: Path) -> int:
    """Read every feature of a finished cache against its checksum, and have damaged shards made again.

    Returns:
        The number of damaged utterances; each is named, and the shards that hold them count as not done from now on.
    """
    with exclusive(directory):
        index = FeatureIndex.open(directory)
        damaged = list(index.damaged())
        for utterance, reason in damaged:
            warn(reason)
            Work(directory, index.path(utterance).stem, {}).begin()
    return len(damaged)


def make_shard(shard: Shard) -> int:
    """Make one feature file and its done-file; return the number of items dealt with."""
    fbank = Fbank(shard.config)
    return write_shard(shard, fbank.num_frames, ((item, _attempt(shard, item, fbank)) for item in shard.items))


def write_shard(
    shard: Shard, num_frames: Callable[[int], int], results: Iterable[tuple[Item, Features | SdpnError]]
) -> int:
    """Write the features of a shard's items, in their order, and its done-file; return the number of items.

    Args:
        num_frames: how many rows come, at most, of so many samples.
    """
    shard.work.begin()
    extents, skipped, notes, again = {}, {}, {}, []
    names = [item.id for item in shard.items]
    total = sum(num_frames(item.num_samples) for item in shard.items)
    config = shard.config
    with (
        atomic_path(shard.path) as temporary,
        WRITERS[config.feats_type](temporary, config.compress, config.num_mel_bins, names, total) as writer,
    ):
        for item, result in results:
            if isinstance(result, SdpnError):
                skipped[item.id] = reason_of(result)
                again += [item.id] if isinstance(result, OutsideError) else []
                continue
            extent = writer.write(item.id, result.matrix)
            extents[item.id] = dataclasses.astuple(dataclasses.replace(extent, power_ratio=result.power_ratio))
            if result.notes:
                notes[item.id] = result.notes
    shard.work.finish([shard.path], extents=extents, skipped=skipped, notes=notes, again=again)
    return len(shard.items)


def _attempt(shard: Shard, item: Item, fbank: Fbank) -> Features | SdpnError:
    try:
        return features_of(checked_blocks(shard.load(item), item), fbank, shard.path.parent)
    except MissingToolError:
        raise
    except SdpnError as error:
        return error


def checked_blocks(samples: np.ndarray | Iterable[np.ndarray], item: Item) -> Iterator[np.ndarray]:
    """The blocks of what `load` gave; SdpnError where they are not as long together as the item says."""
    count = 0
    for block in [samples] if isinstance(samples, np.ndarray) else samples:
        count += len(block)
        yield block
    if count != item.num_samples:
        raise UnusableError("of another length", f"{count} samples where the manifest says {item.num_samples}")


def shard_size(config: FbankConfig, num_items: int) -> int:
    """Utterances in a file of the cache: a function of their number alone, whatever the number of jobs."""
    return config.shard_size or max(_SMALLEST_SHARD, -(-num_items // _MOST_SHARDS))


def _plan(directory: Path, items: Sequence[Item], load: Load, config: FbankConfig, depends: dict) -> Iterator[Shard]:
    import soundfile

    settings = {name: setting for name, setting in vars(config).items() if name != "shard_size"}
    common = {
        "options": digest(settings),
        "version of the cache": VERSION,
        "libsndfile's version": soundfile.__libsndfile_version__,
        **depends,
    }
    size = shard_size(config, len(items))
    for number, first in enumerate(range(0, len(items), size), 1):
        part = items[first : first + size]
        name = f"feats.{number:04d}"
        path = directory / f"{name}.{SUFFIXES[config.feats_type]}"
        fingerprint = {"inputs": digest([describe(item) for item in part]), **common, **_versions(part)}
        yield Shard(Work(directory, name, fingerprint), path, part, load, config)


def _versions(items: Iterable[Item]) -> dict[str, str]:
    """The versions of what else the samples of some items go through, where they do."""
    found = {}
    if any(os.path.splitext(path)[1].lower() in ffmpeg.EXTENSIONS for item in items for path in item.sources()):
        found["ffmpeg's version"] = ffmpeg.version()
    if any(item.is_resampled for item in items):
        found["soxr's version"] = version("soxr")
    return found


def describe(item: Item) -> Any:
    """All that tells an item from another: its identity, and size and time of every file that it is made from."""
    return [item.identity(), [stamp_of(path) for path in item.sources()]]


def _identity(shard: Shard) -> list:
    return [shard.path.name, shard.work.fingerprint]


def _finish(directory: Path, shards: list[Shard], whole: Work) -> None:
    """Write index, feats.scp and the lists of what is amiss; remove files of earlier plans."""
    config = shards[0].config
    entries: list[tuple[str, int, Extent]] = []
    skipped: list[Skipped] = []
    notes: list[Skipped] = []
    for number, shard in enumerate(shards):
        report = shard.work.report()
        entries += [(name, number, Extent(*extent)) for name, extent in report["extents"].items()]
        skipped += [Skipped(id, Reason(*reason)) for id, reason in report["skipped"].items()]
        notes += [Skipped(id, Reason(*note)) for id, own in report["notes"].items() for note in own]
    if not entries:
        raise SdpnError(f"{directory}: none of the {len(skipped)} utterances is usable (the first, {skipped[0]})")
    files = [StoredFile(shard.path.name, KIND_OF[config.compress]) for shard in shards]
    outputs = write_index(directory, files, entries, config, whole.fingerprint["shards"])
    if config.feats_type == "ark":
        lines = [
            f"{name} {directory / files[file].name}:{extent.offset - ARK_HEADER_BYTES[extent.kind]}\n"
            for name, file, extent in sorted(entries, key=lambda entry: entry[0].encode())
        ]
        write_text(directory / "feats.scp", "".join(lines))
        outputs.append(directory / "feats.scp")
    else:
        (directory / "feats.scp").unlink(missing_ok=True)
    list_items(
        directory / "skipped_fbank.txt", skipped, f"{directory}: {{}} utterances left out, listed with the reason"
    )
    list_items(directory / "notes_fbank.txt", notes, f"{directory}: {{}} utterances kept but to be looked at, listed")
    kept = {file.name for file in files} | {"feats.scp"}
    for old in directory.glob("feats.*"):
        if old.name not in kept:
            old.unlink()
    for old in (directory / "done").glob("feats.*.json"):
        if old.stem not in {shard.work.name for shard in shards}:
            old.unlink()
    whole.finish(outputs)
    frames = sum(extent.frames for _, _, extent in entries)
    size = sum(shard.path.stat().st_size for shard in shards)
    hours = frames * config.row_seconds / 3600
    rows = "samples" if config.profile == "waveform" else "frames"
    say(
        f"  {directory}: {len(entries)} utterances, {frames} {rows} ({hours:.2f} h) in {len(shards)} "
        f"{config.feats_type} file{'s' if len(shards) > 1 else ''}, {size / 1e6:.1f} MB"
    )


def list_items(path: Path, rows: list[Skipped], warning: str) -> None:
    """Write what `read_skipped` reads, and warn with how many there are of each kind; no file where there are none."""
    path.unlink(missing_ok=True)
    if not rows:
        return
    write_skipped(path, sorted(rows))
    kinds = count_reasons(rows).most_common(3)
    warn(f"{warning.format(len(rows))} in {path} ({'; '.join(f'{count} {kind}' for kind, count in kinds)})")
