"""The cache as a Lhotse storage type, so that `cut.load_features()` reads it. Import this module to register it."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from lhotse import Features
from lhotse.cut import Cut
from lhotse.features.io import FeaturesReader, register_reader

from sdpn.features.index import FeatureIndex
from sdpn.features.storage import KINDS, Extent, dequantize

STORAGE_TYPE = "sdpn_mmap"


@lru_cache(maxsize=64)
def _open(path: str) -> np.memmap:
    return np.memmap(path, dtype=np.uint8, mode="r")


@register_reader
class MmapReader(FeaturesReader):
    """Reads an utterance out of an ark or HDF5 file of the cache, whichever it is.

    The key says where: "offset:frames:bins:kind:minimum:step".
    """

    name = STORAGE_TYPE

    def __init__(self, storage_path: str, *args, **kwargs):
        self._map = _open(str(storage_path))

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        offset, frames, bins, kind, minimum, step = key.split(":")
        dtype = KINDS[int(kind)]
        row = int(bins) * dtype.itemsize
        stop = int(frames) if right_offset_frames is None else min(right_offset_frames, int(frames))
        begin = int(offset) + left_offset_frames * row
        stored = self._map[begin : int(offset) + stop * row]
        return dequantize(stored.view(dtype).reshape(-1, int(bins)), float(minimum), float(step))


def storage_key(extent: Extent, num_bins: int) -> str:
    """The key under which `MmapReader` finds an utterance."""
    return f"{extent.offset}:{extent.frames}:{num_bins}:{extent.kind}:{extent.minimum!r}:{extent.step!r}"


def attach_features(cuts: Iterable[Cut], index: FeatureIndex) -> Iterator[Cut]:
    """Yield the cuts with their cached features attached, without those that the cache leaves out."""
    rows = {name: row for row, name in enumerate(index.ids)}
    for cut in cuts:
        if cut.id in rows:
            yield _with_features(cut, index, rows[cut.id])


def _with_features(cut: Cut, index: FeatureIndex, row: int) -> Cut:
    config, entry = index.config, index.table[row]
    extent = Extent(*(entry[name].item() for name in ("offset", "frames", "minimum", "step", "kind")))
    cut.features = Features(
        type="kaldi-fbank",
        num_frames=extent.frames,
        num_features=index.num_bins,
        frame_shift=config.frame_shift / 1000,
        sampling_rate=config.sampling_rate,
        start=cut.start,
        duration=cut.duration,
        storage_type=STORAGE_TYPE,
        storage_path=str(index.path(row)),
        storage_key=storage_key(extent, index.num_bins),
        recording_id=cut.recording_id,
        channels=cut.channel,
    )
    return cut
