"""One shard of a feature cache: a feature file, made of some utterances, and the table of where they lie in it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sdpn.errors import MissingToolError, OutsideError, SdpnError, UnusableError, reason_of
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.frontend import Features, features_of
from sdpn.features.storage import KIND_OF, Extent
from sdpn.features.writers import WRITERS
from sdpn.files import atomic_path, write_array
from sdpn.shards import Work

EXTENT_COLUMNS = np.dtype(
    [("item", "<i4"), ("offset", "<i8"), ("frames", "<i4"), ("crc", "<u4")]
    + [(name, "<f4") for name in ("minimum", "step", "power_ratio")]
)
"""What is kept of an utterance beside the feature file; `item` is its number in the shard."""


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

    @property
    def table(self) -> Path:
        """The file that says where its utterances lie."""
        return self.work.done_file.with_suffix(".npy")

    def extents(self) -> Iterator[tuple[str, Extent]]:
        """Where its utterances lie, by their ids, once it is made."""
        kind = KIND_OF[self.config.compress]
        for item, offset, frames, crc, minimum, step, power_ratio in np.load(self.table).tolist():
            yield self.items[item].id, Extent(offset, frames, minimum, step, kind, crc, power_ratio)


def make_shard(shard: Shard) -> int:
    """Make one feature file and its done-file; return the number of items dealt with."""
    fbank = Fbank(shard.config)
    return write_shard(shard, fbank.num_frames, _results(shard, fbank))


def write_shard(
    shard: Shard, num_frames: Callable[[int], int], results: Iterable[tuple[Item, Features | SdpnError]]
) -> int:
    """Write the features of a shard's items, in their order, and its done-file; return the number of items.

    Args:
        num_frames: how many rows come, at most, of so many samples.
    """
    shard.work.begin()
    rows, skipped, notes, again = [], {}, {}, []
    names = [item.id for item in shard.items]
    total = sum(num_frames(item.num_samples) for item in shard.items)
    config = shard.config
    with (
        atomic_path(shard.path) as temporary,
        WRITERS[config.feats_type](temporary, config.compress, config.num_mel_bins, names, total) as writer,
    ):
        for number, (item, result) in enumerate(results):
            if isinstance(result, SdpnError):
                skipped[item.id] = reason_of(result)
                again += [item.id] if isinstance(result, OutsideError) else []
                continue
            extent = dataclasses.replace(writer.write(item.id, result.matrix), power_ratio=result.power_ratio)
            rows.append((number, *(getattr(extent, name) for name in EXTENT_COLUMNS.names[1:])))
            if result.notes:
                notes[item.id] = result.notes
    write_array(shard.table, np.array(rows, dtype=EXTENT_COLUMNS))
    shard.work.finish([shard.path, shard.table], checked=[shard.path], skipped=skipped, notes=notes, again=again)
    return len(shard.items)


def _results(shard: Shard, fbank: Fbank) -> Iterator[tuple[Item, Features | SdpnError]]:
    for item in shard.items:
        try:
            yield item, features_of(checked_blocks(shard.load(item), item), fbank, shard.path.parent)
        except MissingToolError:
            raise
        except SdpnError as error:
            yield item, error


def checked_blocks(samples: np.ndarray | Iterable[np.ndarray], item: Item) -> Iterator[np.ndarray]:
    """The blocks of what `load` gave; SdpnError where they are not as long together as the item says."""
    count = 0
    for block in [samples] if isinstance(samples, np.ndarray) else samples:
        count += len(block)
        yield block
    if count != item.num_samples:
        raise UnusableError("of another length", f"{count} samples where the manifest says {item.num_samples}")
