"""The feature cache of a whole set: its cuts in, features and cuts_feats.jsonl.gz out."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from lhotse import CutSet

from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.features.lhotse_io import attach_features
from sdpn.files import exclusive, file_digest, write_jsonl_gz
from sdpn.shards import Work


def read_cuts(directory: Path) -> CutSet:
    """The cuts that stage 1 made of the set in `directory`.

    Raises:
        SdpnError: there are none yet, they are damaged, or stage 0 has changed the set since.
    """
    path = directory / "cuts.jsonl.gz"
    if not path.exists():
        raise SdpnError(f"{path} is missing: run stage 1 first")
    made = Work.finished(directory, "cuts")
    for name in ("recordings", "supervisions"):
        manifest = directory / f"{name}.jsonl.gz"
        if made and manifest.exists() and made.fingerprint.get(name) != file_digest(manifest):
            raise SdpnError(f"{manifest} has changed since {path} was made: run stage 1 again")
    try:
        return CutSet.from_cuts(CutSet.from_jsonl_lazy(path))
    except (EOFError, ValueError, KeyError, zlib.error, gzip.BadGzipFile):
        raise SdpnError(f"{path} is damaged: remove it and run stage 1 again") from None


def make_set(directory: Path, config: FbankConfig, run: Callable) -> None:
    """Cache the features of the cuts in `directory`/cuts.jsonl.gz; see `cache.fill` for `run` and for what it raises.

    Raises:
        SdpnError: also where the cuts have another sampling rate than the configuration.
    """
    cuts = list(read_cuts(directory))
    wrong = next((cut for cut in cuts if cut.sampling_rate != config.sampling_rate), None)
    if wrong is not None:
        raise SdpnError(
            f"{directory}: cut {wrong.id} has {wrong.sampling_rate} Hz where the fbank is configured for "
            f"{config.sampling_rate} Hz: make them equal in conf/cuts.yaml and conf/fbank.yaml"
        )
    fill(directory, cuts, load_samples, config, {}, run)
    index = FeatureIndex.open(directory)
    work = Work(
        directory, "cuts_feats", {"features": index.fingerprint, "cuts": file_digest(directory / "cuts.jsonl.gz")}
    )
    if work.stale_reason() is None:
        return
    with exclusive(directory):
        work.begin()
        output = directory / "cuts_feats.jsonl.gz"
        write_jsonl_gz(output, (cut.to_dict() for cut in attach_features(cuts, index)))
        work.finish([output])
