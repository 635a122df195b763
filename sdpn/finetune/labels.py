"""The labels that stage 8 learns from: a utt2spk of pseudo-speakers, or of speakers that are known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import file_digest, write_text
from sdpn.shards import Work
from sdpn.tables import composed, read_map

UTT2SPK = "utt2spk"
LABELS = "labels"  # the folder of an experiment that holds them
CLUSTERS, GIVEN = "clusters", "given"
"""Where labels are from."""


@dataclass(frozen=True)
class Labels:
    """The labels of a training set.

    Attributes:
        classes: (n_utterances,) the class of each utterance, -1 for those that are left out.
        digest: changes when they do.
        report: what stage 7 said of them: `source` (clusters or given), `experiment` whose x-vectors they are of, ...
            See `sdpn.finetune.stage7`.
    """

    classes: np.ndarray
    digest: str
    report: dict[str, Any]

    @property
    def n_classes(self) -> int:
        """How many classes."""
        return int(self.classes.max()) + 1

    @property
    def count(self) -> int:
        """How many utterances have a class."""
        return int(np.count_nonzero(self.classes >= 0))

    @property
    def experiment(self) -> str:
        """The experiment that they were made from, with whose encoder training begins."""
        return self.report["experiment"]

    @property
    def given(self) -> bool:
        """Whether they are speakers that are known, not clusters."""
        return self.report.get("source") == GIVEN


def write_labels(path: Path, ids: list[str], classes: np.ndarray, names: list[str]) -> Path:
    """Write `utterance class` lines, sorted by utterance, of those with a class.

    Args:
        ids: (n_utterances,).
        classes: (n_utterances,) integers, -1 for none.
        names: of the classes.
    """
    pairs = sorted((name.encode(), index) for name, index in zip(ids, classes, strict=True) if index >= 0)
    write_text(path, "".join(f"{name.decode()} {names[index]}\n" for name, index in pairs))
    return path


def read_labels(folder: Path, ids: list[str]) -> Labels:
    """Read what stage 7 wrote into an experiment's folder.

    Args:
        ids: of the training set.

    Raises:
        SdpnError: stage 7 has not been run, or the labels are of other utterances.
    """
    directory = folder / LABELS
    made, path = Work.finished(directory, LABELS), directory / UTT2SPK
    if made is None or not path.exists():
        raise SdpnError(f"{path} is missing or unfinished: run stage 7 first")
    made.refuse_changed(path, "run stage 7 again")
    classes, _ = classes_of(path, ids)
    return Labels(classes, file_digest(path), made.report())


def classes_of(path: Path, ids: list[str]) -> tuple[np.ndarray, list[str]]:
    """The classes of utterances by a utt2spk: (n_utterances,) integers, -1 for those not in it; and their names.

    Raises:
        SdpnError: it cannot be read, or it names fewer than two classes of these utterances.
    """
    known = read_map(path, "utt2spk")
    of = [known.get(composed(name)) for name in ids]
    names = sorted({name for name in of if name is not None})
    if len(names) < 2:
        found = sum(name is not None for name in of)
        raise SdpnError(f"{path} knows {found} of {len(ids)} training utterances and {len(names)} classes: too few")
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([-1 if name is None else numbers[name] for name in of]), names
