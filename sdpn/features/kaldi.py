"""Features that Kaldi made already: an index over the arks that a feats.scp names, without copying them."""

import os
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sdpn.console import Progress, counted, say
from sdpn.errors import Reason, SdpnError, UnusableError
from sdpn.feats_scp import MatrixPart, read_feats_scp
from sdpn.features.cache import list_items
from sdpn.features.config import FbankConfig
from sdpn.features.index_files import FORMAT, StoredFile, write_index
from sdpn.features.kaldi_matrices import Found, MatrixFile
from sdpn.features.storage import Extent
from sdpn.files import atomic_path, digest, exclusive, stamps_digest
from sdpn.shards import Work
from sdpn.skipped import Skipped

VERSION = 2
"""Of what is checked and how parts are copied: where it changes, the index is made anew."""

COPIES = "feats.given.ark"
"""What cannot be used where it lies: text, what gzip has packed, ranges of columns, ranges of rows of Kaldi's CM."""


def index_scp(directory: Path, scp: Path, config: FbankConfig, wanted: Collection[str] | None = None) -> bool:
    """Make the feature index of `directory` over the arks that `scp` names, unless it is there and they are unchanged.

    Float and double matrices are taken, and all three of Kaldi's compressed forms; arks in text or packed with gzip;
    and ranges of rows and columns. What does not lie in an ark as it is used is copied, in its own form, to `COPIES`.
    Every matrix is checked: those that are damaged or missing, or hold NaN or infinite values, are left out and listed
    with the reason in skipped_fbank.txt, as are utterances that `scp` does not name.

    Args:
        directory: the folder of the set.
        scp: see `feats_scp.read_feats_scp`; a relative path is relative to where the command was started, as in Kaldi.
        config: what the features are; the number of bins must be theirs.
        wanted: ids of the utterances to take, None for all.

    Returns:
        Whether the index was made.

    Raises:
        SdpnError: a line is not understood, a matrix has another number of bins, or no utterance is usable.
    """
    parts = {
        name: part._replace(path=os.path.abspath(part.path))
        for name, part in read_feats_scp(scp).items()
        if wanted is None or name in wanted
    }
    skipped = dict.fromkeys(sorted(set(wanted or ()) - parts.keys()), Reason("no features", f"in {scp}"))
    if not parts:
        raise SdpnError(f"{scp} has no features of any utterance of {directory}")
    work = Work(
        directory,
        "index",
        {
            "matrices": digest([[name, *part] for name, part in parts.items()]),
            "utterances without features": digest([*skipped]),
            "arks": stamps_digest(sorted({part.path for part in parts.values()})),
            "fbank": config.spectral(),
            "version of the check": VERSION,
            "format of the index": FORMAT,
        },
    )
    with exclusive(directory):
        reason = work.stale_reason()
        if reason is None:
            return False
        if not work.is_new():
            say(f"  {directory}: the index is made again: {reason}")
        work.begin()
        entries, files, unusable = _index(directory, parts, scp, config)
        skipped |= unusable
        if not entries:
            name, reason = next(iter(skipped.items()))
            raise SdpnError(f"{scp}: none of the {len(skipped)} utterances is usable (the first, {name}: {reason})")
        listed = list_items(
            directory / "skipped_fbank.txt",
            [Skipped(name, reason) for name, reason in skipped.items()],
            f"{directory}: {{}} left out, listed with the reason",
        )
        copied = [directory / COPIES] if (directory / COPIES).exists() else []
        outputs = write_index(directory, files, entries, config, work.identity)
        work.finish([*outputs, *listed, *copied], checked=copied)
    say(
        f"  {directory}: {counted(len(entries), 'utterance')} in "
        f"{counted(len(files), 'ark that was', 'arks that were')} there already, by {scp}"
    )
    return True


def _index(
    directory: Path, parts: dict[str, MatrixPart], scp: Path, config: FbankConfig
) -> tuple[list[tuple[str, int, Extent]], list[StoredFile], dict[str, Reason]]:
    """What `write_index` takes of every usable utterance, and why the others are not; writes the copies."""
    stored: dict[StoredFile, int] = {}
    entries = []
    skipped: dict[str, Reason] = {}
    with ExitStack() as opened:
        copies: BinaryIO | None = None
        for name, found, values in _find_all(directory, parts):
            if isinstance(found, Reason):
                skipped[name] = found
                continue
            first, stop = found.columns
            if stop - first != config.num_mel_bins:
                raise SdpnError(
                    f"{scp}: {name} has {stop - first} bins where num_mel_bins is {config.num_mel_bins}: set it in "
                    "conf/fbank.yaml"
                )
            if values is None:
                file, extent = parts[name].path, _extent(found)
            else:
                if copies is None:
                    copies = opened.enter_context(open(opened.enter_context(atomic_path(directory / COPIES)), "wb"))
                file, extent = COPIES, _copy(name, found, values, copies)
            entries.append((name, stored.setdefault(StoredFile(file, extent.kind), len(stored)), extent))
        if copies is None:
            (directory / COPIES).unlink(missing_ok=True)
    return entries, list(stored), skipped


def _find_all(directory: Path, parts: dict[str, MatrixPart]) -> Iterator[tuple[str, Found | Reason, np.ndarray | None]]:
    """Every utterance, what was found of it, and its values where they must be copied; in the order of the files."""
    in_order = sorted(parts.items(), key=lambda item: item[1][:2])
    with Progress(f"given features of {directory}", len(in_order), "utterances") as progress:
        for path, group in groupby(in_order, key=lambda item: item[1].path):
            own = list(group)
            try:
                file = MatrixFile(path)
            except UnusableError as error:
                yield from ((name, error.reason, None) for name, _ in own)
                progress.advance(len(own))
                continue
            with file:
                for name, part in own:
                    try:
                        yield name, *file.find(part)
                    except UnusableError as error:
                        yield name, error.reason, None
                    progress.advance(1)


def _extent(found: Found) -> Extent:
    """That of a part that is used where it lies."""
    header, (first, stop) = found.header, found.rows
    skip = first * header.stored_size // header.rows  # CM is whole here
    return Extent(found.first_byte + skip, stop - first, header.minimum, header.step, header.kind, crc=0)


def _copy(name: str, found: Found, values: np.ndarray, copies: BinaryIO) -> Extent:
    """Append a part to the ark of copies, which Kaldi's tools can read, too; return where it lies."""
    (first, stop), (left, right) = found.rows, found.columns
    header = found.header._replace(rows=stop - first, bins=right - left)
    copies.write(name.encode() + b" " + header.to_bytes())
    offset = copies.tell()
    data = np.ascontiguousarray(values).data.cast("B")
    copies.write(data)
    return Extent(offset, header.rows, header.minimum, header.step, header.kind, crc=zlib.crc32(data))
