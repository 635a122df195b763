"""What stage 6 reads, each thing once: the x-vectors of a set, a trial list; known by their content."""

from functools import cached_property
from pathlib import Path
from typing import Any

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_checked, vectors_file
from sdpn.files import file_digest
from sdpn.scoring.trial_lists import TrialLists, left_out_lists
from sdpn.shards import Work
from sdpn.trials.arrays import TrialList


class VectorSet:
    """The x-vectors that a system has made of a set.

    Args:
        directory: where stage 5 has written them.
        train: those of the training set, of whose dimension they must be.
    """

    def __init__(self, directory: Path, train: "VectorSet | None" = None):
        self.directory, self.train = directory, train
        self._found: XVectors | None = None

    @cached_property
    def identity(self) -> str:
        """A digest of the file: the one that stage 5 recorded, so that no large file is read to see that it is known.

        Raises:
            SdpnError: there are none.
        """
        path = vectors_file(self.directory)
        if not path.exists():
            raise SdpnError(f"{path} is missing: run stage 5 first")
        return self._made_as.get(path.name) or file_digest(path)

    @cached_property
    def network(self) -> str | None:
        """A digest of the network that made them; None where they do not say it."""
        made = Work.finished(self.directory, "xvectors")
        return made.fingerprint.get("model") if made else None

    def read(self) -> XVectors:
        """Read them, once until they are released.

        Raises:
            SdpnError: they cannot be computed with, see `read_checked`; or are not what stage 5 has written.
        """
        if self._found is None:
            made = Work(self.directory, "xvectors", {})
            for name in self._made_as:
                made.refuse_changed(self.directory / name, "run stage 5 again")
            found = read_checked(self.directory)
            if self.train and found.vectors.shape[1] != (dimension := self.train.read().vectors.shape[1]):
                raise SdpnError(
                    f"{self.directory}: the x-vectors have {found.vectors.shape[1]} dimensions, those of "
                    f"'{self.train.directory.name}' {dimension}: run stage 5 again for both"
                )
            self._found = found
        return self._found

    def release(self) -> None:
        """Let the memory go."""
        self._found = None

    @cached_property
    def _made_as(self) -> dict[str, str]:
        """The digests of the files that stage 5 has recorded, by their names; earlier versions recorded none."""
        return Work(self.directory, "xvectors", {}).output_digests()


class Trials:
    """A trial list of the corpus, without the trials of what earlier stages left out.

    Args:
        name: of the list.
        lists: those of the corpus.
    """

    def __init__(self, name: str, lists: TrialLists):
        self.name, self.lists = name, lists
        self.set_name = lists.corpus.trials[name]
        self.path = lists.data_dir / "trials" / f"{name}.txt"

    @property
    def files(self) -> dict[str, Any]:
        """The files that it is made of, as inputs of a step.

        Raises:
            SdpnError: there is no list.
        """
        if not self.path.exists():
            raise SdpnError(f"{self.path} is missing: run stage 0 first")
        models = self.path.with_suffix(".enroll.map")
        left_out = {file.name: file for file in left_out_lists(self.lists.data_dir / self.set_name)}
        return {"list": self.path, "enrollment": models if models.exists() else None, "left out": left_out}

    def read(self) -> TrialList:
        """Read the list."""
        return self.lists.trials(self.name)


class TrialsOfFile(Trials):
    """Labelled trials that a user has, in any file, of utterances of one set of the corpus.

    Args:
        path: of the file.
        lists: those of the corpus.
        sets: the x-vectors of the sets that the utterances may be of, by name.

    Raises:
        SdpnError: the file holds no trials, or no set has all their utterances.
    """

    def __init__(self, path: Path, lists: TrialLists, sets: dict[str, VectorSet]):
        self.name, self.path, self.lists = str(path), path, lists
        for self.set_name, vectors in sets.items():
            trials = self.read()
            try:
                trials.rows(vectors.read().ids, vectors.directory)
                return
            except SdpnError as error:
                unknown = error
        raise SdpnError(f"{path}: its utterances are of no single set of {', '.join(sets)}: {unknown}")

    def read(self) -> TrialList:
        """Read the file."""
        return self.lists.read_file(self.path, self.path.name, self.set_name)
