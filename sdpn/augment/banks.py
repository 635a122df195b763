"""The banks of stage 3, opened for training."""

from pathlib import Path

import numpy as np

from sdpn.augment.config import NOISE_KINDS
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.files import digest
from sdpn.shards import Work


class ReverbCopy:
    """A reverberated copy of the training set; utterances that could not be reverberated are absent from it."""

    def __init__(self, index: FeatureIndex, train: FeatureIndex):
        self.index = index
        rows = {name: row for row, name in enumerate(index.ids)}
        self._rows = np.array([rows.get(name, -1) for name in train.ids], dtype=np.int64)

    def row_of(self, utterance: int) -> int | None:
        """The row in this copy of utterance number `utterance` of the training set, None where it is absent."""
        row = int(self._rows[utterance])
        return row if row >= 0 else None


class Banks:
    """What student views are augmented with.

    Attributes:
        reverbs: reverberated copies of the training set.
        noises: feature indices of noise clips by kind, of `config.NOISE_KINDS`.
        fingerprint: digest of all of it.
    """

    def __init__(self, reverbs: list[ReverbCopy], noises: dict[str, FeatureIndex]):
        self.reverbs, self.noises = reverbs, noises
        self.fingerprint = digest(
            [copy.index.fingerprint for copy in reverbs], {kind: index.fingerprint for kind, index in noises.items()}
        )


def open_banks(data_dir: str | Path, train: FeatureIndex) -> Banks:
    """Open what stage 3 made in `data_dir`/augment.

    Raises:
        SdpnError: stage 3 has not been run, or the training set's features have changed since.
    """
    folder = Path(data_dir) / "augment"
    made = Work.finished(folder, "augment")
    if made is None:
        raise SdpnError(f"{folder} is missing or unfinished: run stage 3 first")
    if made.fingerprint.get("train") != train.fingerprint:
        raise SdpnError(f"the features in {train.directory} have changed since {folder} was made: run stage 3 again")
    names = made.report()["banks"]
    reverbs = [ReverbCopy(_open(folder / name, train), train) for name in names if name not in NOISE_KINDS]
    return Banks(reverbs, {kind: _open(folder / kind, train) for kind in NOISE_KINDS if kind in names})


def _open(directory: Path, train: FeatureIndex) -> FeatureIndex:
    index = FeatureIndex.open(directory, "stage 3")
    if index.config.spectral() != train.config.spectral():
        raise SdpnError(f"{directory} has other fbank settings than {train.directory}: run stage 3 again")
    return index
