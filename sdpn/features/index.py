"""One memory-mapped index over the cached features of a set, the same for arks and HDF5."""

import bisect
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index_files import COLUMNS, FORMAT, HEADER, StoredFile, crc_of
from sdpn.features.storage import KINDS, decode_columns, dequantize, is_finite, stored_size
from sdpn.files import file_digest, read_record
from sdpn.shards import Work


class Places(NamedTuple):
    """Where utterances lie in memory, (n,) each: address of the first byte, frames, scale, form, power ratio."""

    addresses: np.ndarray
    frames: np.ndarray
    minima: np.ndarray
    steps: np.ndarray
    kinds: np.ndarray
    power_ratios: np.ndarray


class FeatureIndex:
    """The cached features of a set: utterance i -> rows of a memory-mapped file.

    An utterance's checksum is verified when the utterance is first read from, so damage is never taken for speech.

    Attributes:
        directory: the folder of the set.
        num_bins: mel bins of every utterance.
        config: the FbankConfig that the features were made with.
        fingerprint: a digest of everything the features depend on.
        offsets, keys, frames, files, minima, steps, crcs, power_ratios: the columns of `COLUMNS`, memory-mapped, (n,)
            for n utterances.
        stored: the feature files.

    Example::

        >>> index = FeatureIndex.open("data/train")
        >>> index.read(0, 100, 300).shape
        (200, 80)
    """

    def __init__(self, directory: Path, header: dict):
        self.directory, self._header = directory, header
        self.num_bins: int = header["num_bins"]
        self.config = FbankConfig(**header["config"])
        self.fingerprint: str = header["fingerprint"]
        self.stored = [StoredFile(*entry) for entry in header["files"]]
        self._count: int = header["num_utterances"]
        self._ids: list[str] | None = None
        # The maps are wrapped as plain arrays: every slice of a np.memmap costs a microsecond more
        path = directory / "index" / "table.bin"
        table = np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if self._count else np.empty(0, np.uint8)
        columns, start = [], 0
        for kind in COLUMNS.values():
            stop = start + self._count * np.dtype(kind).itemsize
            columns.append(table[start:stop].view(kind))
            start = stop
        self.offsets, self.keys, self.frames, self.files = columns[:4]
        self.minima, self.steps, self.crcs, self.power_ratios = columns[4:]
        self._maps: dict[int, np.ndarray] = {}
        self._addresses = np.zeros(len(self.stored), dtype=np.uint64)  # of the mapped files
        self._kinds = np.array([stored.kind for stored in self.stored], dtype=np.int32)
        self._verified = np.zeros(self._count, dtype=bool)

    def __reduce__(self) -> tuple:
        """Pickle the names of the files, which another process maps for itself."""
        return FeatureIndex, (self.directory, self._header)

    @staticmethod
    def open(directory: str | Path, made_by: str = "stage 2") -> "FeatureIndex":
        """Open the index of a set.

        Raises:
            SdpnError: there is none yet, it is being made anew, or it is damaged.
        """
        directory = Path(directory)
        path = directory / "index" / "index.json"
        if not path.exists():
            raise SdpnError(f"{directory} has no cached features: run {made_by} first")
        try:
            header = read_record(path, HEADER)
            whole = header["format"] == FORMAT and crc_of(directory / "index" / "table.bin") == header["table_crc"]
            if whole:
                return FeatureIndex(directory, header)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        raise SdpnError(f"{directory}/index is damaged or of another version: run {made_by} again")

    @property
    def ids(self) -> list[str]:
        """Utterance ids, sorted by their UTF-8 bytes (Kaldi's C locale).

        Raises:
            SdpnError: their file is missing, or holds other bytes than were written.
        """
        if self._ids is None:
            path = self.directory / "index" / "ids.txt"
            if not path.exists() or crc_of(path) != self._header["ids_crc"]:
                raise SdpnError(f"{path} is missing or damaged: run its stage again")
            self._ids = path.read_text(encoding="utf-8").split("\n")[:-1]
        return self._ids

    def number_of(self, utterance: str) -> int | None:
        """The number of an utterance by its id, None where there is none."""
        number = bisect.bisect_left(self.ids, utterance.encode(), key=str.encode)
        return number if number < len(self) and self.ids[number] == utterance else None

    def __len__(self) -> int:
        return self._count

    def read(
        self, utterance: int, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows [start, stop) of utterance number `utterance`: (frames, num_bins) float32, a copy, or written to `out`.

        Raises:
            SdpnError: the file is missing, cut off, or holds other bytes than were written.
        """
        if not self._verified[utterance]:
            self.verify(utterance)
        number = self.files[utterance]
        frames = int(self.frames[utterance])
        stop = frames if stop is None or stop > frames else stop
        if out is None:
            out = np.empty((stop - start, self.num_bins), dtype=np.float32)
        stored = self.stored[number]
        offset = int(self.offsets[utterance])
        if stored.kind not in KINDS:
            scale = float(self.minima[utterance]), float(self.steps[utterance])
            out[:] = decode_columns(self._bytes(utterance), frames, self.num_bins, start, stop, scale)
            return out
        dtype = KINDS[stored.kind]
        row = self.num_bins * dtype.itemsize
        rows = self._map(number)[offset + start * row : offset + stop * row].view(dtype).reshape(-1, self.num_bins)
        return dequantize(rows, self.minima[utterance], self.steps[utterance], out)

    def places(self, utterances: np.ndarray) -> "Places":
        """Where utterances lie in memory, for kernels; each is verified when it is first asked for.

        Raises:
            SdpnError: as for `read`.
        """
        for utterance in utterances[~self._verified[utterances]]:
            if not self._verified[utterance]:
                self.verify(int(utterance))
        files = self.files[utterances]
        return Places(
            self._addresses[files] + self.offsets[utterances].astype(np.uint64),
            self.frames[utterances],
            self.minima[utterances],
            self.steps[utterances],
            self._kinds[files],
            self.power_ratios[utterances],
        )

    def verify(self, utterance: int) -> None:
        """Compare an utterance's bytes with their checksum; given features, which have none, must be finite.

        Raises:
            SdpnError: the file is missing or cut off, or the bytes are others than were written.
        """
        data = self._bytes(utterance)
        crc = int(self.crcs[utterance])
        stored = KINDS.get(self.stored[self.files[utterance]].kind)
        if not crc and stored is not None and stored.kind == "f" and not is_finite(data.view(stored)):
            raise SdpnError(f"{self.path(utterance)}: the features of {self.ids[utterance]} are NaN or infinite")
        if crc and zlib.crc32(data.data) != crc:
            raise SdpnError(
                f"{self.path(utterance)} is damaged (the features of {self.ids[utterance]} are not what was written): "
                "remove it and run its stage again"
            )
        self._verified[utterance] = True

    def damaged(self) -> Iterator[tuple[int, str]]:
        """Verify every utterance, in the order in which they lie; yield number and reason of those that are damaged."""
        for utterance in np.lexsort((self.offsets, self.files)):
            try:
                self.verify(int(utterance))
            except SdpnError as error:
                yield int(utterance), str(error)

    def path(self, utterance: int) -> Path:
        """The file that holds utterance number `utterance`."""
        return self.directory / self.stored[self.files[utterance]].name

    def _bytes(self, utterance: int) -> np.ndarray:
        """The stored bytes of an utterance."""
        number = int(self.files[utterance])
        first = int(self.offsets[utterance])
        size = stored_size(int(self.frames[utterance]), self.num_bins, self.stored[number].kind)
        stored = self._map(number)[first : first + size]
        if len(stored) != size:
            raise SdpnError(f"{self.path(utterance)} is cut off: remove it and run its stage again")
        return stored

    def _map(self, file: int) -> np.ndarray:
        if file not in self._maps:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            if soft < hard:  # every mapped file counts as an open one: as many as the system lets
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            path = self.directory / self.stored[file].name
            try:
                mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
                self._maps.setdefault(file, mapped)  # of two threads one wins: its address may be in use already
            except (FileNotFoundError, ValueError):
                raise SdpnError(f"{path} is missing or empty: run its stage again") from None
            self._addresses[file] = self._maps[file].ctypes.data
        return self._maps[file]


def open_features(directory: Path) -> FeatureIndex:
    """The features that stage 2 made of the set in `directory`.

    Raises:
        SdpnError: there are none yet, or stage 1 has changed the set since, or stage 2 a set that it is combined of.
    """
    index = FeatureIndex.open(directory)
    combined = Work.finished(directory, "combined")
    for part, fingerprint in combined.report()["parts"].items() if combined else ():
        if open_features(Path(part)).fingerprint != fingerprint:
            raise SdpnError(f"the features in {part} have changed since {directory} was combined: combine it again")
    made, cuts = Work.finished(directory, "cuts_feats"), directory / "cuts.jsonl.gz"
    if cuts.exists():
        if made is None:
            raise SdpnError(f"{directory}: its features are not finished: run stage 2 again")
        if made.fingerprint.get("cuts") != file_digest(cuts):
            raise SdpnError(f"{cuts} has changed since its features were made: run stage 2 again")
    return index
