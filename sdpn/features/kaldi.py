"""Features that Kaldi made already: an index over the arks that a feats.scp names, without copying them."""

import os
import struct
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from sdpn.console import say
from sdpn.errors import SdpnError
from sdpn.features.cache import list_items
from sdpn.features.config import FbankConfig
from sdpn.features.index_files import FORMAT, StoredFile, write_index
from sdpn.features.storage import BY_COLUMNS, STEPS, Extent, stored_size
from sdpn.files import digest, exclusive
from sdpn.shards import Work

_KINDS = {b"FM ": 0, b"DM ": 5, b"CM ": BY_COLUMNS, b"CM2": 1, b"CM3": 2}


def index_scp(directory: Path, scp: Path, config: FbankConfig, wanted: Collection[str] | None = None) -> bool:
    """Make the feature index of `directory` over the arks that `scp` names, unless it is there and they are unchanged.

    Float and double matrices are taken, and all three of Kaldi's compressed forms.

    Args:
        directory: the folder of the set.
        scp: `utterance path:offset` lines; a relative path is relative to where the command was started, as in Kaldi.
        config: what the features are; the number of bins must be theirs.
        wanted: ids of the utterances to take, None for all; what `scp` lacks of them is listed in skipped_fbank.txt.

    Returns:
        Whether the index was made.

    Raises:
        SdpnError: a line is not understood, or what it points at is missing, cut off, or no matrix of that many bins.
    """
    places = [place for place in _places(scp) if wanted is None or place[0] in wanted]
    lacking = sorted(set(wanted or ()) - {name for name, _, _ in places})
    if not places:
        raise SdpnError(f"{scp} has no features of any utterance of {directory}")
    files = sorted({path for _, path, _ in places})
    stamps = [[path, *_stamp(path, scp)] for path in files]
    fingerprint = digest([[name, path, offset] for name, path, offset in places], stamps, config.spectral(), lacking)
    with exclusive(directory):
        work = Work(directory, "index", {"features given": fingerprint, "format of the index": FORMAT})
        if work.stale_reason() is None:
            return False
        work.begin()
        stored: dict[StoredFile, int] = {}
        entries = []
        for name, path, offset in places:
            kind, extent, bins = _extent(path, offset, name, scp)
            if bins != config.num_mel_bins:
                raise SdpnError(f"{scp}: {name} has {bins} bins where num_mel_bins is {config.num_mel_bins}")
            entries.append((name, stored.setdefault(StoredFile(path, kind), len(stored)), extent))
        list_items(
            directory / "skipped_fbank.txt",
            dict.fromkeys(lacking, f"no features in {scp}"),
            f"{directory}: {{}} utterances left out, listed with the reason",
        )
        work.finish(write_index(directory, list(stored), entries, config, fingerprint))
    say(f"  {directory}: {len(entries)} utterances in {len(files)} arks that were there already, by {scp}")
    return True


def _places(scp: Path) -> Iterator[tuple[str, str, int]]:
    """Utterance, absolute path and byte offset of every line."""
    seen = set()
    try:
        lines = scp.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SdpnError(f"{scp} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, place = line.strip().partition(" ")
        path, _, offset = place.strip().rpartition(":")
        if not path or not offset.isdecimal():
            raise SdpnError(f"{scp}, line {number}: expected `utterance path:offset`, found {line.strip()[:80]!r}")
        if name in seen:
            raise SdpnError(f"{scp}, line {number}: the utterance {name} stands there twice")
        seen.add(name)
        yield name, os.path.abspath(path), int(offset)
    if not seen:
        raise SdpnError(f"{scp} is empty")


def _stamp(path: str, scp: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise SdpnError(f"{scp} points to {path}, which cannot be read: {error.strerror.lower()}") from None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _open(path: str, size: int, time: int):
    return open(path, "rb")


def _extent(path: str, offset: int, name: str, scp: Path) -> tuple[int, Extent, int]:
    """Kind, place and number of bins of the matrix whose header begins at byte `offset`."""
    size, time = _stamp(path, scp)
    opened = _open(path, size, time)
    opened.seek(offset)
    head = opened.read(22)
    kind = _KINDS.get(head[2:5])
    if head[:2] != b"\0B" or kind is None or len(head) < 15:
        raise SdpnError(f"{scp}: {path}:{offset} ({name}) is not a binary matrix of Kaldi's")
    if kind in (0, 5):
        _, rows, _, bins = struct.unpack("<bibi", head[5:15])
        minimum, step, begin = 0.0, 1.0, offset + 15
    else:
        begin = offset + (21 if kind == BY_COLUMNS else 22)
        minimum, spread, rows, bins = struct.unpack("<ffii", head[begin - offset - 16 : begin - offset])
        step = spread / STEPS.get(kind, 65535)
    if not np.isfinite([minimum, step]).all() or rows <= 0 or bins <= 0 or begin + stored_size(rows, bins, kind) > size:
        raise SdpnError(f"{scp}: {path} is cut off or damaged at {name}")
    return kind, Extent(begin, rows, minimum, step, kind, crc=0), bins
