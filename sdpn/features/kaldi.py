"""Features that Kaldi made already: an index over the arks that a feats.scp names, without copying them."""

import os
import struct
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.console import say
from sdpn.corpus.kaldi_dir import ALL_COLUMNS, PLACE
from sdpn.errors import SdpnError
from sdpn.features.cache import list_items
from sdpn.features.config import FbankConfig
from sdpn.features.index_files import FORMAT, StoredFile, write_index
from sdpn.features.storage import BY_COLUMNS, KINDS, STEPS, Extent, stored_size
from sdpn.files import digest, exclusive
from sdpn.reasons import Reason
from sdpn.shards import Work
from sdpn.skipped import Skipped

_KINDS = {b"FM ": 0, b"DM ": 5, b"CM ": BY_COLUMNS, b"CM2": 1, b"CM3": 2}
_ROWS_FORGIVEN = 3  # behind the last one, as Kaldi forgives them: parts are cut by time, and rounded


class _Place(NamedTuple):
    """Where the matrix of an utterance lies; the first and the last row that are taken of it, None for all."""

    name: str
    path: str
    offset: int
    rows: tuple[int, int] | None

    def __str__(self) -> str:
        rows = "[{}:{}]".format(*self.rows) if self.rows else ""
        return f"{self.path}:{self.offset}{rows} ({self.name})"


def index_scp(directory: Path, scp: Path, config: FbankConfig, wanted: Collection[str] | None = None) -> bool:
    """Make the feature index of `directory` over the arks that `scp` names, unless it is there and they are unchanged.

    Float and double matrices are taken, and all three of Kaldi's compressed forms; ranges of rows of all but its CM.

    Args:
        directory: the folder of the set.
        scp: `utterance path:offset` lines, with `[first:last]` where some rows are taken (both ends are); a relative
            path is relative to where the command was started, as in Kaldi.
        config: what the features are; the number of bins must be theirs.
        wanted: ids of the utterances to take, None for all; what `scp` lacks of them is listed in skipped_fbank.txt.

    Returns:
        Whether the index was made.

    Raises:
        SdpnError: a line is not understood, or what it points at is missing, cut off, or no matrix of that many bins,
            or has not these rows.
    """
    places = [place for place in _places(scp) if wanted is None or place.name in wanted]
    lacking = sorted(set(wanted or ()) - {place.name for place in places})
    if not places:
        raise SdpnError(f"{scp} has no features of any utterance of {directory}")
    files = sorted({place.path for place in places})
    stamps = [[path, *_stamp(path, scp)] for path in files]
    ranges = [[name, path, offset, *(rows or ())] for name, path, offset, rows in places]
    fingerprint = digest(ranges, stamps, config.spectral(), lacking)
    with exclusive(directory):
        work = Work(directory, "index", {"features given": fingerprint, "format of the index": FORMAT})
        if work.stale_reason() is None:
            return False
        work.begin()
        stored: dict[StoredFile, int] = {}
        entries = []
        for place in places:
            kind, extent, bins = _extent(place, scp)
            if bins != config.num_mel_bins:
                raise SdpnError(f"{scp}: {place.name} has {bins} bins where num_mel_bins is {config.num_mel_bins}")
            entries.append((place.name, stored.setdefault(StoredFile(place.path, kind), len(stored)), extent))
        list_items(
            directory / "skipped_fbank.txt",
            [Skipped(id, Reason("no features", f"in {scp}")) for id in lacking],
            f"{directory}: {{}} utterances left out, listed with the reason",
        )
        work.finish(write_index(directory, list(stored), entries, config, fingerprint))
    say(f"  {directory}: {len(entries)} utterances in {len(files)} arks that were there already, by {scp}")
    return True


def _places(scp: Path) -> Iterator[_Place]:
    """What every line says, with absolute paths."""
    seen = set()
    try:
        lines = scp.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SdpnError(f"{scp} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, place = line.strip().partition(" ")
        found = PLACE.fullmatch(place.strip())
        if not found:
            raise SdpnError(f"{scp}, line {number}: expected `utterance path:offset`, found {line.strip()[:80]!r}")
        path, offset, first, last, columns = found.group("path", "offset", "first", "last", "columns")
        if columns not in ALL_COLUMNS:
            raise SdpnError(
                f"{scp}, line {number}: {name} is a range of columns, {place.strip()[found.end('offset') :]}, where "
                "ranges of rows alone are read: write it out with Kaldi's copy-feats"
            )
        if name in seen:
            raise SdpnError(f"{scp}, line {number}: the utterance {name} stands there twice")
        seen.add(name)
        yield _Place(name, os.path.abspath(path), int(offset), (int(first), int(last)) if first else None)
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


def _extent(place: _Place, scp: Path) -> tuple[int, Extent, int]:
    """Kind, place and number of bins of the matrix whose header begins at `place`, or of those of its rows."""
    size, time = _stamp(place.path, scp)
    opened = _open(place.path, size, time)
    opened.seek(place.offset)
    head = opened.read(22)
    kind = _KINDS.get(head[2:5])
    if head[:2] != b"\0B" or kind is None or len(head) < 15:
        raise SdpnError(f"{scp}: {place} is not a binary matrix of Kaldi's")
    if kind in (0, 5):
        _, rows, _, bins = struct.unpack("<bibi", head[5:15])
        minimum, step, begin = 0.0, 1.0, 15
    else:
        begin = 21 if kind == BY_COLUMNS else 22
        minimum, spread, rows, bins = struct.unpack("<ffii", head[begin - 16 : begin])
        step = spread / STEPS.get(kind, 65535)
    first_byte = place.offset + begin
    sound = np.isfinite([minimum, step]).all() and rows > 0 and bins > 0
    if not sound or first_byte + stored_size(rows, bins, kind) > size:
        raise SdpnError(f"{scp}: {place.path} is cut off or damaged at {place.name}")
    first, stop = _rows_of(place, rows, scp)
    if kind != BY_COLUMNS:
        first_byte += first * bins * KINDS[kind].itemsize
    elif (first, stop) != (0, rows):
        raise SdpnError(
            f"{scp}: {place}: a range of rows cannot be read of a matrix that Kaldi has compressed by columns (CM): "
            "write the parts out with its copy-feats"
        )
    return kind, Extent(first_byte, stop - first, minimum, step, kind, crc=0), bins


def _rows_of(place: _Place, rows: int, scp: Path) -> tuple[int, int]:
    """First row and the one behind the last that are taken of a matrix of `rows` rows."""
    first, last = place.rows or (0, rows - 1)
    if not first <= last <= rows - 1 + _ROWS_FORGIVEN or first >= rows:
        raise SdpnError(f"{scp}: {place}: there are {rows} rows, so this is no range of them")
    return first, min(last + 1, rows)
