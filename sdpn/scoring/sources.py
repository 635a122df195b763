"""The x-vectors of a set, read once and known by their content."""

from functools import cached_property
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_checked, vectors_file
from sdpn.files import file_digest
from sdpn.shards import Work


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
