"""One memory-mapped index over the cached features of a set, the same for arks and HDF5."""

import json
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.storage import KINDS, dequantize
from sdpn.files import atomic_path, digest, file_digest, write_json, write_text
from sdpn.shards import Work

ENTRY = np.dtype(
    [
        ("offset", "<i8"),  # byte at which the utterance's first row begins
        ("key", "<u8"),  # 64-bit digest of the utterance id: what random numbers are keyed by
        ("frames", "<i4"),
        ("file", "<i4"),  # number of the file
        ("minimum", "<f4"),
        ("step", "<f4"),
        ("kind", "u1"),  # number of the stored form, see storage.KINDS
    ]
)


def utterance_key(utterance: str) -> int:
    """A 64-bit number for an utterance id, the same in every run and on every machine."""
    return int(digest(utterance)[:16], 16)


class FeatureIndex:
    """The cached features of a set: utterance i -> rows of a memory-mapped file.

    Attributes:
        directory: the folder of the set.
        num_bins: mel bins of every utterance.
        config: the FbankConfig that the features were made with.
        fingerprint: a digest of everything the features depend on.
        table: (n_utterances,) entries of `ENTRY`, memory-mapped.

    Example::

        >>> index = FeatureIndex.open("data/train")
        >>> index.read(0, 100, 300).shape
        (200, 80)
    """

    def __init__(self, directory: Path, header: dict, table: np.ndarray):
        self.directory = directory
        self.num_bins: int = header["num_bins"]
        self.config = FbankConfig(**header["config"])
        self.fingerprint: str = header["fingerprint"]
        self.table = table
        self._files: list[str] = header["files"]
        self._maps: dict[int, np.memmap] = {}
        self._ids: list[str] | None = None

    @staticmethod
    def open(directory: str | Path, made_by: str = "stage 2") -> "FeatureIndex":
        """Open the index of a set.

        Raises:
            SdpnError: there is none yet, it is being made anew, or it is damaged.
        """
        directory = Path(directory)
        if not (directory / "index" / "index.json").exists():
            raise SdpnError(f"{directory} has no cached features: run {made_by} first")
        header = json.loads((directory / "index" / "index.json").read_text(encoding="utf-8"))
        table = np.load(directory / "index" / "table.npy", mmap_mode="r")
        if table.dtype != ENTRY or len(table) != header["num_utterances"]:
            raise SdpnError(f"{directory}/index is damaged: remove it and run {made_by} again")
        return FeatureIndex(directory, header, table)

    @property
    def ids(self) -> list[str]:
        """Utterance ids, sorted by their UTF-8 bytes (Kaldi's C locale)."""
        if self._ids is None:
            self._ids = (self.directory / "index" / "ids.txt").read_text(encoding="utf-8").split("\n")[:-1]
        return self._ids

    @property
    def frames(self) -> np.ndarray:
        """(n_utterances,) number of frames."""
        return self.table["frames"]

    def __len__(self) -> int:
        return len(self.table)

    def read(self, utterance: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows [start, stop) of utterance number `utterance`: (frames, num_bins) float32, a copy."""
        entry = self.table[utterance]
        stop = int(entry["frames"]) if stop is None else min(stop, int(entry["frames"]))
        dtype = KINDS[entry["kind"]]
        row = self.num_bins * dtype.itemsize
        first = int(entry["offset"]) + start * row
        stored = self._map(int(entry["file"]))[first : first + (stop - start) * row]
        if len(stored) != (stop - start) * row:
            raise SdpnError(f"{self._path(int(entry['file']))} is cut off: remove it and run its stage again")
        return dequantize(stored.view(dtype).reshape(-1, self.num_bins), entry["minimum"], entry["step"])

    def path(self, utterance: int) -> Path:
        """The file that holds utterance number `utterance`."""
        return self._path(int(self.table[utterance]["file"]))

    def _path(self, file: int) -> Path:
        return self.directory / self._files[file]

    def _map(self, file: int) -> np.memmap:
        if file not in self._maps:
            try:
                self._maps[file] = np.memmap(self._path(file), dtype=np.uint8, mode="r")
            except (FileNotFoundError, ValueError):
                raise SdpnError(f"{self._path(file)} is missing or empty: run its stage again") from None
        return self._maps[file]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": {}, "table": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.table = np.load(self.directory / "index" / "table.npy", mmap_mode="r")


def open_features(directory: Path) -> FeatureIndex:
    """The features that stage 2 made of the set in `directory`.

    Raises:
        SdpnError: there are none yet, or stage 1 has changed the set since.
    """
    index = FeatureIndex.open(directory)
    made, cuts = Work.finished(directory, "cuts_feats"), directory / "cuts.jsonl.gz"
    if made and cuts.exists() and made.fingerprint.get("cuts") != file_digest(cuts):
        raise SdpnError(f"{cuts} has changed since its features were made: run stage 2 again")
    return index


def write_index(
    directory: Path, files: list[str], entries: list[tuple], config: FbankConfig, fingerprint: str
) -> list[Path]:
    """Write the index of a set; return its files.

    Args:
        directory: the folder of the set.
        files: names of the feature files below it.
        entries: (utterance id, file number, Extent), in any order.
        config: how the features were made.
        fingerprint: digest of everything they depend on.
    """
    entries = sorted(entries, key=lambda entry: entry[0].encode())
    table = np.zeros(len(entries), dtype=ENTRY)
    for row, (name, file, extent) in enumerate(entries):
        key = utterance_key(name)
        table[row] = (extent.offset, key, extent.frames, file, extent.minimum, extent.step, extent.kind)
    folder = directory / "index"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "table.npy") as temporary:
        np.save(temporary, table)
    write_text(folder / "ids.txt", "".join(f"{name}\n" for name, _, _ in entries))
    header = {
        "num_utterances": len(entries),
        "num_bins": config.num_mel_bins,
        "files": files,
        "fingerprint": fingerprint,
        "config": vars(config),
    }
    write_json(folder / "index.json", header)
    return [folder / "table.npy", folder / "ids.txt", folder / "index.json"]
