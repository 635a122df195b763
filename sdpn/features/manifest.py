"""Cut manifests that name their cached features, for Lhotse; made without Lhotse."""

from sdpn.features.index import FeatureIndex
from sdpn.features.storage import Extent
from sdpn.utterance import Utterance

STORAGE_TYPES = {"ark": "sdpn_ark", "h5": "sdpn_hdf5"}
"""Lhotse's name for the storage, by the ending of the file; `lhotse_io` registers its readers."""

EXTRACTOR = "sdpn-fbank"
"""Lhotse's name for our feature extractor."""


def storage_key(extent: Extent, num_bins: int) -> str:
    """The key under which `lhotse_io`'s readers find an utterance: offset:frames:bins:kind:minimum:step:crc."""
    place = f"{extent.offset}:{extent.frames}:{num_bins}:{extent.kind}"
    return f"{place}:{extent.minimum!r}:{extent.step!r}:{extent.crc}"


def with_features(cut: Utterance, index: FeatureIndex) -> dict | None:
    """The manifest entry of a cut with its cached features in it; None where the cache leaves the cut out.

    Where the voice activity detection has taken frames out, time in the features is no longer time in the recording:
    the cut then stands for the speech alone and has no recording.
    """
    row = index.number_of(cut.id)
    if row is None:
        return None
    config = index.config
    extent = index.extent(row)
    path = index.path(row)
    entry = cut.cut_entry()
    if config.vad != "none":
        entry["duration"] = extent.frames * config.frame_shift / 1000
        entry["start"] = 0.0
        entry["supervisions"] = [{**one, "start": 0.0, "duration": entry["duration"]} for one in entry["supervisions"]]
        del entry["recording"]
    entry["features"] = {
        "type": EXTRACTOR,
        "num_frames": extent.frames,
        "num_features": index.num_bins,
        "frame_shift": config.frame_shift / 1000,
        "sampling_rate": config.sampling_rate,
        "start": entry["start"],
        "duration": entry["duration"],
        "storage_type": STORAGE_TYPES["h5" if path.suffix == ".h5" else "ark"],
        "storage_path": str(path),
        "storage_key": storage_key(extent, index.num_bins),
        "recording_id": cut.recording_id,
        "channels": cut.channel,
    }
    return entry
