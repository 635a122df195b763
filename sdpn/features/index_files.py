"""The files of a feature index: what is kept of every utterance, and how it is written."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdpn.features.config import FbankConfig
from sdpn.features.storage import Extent
from sdpn.files import atomic_path, digest, file_digest, write_record, write_text

FORMAT = 4
"""Of the index; one of another format is made anew by its stage."""

HEADER = (
    "format",
    "num_utterances",
    "num_bins",
    "files",
    "fingerprint",
    "table_crc",
    "ids_crc",
    "config",
)
"""What index.json says."""

COLUMNS = {
    "offset": "<i8",  # byte at which the utterance's first row begins
    "key": "<u8",  # 64-bit digest of the utterance id: what random numbers are keyed by
    "frames": "<i4",
    "file": "<i4",  # number of the file
    "minimum": "<f4",
    "step": "<f4",
    "crc": "<u4",  # CRC-32 of the stored bytes; 0: unknown
    "power_ratio": "<f4",  # mean square of the samples over what the bands tell of it
}
"""What is kept of an utterance: 40 bytes, each column in one piece."""


def utterance_key(utterance: str) -> int:
    """A 64-bit number for an utterance id, the same in every run and on every machine."""
    return int(digest(utterance)[:16], 16)


class StoredFile(NamedTuple):
    """A feature file: its path, relative to the set's folder, and the form of its values (storage.KINDS)."""

    name: str
    kind: int


def crc_of(path: Path) -> int:
    """CRC-32 of a file."""
    with open(path, "rb") as opened:
        crc = 0
        while block := opened.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def write_index(
    directory: Path,
    files: list[StoredFile],
    entries: list[tuple[str, int, Extent]],
    config: FbankConfig,
    fingerprint: str | None = None,
    num_bins: int | None = None,
) -> list[Path]:
    """Write the index of a set; return its files.

    Args:
        directory: the folder of the set.
        files: the feature files below it.
        entries: (utterance id, file number, Extent), in any order.
        config: how the features were made.
        fingerprint: digest of everything they depend on; None for one of the index itself, which holds a checksum of
            every utterance: features that are made again and come out the same are the same.
        num_bins: of every utterance, where it is not the configuration's.
    """
    entries = sorted(entries, key=lambda entry: entry[0].encode())
    columns = {
        "offset": [extent.offset for _, _, extent in entries],
        "key": [utterance_key(name) for name, _, _ in entries],
        "frames": [extent.frames for _, _, extent in entries],
        "file": [file for _, file, _ in entries],
        "minimum": [extent.minimum for _, _, extent in entries],
        "step": [extent.step for _, _, extent in entries],
        "crc": [extent.crc for _, _, extent in entries],
        "power_ratio": [extent.power_ratio for _, _, extent in entries],
    }
    ids = [name for name, _, _ in entries]
    return write_table(directory, files, ids, columns, config, fingerprint, num_bins)


def write_table(
    directory: Path,
    files: list[StoredFile],
    ids: list[str],
    columns: Mapping[str, Any],
    config: FbankConfig,
    fingerprint: str | None,
    num_bins: int | None = None,
) -> list[Path]:
    """Write the index of a set whose utterances are sorted by id; return its files.

    Args:
        columns: those of `COLUMNS`, each of as many values as there are `ids`.
        directory, files, config, fingerprint, num_bins: see `write_index`.
    """
    folder = directory / "index"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "table.bin") as temporary, open(temporary, "wb") as opened:
        for name, kind in COLUMNS.items():
            opened.write(np.asarray(columns[name], dtype=kind).tobytes())
    write_text(folder / "ids.txt", "".join(f"{name}\n" for name in ids))
    content = [file_digest(folder / name) for name in ("table.bin", "ids.txt")]
    header = {
        "format": FORMAT,
        "num_utterances": len(ids),
        "num_bins": num_bins or config.num_mel_bins,
        "files": files,
        "fingerprint": fingerprint or digest(vars(config), files, content),
        "table_crc": crc_of(folder / "table.bin"),
        "ids_crc": crc_of(folder / "ids.txt"),
        "config": vars(config),
    }
    write_record(folder / "index.json", header)
    return [folder / name for name in ("table.bin", "ids.txt", "index.json")]
