"""What back-ends learn from: the x-vectors of training utterances, and of augmented views of these."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.backend.transforms import WCCN, Whiten
from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors
from sdpn.extraction.views import utterance_of
from sdpn.scoring.sources import VectorSet
from sdpn.scoring.trial_lists import read_speakers


class TrainingVectors:
    """The training x-vectors of a system.

    Args:
        clean: of the utterances.
        views: of augmented views of some of them, as stage 5 writes them; None where there are none.

    Attributes:
        all: those of the utterances, then those of the views.
        owners: (n_vectors,), the number of the utterance that each vector of `all` is of.
        n_utterances: the first so many are of the utterances themselves.

    Raises:
        SdpnError: there are views of other utterances, or of other dimensions.
    """

    def __init__(self, clean: XVectors, views: XVectors | None):
        self.n_utterances = len(clean.ids)
        self.owners = np.arange(self.n_utterances)
        self.all = clean
        if views is None:
            return
        numbers = {name: number for number, name in enumerate(clean.ids)}
        owners = [numbers.get(utterance_of(name), -1) for name in views.ids]
        if -1 in owners or views.vectors.shape[1] != clean.vectors.shape[1]:
            raise SdpnError("the x-vectors of augmented views are not of the training x-vectors: run stage 5 again")
        self.owners = np.concatenate((self.owners, owners))
        self.all = XVectors(
            [*clean.ids, *views.ids],
            np.concatenate((clean.vectors, views.vectors)),
            np.concatenate((clean.num_frames, views.num_frames)),
        )

    @property
    def has_views(self) -> bool:
        """Whether there are augmented views."""
        return len(self.owners) > self.n_utterances

    @property
    def clean(self) -> np.ndarray:
        """(n_utterances, n_dimensions), the x-vectors of the utterances."""
        return self.all.vectors[: self.n_utterances]

    def rows(self, of: str) -> np.ndarray:
        """The rows of `all` that are `clean`, `augmented` or `both`; the clean ones where there are no views."""
        if of == "clean" or not self.has_views:
            return np.arange(self.n_utterances)
        return np.arange(self.n_utterances if of == "augmented" else 0, len(self.owners))

    @cached_property
    def utterance_classes(self) -> np.ndarray:
        """(n_vectors,) the utterance of each vector as its class, numbered without gaps; -1 for one without views."""
        viewed = np.bincount(self.owners, minlength=self.n_utterances) > 1
        return np.where(viewed, np.cumsum(viewed) - 1, -1)[self.owners]

    def versions(self, utterances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A row of `all` for each of some utterances (n,): it is drawn from the views, where it has any."""
        order = np.argsort(self.owners[self.n_utterances :], kind="stable") + self.n_utterances
        counts = np.bincount(self.owners[self.n_utterances :], minlength=self.n_utterances)
        first = np.cumsum(counts) - counts
        drawn = (rng.random(len(utterances)) * counts[utterances]).astype(np.int64)
        viewed = counts[utterances] > 0
        rows = np.array(utterances, dtype=np.int64)
        rows[viewed] = order[(first[utterances] + drawn)[viewed]]
        return rows


class TrainingSet:
    """The training x-vectors of a system, as steps depend on them; read once until they are released.

    Args:
        clean: of the utterances.
        views: of augmented views; None where stage 5 has made none.
    """

    def __init__(self, clean: VectorSet, views: VectorSet | None):
        self.clean, self.views = clean, views
        self._read: TrainingVectors | None = None

    @property
    def network(self) -> str | None:
        """A digest of the network that made them; None where they do not say it."""
        return self.clean.network

    def inputs(self, of: str) -> dict[str, Any]:
        """What is learned from those that are `of` (clean, augmented, both), as inputs of a step."""
        found = {"training x-vectors": self.clean.identity}
        return found if self.views is None or of == "clean" else found | {"of": of, "views": self.views.identity}

    def available(self, of: str) -> str:
        """Which are taken where those `of` this kind are asked for: the clean ones where there are no views."""
        return of if self.views else "clean"

    def read(self) -> TrainingVectors:
        """Read them.

        Raises:
            SdpnError: see `VectorSet.read`; or the views are of other utterances.
        """
        if self._read is None:
            self._read = TrainingVectors(self.clean.read(), self.views.read() if self.views else None)
        return self._read

    def release(self) -> None:
        """Let the memory go."""
        self._read = None
        for one in (self.clean, self.views):
            if one:
                one.release()


class OracleLabels:
    """The speaker labels of the training set, which the corpus has: for `oracle-` back-ends alone.

    Args:
        path: of utt2spk.oracle.

    Raises:
        SdpnError: there is none.
    """

    name = "speakers"

    def __init__(self, path: Path):
        if not path.exists():
            raise SdpnError(f"there is no {path}: back-ends called oracle-... need a training set with speaker labels")
        self.path = path

    def classes(self, ids: list[str]) -> np.ndarray:
        """The speaker of each training utterance: (n_utterances,) integers."""
        return read_speakers(self.path, ids)

    @property
    def identity(self) -> Path:
        """What is learned from them depends on."""
        return self.path

    def of(self, training: TrainingVectors) -> np.ndarray:
        """The speaker of each vector: (n_vectors,) integers."""
        return self.classes(training.all.ids[: training.n_utterances])[training.owners]


def clusterable(training: TrainingVectors, statistics: bool) -> np.ndarray:
    """The training x-vectors as they are clustered: (n_utterances, n_dimensions).

    x-vectors alone are taken as they are. On held-out speakers, back-ends that learn from clusters of them were better
    so than with what follows, near and far.

    Args:
        statistics: whether there are statistics of the fbank in them, which vary with the recording in a few directions
            more than with the voice in all others. Directions are then put on a scale by what rooms, noises and the
            choice of a few seconds do in them (WCCN, each utterance with its augmented views a class); where there are
            no views, all are whitened.
    """
    if not statistics:
        return training.clean
    if not training.has_views:
        return Whiten().fit(training.clean).transform(training.clean)
    classes = training.utterance_classes
    viewed = classes >= 0
    return WCCN().fit(training.all.vectors[viewed], classes[viewed]).transform(training.clean.astype(np.float64))
