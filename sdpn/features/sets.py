"""The feature cache of a whole set: its cuts in, features and cuts_feats.jsonl.gz out."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from sdpn.audio import pipes
from sdpn.errors import SdpnError
from sdpn.features.audio import stream_samples
from sdpn.features.cache import Listed, fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.features.storage import STORAGE_TYPES, Extent, storage_key
from sdpn.files import exclusive, file_digest, read_jsonl_gz, write_jsonl_gz
from sdpn.shards import Work, completes
from sdpn.skipped import count_reasons, read_skipped, refuse_many_skipped
from sdpn.utterance import Utterance

EXTRACTOR = "sdpn-fbank"
"""Lhotse's name for our feature extractor."""


def refuse_outdated(directory: Path) -> Path:
    """Make sure that stage 1 has made the cuts of the set in `directory` from the manifests that are there.

    Returns:
        the manifest of the cuts.

    Raises:
        SdpnError: there are none yet, or stage 0 has changed the set since.
    """
    path = directory / "cuts.jsonl.gz"
    if not path.exists() and Work.finished(directory, "combined"):
        raise SdpnError(f"{directory} is combined of others, which hold its cuts: name one of them instead")
    if not path.exists():
        raise SdpnError(f"{path} is missing: run stage 1 first")
    made = Work.finished(directory, "cuts")
    for name in ("recordings", "supervisions"):
        manifest = directory / f"{name}.jsonl.gz"
        if manifest.exists() and not made:
            raise SdpnError(f"{path} is not finished: run stage 1 again")
        if manifest.exists() and made.fingerprint.get(name) != file_digest(manifest):
            raise SdpnError(f"{manifest} has changed since {path} was made: run stage 1 again")
    return path


def read_cuts(directory: Path) -> list[Utterance]:
    """The cuts that stage 1 made of the set in `directory`, in their order.

    Raises:
        SdpnError: as `refuse_outdated` says, or they are damaged, or there are commands among them that may not be run.
    """
    path, cuts = refuse_outdated(directory), []
    try:
        for entry in read_jsonl_gz(path, "run stage 1 again"):
            cut = Utterance.of_cut(entry)
            if cut.kind != "file":
                for command in cut.sources("command"):
                    pipes.refuse_unless_allowed(command)
            cuts.append(cut)
    except (KeyError, TypeError, IndexError):
        raise SdpnError(f"{path} is damaged: remove it and run stage 1 again") from None
    return cuts


def listed_cuts(directory: Path) -> Listed:
    """The same, to be read where they are needed."""
    return Listed(partial(read_cuts, directory), {"cuts": file_digest(refuse_outdated(directory))})


def make_set(
    directory: Path,
    config: FbankConfig,
    run: Callable,
    ngpu: int = 0,
    nj: int = 1,
    given: Path | None = None,
    max_skipped: float = 1.0,
) -> None:
    """Cache the features of the cuts in `directory`/cuts.jsonl.gz; see `cache.fill` for `run` and for what it raises.

    Args:
        ngpu: 1 has a GPU compute, in this process; `nj` threads then decode.
        given: a Kaldi feats.scp that names the features of this set: they are taken, and nothing is computed.
        max_skipped: the share of the cuts that may be left out.

    Raises:
        SdpnError: also where the cuts have another sampling rate than the configuration, or more of them are left out.
    """
    of_cuts = file_digest(refuse_outdated(directory))  # before they are read: they may change meanwhile

    @cache
    def cuts() -> list[Utterance]:
        found = read_cuts(directory)
        wrong = next((cut for cut in found if cut.sampling_rate != config.sampling_rate), None)
        if wrong is not None:
            raise SdpnError(
                f"{directory}: cut {wrong.id} has {wrong.sampling_rate} Hz where the fbank is configured for "
                f"{config.sampling_rate} Hz: make them equal in conf/cuts.yaml and conf/fbank.yaml"
            )
        return found

    make = None
    if ngpu:
        from sdpn.features.gpu import make_shard_on

        make, run = partial(make_shard_on, device="cuda", threads=nj), _one_by_one if completes(run) else run
    if given is not None and not completes(run):
        return
    if given is not None:
        from sdpn.features.kaldi import index_scp

        index_scp(directory, given, config, {cut.id for cut in cuts()})
    else:
        fill(directory, Listed(cuts, {"cuts": of_cuts}), stream_samples, config, {}, run, make)
    if not completes(run):
        return
    index = FeatureIndex.open(directory)
    listing = directory / "skipped_fbank.txt"
    skipped = count_reasons(read_skipped(listing))
    refuse_many_skipped(str(directory), skipped, len(index) + skipped.total(), max_skipped, listing)
    work = Work(directory, "cuts_feats", {"features": index.fingerprint, "cuts": of_cuts})
    if work.stale_reason() is None:
        return
    with exclusive(directory):
        work.begin()
        output = directory / "cuts_feats.jsonl.gz"
        write_jsonl_gz(output, cuts_with_features(cuts(), index))
        work.finish([output])


def cuts_with_features(cuts: Iterable[Utterance], index: FeatureIndex) -> Iterator[dict[str, Any]]:
    """The manifest entries of cuts with their cached features in them; without those that the cache leaves out.

    Where the voice activity detection has taken frames out, time in the features is no longer time in the recording:
    a cut then stands for the speech alone and has no recording.
    """
    config, seconds = index.config, index.config.frame_shift / 1000
    rows = {id: row for row, id in enumerate(index.ids)}
    paths = [index.directory / stored.name for stored in index.stored]
    columns = (index.files, index.offsets, index.frames, index.minima, index.steps, index.crcs)
    for cut in cuts:
        row = rows.get(cut.id)
        if row is None:
            continue
        file, offset, frames, minimum, step, crc = (column[row].item() for column in columns)
        extent = Extent(offset, frames, minimum, step, index.stored[file].kind, crc)
        entry = cut.cut_entry()
        if config.vad != "none":
            whole = {"start": 0.0, "duration": frames * config.frame_shift / 1000}
            entry |= {**whole, "supervisions": [{**one, **whole} for one in entry["supervisions"]]}
            del entry["recording"]
        entry["features"] = {
            "type": EXTRACTOR,
            "num_frames": frames,
            "num_features": index.num_bins,
            "frame_shift": seconds,
            "sampling_rate": config.sampling_rate,
            "start": entry["start"],
            "duration": entry["duration"],
            "storage_type": STORAGE_TYPES["h5" if paths[file].suffix == ".h5" else "ark"],
            "storage_path": str(paths[file]),
            "storage_key": storage_key(extent, index.num_bins),
            "recording_id": cut.recording_id,
            "channels": cut.channel,
        }
        yield entry


def _one_by_one(function: Callable, jobs: list[tuple]) -> Iterator:
    return (function(*job) for job in jobs)
