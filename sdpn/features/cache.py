"""Filling a feature cache: items in, shards of feature files and one index out; resumable at any moment."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sdpn.console import Progress, say, warn
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import write_index
from sdpn.features.storage import SUFFIXES, WRITERS, Extent
from sdpn.files import atomic_path, digest, exclusive, write_text
from sdpn.shards import Work

_ARK_HEADER_BYTES = (15, 22, 22)  # from the "\0B" that an scp points at to the first value, by stored kind


class Item(Protocol):
    """What becomes one utterance of the cache: a Lhotse cut, or anything with an id and a length."""

    id: str
    num_samples: int

    def to_dict(self) -> dict: ...


@dataclass(frozen=True)
class Shard:
    """One feature file to make.

    Attributes:
        work: its done-file and fingerprint.
        path: the feature file.
        items: the utterances in it.
        load: item -> (n_samples,) float32 samples; picklable.
        config: what features to make, and how to store them.
    """

    work: Work
    path: Path
    items: Sequence[Item]
    load: Callable[[Any], np.ndarray]
    config: FbankConfig


def fill(
    directory: Path,
    items: Sequence[Item],
    load: Callable[[Any], np.ndarray],
    config: FbankConfig,
    depends: dict[str, Any],
    run: Callable[[Callable, Sequence[tuple]], Iterable[Any]],
) -> bool:
    """Make those shards of `directory` that are not done yet or stale, then the index and feats.scp.

    Items are cut into shards of `config.shard_size`, in the order of their ids, so the number of jobs changes
    neither the files nor their bytes. An item that cannot be used is left out, counted, and listed in
    skipped_fbank.txt.

    Args:
        directory: the folder of the set, or of the bank.
        items: what to make features of.
        load: item -> (n_samples,) float32 samples at `config.sampling_rate`; raises SdpnError for a broken item.
        config: what features to make, and how to store them.
        depends: what the samples of all items depend on besides the items themselves, for the fingerprint.
        run: runs a function over jobs, in any order, and yields the results.

    Returns:
        Whether anything was made.

    Raises:
        SdpnError: no item is usable, the disk is full, or another run is writing here.
    """
    with exclusive(directory):
        items = sorted(items, key=lambda item: item.id.encode())
        shards = list(_plan(directory, items, load, config, depends))
        todo = [(shard, reason) for shard in shards if (reason := shard.work.stale_reason())]
        for reason in sorted({reason for shard, reason in todo if not shard.work.is_new()}):
            again = sum(one == reason for _, one in todo)
            say(f"  {directory}: {again} of {len(shards)} shards are made again: {reason}")
        done = len(shards) - len(todo)
        whole = Work(directory, "index", {"shards": digest([_identity(shard) for shard in shards])})
        if not todo and not (reason := whole.stale_reason()):
            say(f"  {directory}: nothing to do, all {len(shards)} shards are done")
            return False
        whole.begin()
        (directory / "index" / "index.json").unlink(missing_ok=True)  # no one may read new files by the old index
        if done:
            say(f"  {directory}: {done} of {len(shards)} shards are done already")
        with Progress(str(directory), sum(len(shard.items) for shard, _ in todo), "utterances") as progress:
            for count in run(make_shard, [(shard,) for shard, _ in todo]):
                progress.advance(count)
        _finish(directory, shards, whole)
    return True


def make_shard(shard: Shard) -> int:
    """Make one feature file and its done-file; return the number of items dealt with."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.CRITICAL)  # Lhotse logs each broken file at length; ours are listed instead
    fbank = Fbank(shard.config)
    shard.work.begin()
    extents, skipped = {}, {}
    total = sum(fbank.num_frames(item.num_samples) for item in shard.items)
    writer_type = WRITERS[shard.config.feats_type]
    with (
        atomic_path(shard.path) as temporary,
        writer_type(temporary, shard.config.compress, shard.config.num_mel_bins, total) as writer,
    ):
        for item in shard.items:
            try:
                samples = shard.load(item)
                if len(samples) != item.num_samples:
                    raise SdpnError(f"{len(samples)} samples where the manifest says {item.num_samples}")
                matrix = fbank(samples)
            except SdpnError as error:
                skipped[item.id] = str(error)
                continue
            extents[item.id] = dataclasses.astuple(writer.write(item.id, matrix))
    shard.work.finish([shard.path], extents=extents, skipped=skipped)
    return len(shard.items)


def _plan(directory: Path, items: Sequence[Item], load: Any, config: FbankConfig, depends: dict) -> Iterator[Shard]:
    import lhotse

    options = digest(vars(config))
    for number, first in enumerate(range(0, len(items), config.shard_size), 1):
        part = items[first : first + config.shard_size]
        fingerprint = {
            "inputs": digest([describe(item) for item in part]),
            "options": options,
            "lhotse version": lhotse.__version__,
            **depends,
        }
        name = f"feats.{number:04d}"
        path = directory / f"{name}.{SUFFIXES[config.feats_type]}"
        yield Shard(Work(directory, name, fingerprint), path, part, load, config)


def describe(item: Item) -> Any:
    """All that tells an item from another: its manifest entry, and size and time of every file that it names."""
    description = item.to_dict()
    return [description, [_file_stamp(path) for path in _files_named(description)]]


def _files_named(description: Any) -> Iterator[str]:
    """The files of all Lhotse audio sources in a manifest entry, at any depth."""
    if isinstance(description, dict):
        if description.get("type") == "file" and "source" in description:
            yield description["source"]
        for part in description.values():
            yield from _files_named(part)
    elif isinstance(description, list):
        for part in description:
            yield from _files_named(part)


def _file_stamp(path: str) -> list[int]:
    """Size in bytes and time of change in ns of a file; empty where it is missing."""
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _identity(shard: Shard) -> list:
    return [shard.path.name, shard.work.fingerprint]


def _finish(directory: Path, shards: list[Shard], whole: Work) -> None:
    """Write index, feats.scp and the list of what was left out; remove files of earlier plans."""
    config = shards[0].config
    entries, skipped = [], {}
    for number, shard in enumerate(shards):
        report = shard.work.report()
        entries += [(name, number, Extent(*extent)) for name, extent in report["extents"].items()]
        skipped |= report["skipped"]
    if not entries:
        name, reason = next(iter(skipped.items()))
        raise SdpnError(f"{directory}: none of the {len(skipped)} utterances is usable (the first, {name}: {reason})")
    names = [shard.path.name for shard in shards]
    outputs = write_index(directory, names, entries, config, whole.fingerprint["shards"])
    if config.feats_type == "ark":
        lines = [
            f"{name} {directory / names[file]}:{extent.offset - _ARK_HEADER_BYTES[extent.kind]}\n"
            for name, file, extent in sorted(entries, key=lambda entry: entry[0].encode())
        ]
        write_text(directory / "feats.scp", "".join(lines))
        outputs.append(directory / "feats.scp")
    else:
        (directory / "feats.scp").unlink(missing_ok=True)
    listing = directory / "skipped_fbank.txt"
    listing.unlink(missing_ok=True)
    if skipped:
        write_text(listing, "".join(f"{name}\t{reason}\n" for name, reason in sorted(skipped.items())))
        warn(f"{directory}: {len(skipped)} utterances left out, listed with the reason in {listing}")
    kept = set(names) | {"feats.scp"}
    for old in directory.glob("feats.*"):
        if old.name not in kept:
            old.unlink()
    for old in (directory / "done").glob("feats.*.json"):
        if old.stem not in {shard.work.name for shard in shards}:
            old.unlink()
    whole.finish(outputs)
    frames = sum(extent.frames for _, _, extent in entries)
    size = sum(shard.path.stat().st_size for shard in shards)
    hours = frames * config.frame_shift / 3.6e6
    say(
        f"  {directory}: {len(entries)} utterances, {frames} frames ({hours:.2f} h) in {len(shards)} "
        f"{config.feats_type} file{'s' if len(shards) > 1 else ''}, {size / 1e6:.1f} MB"
    )
