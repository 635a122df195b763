"""The trial lists of a data folder, each read once, without what earlier stages had to leave out."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.console import warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import file_digest
from sdpn.scoring.sources import VectorSet
from sdpn.shards import Work
from sdpn.tables import composed, read_columns, read_map
from sdpn.trials.arrays import TrialList
from sdpn.trials.lists import read_enroll_map
from sdpn.trials.names import describe_unknown


class Trials:
    """A trial list of the corpus.

    Args:
        name: of the list.
        data_dir, corpus: the folder and its sets and lists.

    Attributes:
        name: as above.
        path: of its file.
        set_name: the set whose utterances it is of.
    """

    def __init__(self, name: str, data_dir: Path, corpus: Corpus):
        self.name, self.set_name, self.set_dir = name, corpus.trials[name], data_dir / corpus.trials[name]
        self.path = data_dir / "trials" / f"{name}.txt"
        self._prepared = Work(data_dir, corpus.name, {})

    @property
    def files(self) -> dict[str, Any]:
        """The files that it is made of, as inputs of a step.

        Raises:
            SdpnError: there is no list.
        """
        if not self.path.exists():
            raise SdpnError(f"{self.path} is missing: run stage 0 first")
        models = self.path.with_suffix(".enroll.map")
        left_out = {file.name: file for file in left_out_lists(self.set_dir)}
        return {"list": self.path, "enrollment": models if models.exists() else None, "left out": left_out}

    @cached_property
    def usable(self) -> TrialList:
        """The list without the trials of utterances that stage 1 or 2 left out; how many these are is said."""
        for file in (self.path, self.path.with_suffix(".enroll.map")):
            try:
                self._prepared.refuse_changed(file, "unless you have changed it yourself, run stage 0 again")
            except SdpnError as error:
                warn(str(error))
        return read_usable(self.path, self.name, self.set_dir)

    @cached_property
    def speakers(self) -> tuple[np.ndarray, np.ndarray]:
        """`TrialList.speakers`, by the evaluation set's own labels where it has them."""
        path = self.set_dir / "utt2spk"
        utt2spk = read_map(path, optional=True)
        unknown = self.usable.without_speaker(utt2spk)
        if utt2spk and unknown:
            warn(
                f"{self.name}: {len(unknown)} of {len(self.usable.utterances)} utterances have no speaker in {path}, "
                f"the first {unknown[0]}: for the intervals those are one speaker whom target trials join"
            )
        return self.usable.speakers(utt2spk)

    @property
    def speakers_digest(self) -> str:
        """What the speakers depend on beside the trial list."""
        path = self.set_dir / "utt2spk"
        Work(self.set_dir, "cuts", {}).refuse_changed(path, "run stage 1 again")
        return file_digest(path) if path.exists() else "those whom target trials join"


class TrialsOfFile(Trials):
    """Labelled trials that a user has, in any file, of utterances of one set of the corpus.

    Args:
        path: of the file.
        data_dir: the folder of the corpus.
        sets: the x-vectors of the sets that the utterances may be of, by name.

    Raises:
        SdpnError: the file holds no trials, or no set has all their utterances.
    """

    def __init__(self, path: Path, data_dir: Path, sets: Mapping[str, VectorSet]):
        self.name, self.path = str(path), path
        for self.set_name, vectors in sets.items():
            self.set_dir = data_dir / self.set_name
            self.usable = read_usable(path, path.name, self.set_dir)
            try:
                self.usable.rows(vectors.read().ids, vectors.directory)
                return
            except SdpnError as error:
                unknown = error
        raise SdpnError(f"{path}: its utterances are of no single set of {', '.join(sets)}: {unknown}")


def read_usable(path: Path, name: str, set_dir: Path) -> TrialList:
    """Read the trials in a file over the utterances of a set, without what stages 1 and 2 left out of it."""
    trials = TrialList.read(path, name, read_enroll_map(path.with_suffix(".enroll.map"), optional=True))
    lists = left_out_lists(set_dir)
    for listing in lists:
        made, stage = (("index", 2), ("cuts", 1))[listing.name == "skipped.tsv"]
        Work(listing.parent, made, {}).refuse_changed(listing, f"run stage {stage} again")
    left_out = {composed(name) for listing in lists for name, *_ in read_columns(listing)} & set(trials.utterances)
    if not left_out:
        return trials
    usable = trials.without(left_out)
    lost = len(trials.is_target) - len(usable.is_target)
    of = "an utterance" if len(left_out) == 1 else f"{len(left_out)} utterances"
    warn(f"{name}: {lost} trials left out, of {of} that could not be used, listed in {' and '.join(map(str, lists))}")
    return usable


def left_out_lists(set_dir: Path) -> list[Path]:
    """Return the files that name what stages 1 and 2 left out of a set, those of them that there are."""
    return [path for path in (set_dir / "skipped.tsv", set_dir / "skipped_fbank.txt") if path.exists()]


def read_speakers(path: str | Path, ids: list[str]) -> np.ndarray:
    """The speaker of each of the training utterances `ids` by the utt2spk in `path`: (n_utterances,) integers.

    Raises:
        SdpnError: see `read_map`; or it does not know some of them.
    """
    speakers = read_map(path)
    names = [composed(name) for name in ids]
    unknown = [name for name in names if name not in speakers]
    if unknown:
        raise SdpnError(
            f"{path}: {len(unknown)} of {len(ids)} training utterances have no speaker in it: "
            f"{describe_unknown(unknown, speakers)}"
        )
    return np.unique([speakers[name] for name in names], return_inverse=True)[1]
