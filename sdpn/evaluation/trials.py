"""A trial list as arrays: who is compared with whom, and which of the trials are targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.corpus.trials import read_trials, some
from sdpn.errors import SdpnError


@dataclass(frozen=True)
class TrialList:
    """The trials of one list, as places in `utterances`.

    Attributes:
        name: of the list, e.g. "eval".
        utterances: every utterance that the list names, once, sorted.
        enroll: (n_trials,) int64, places in `utterances`.
        test: (n_trials,) int64, places in `utterances`.
        is_target: (n_trials,) bool.
    """

    name: str
    utterances: list[str]
    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray

    @property
    def n_targets(self) -> int:
        return int(np.count_nonzero(self.is_target))

    @property
    def n_nontargets(self) -> int:
        return len(self.is_target) - self.n_targets

    @staticmethod
    def read(path: str | Path, name: str) -> "TrialList":
        """Read `path`.

        Raises:
            SdpnError: the file is missing, a line is not a trial, or there are only targets or only non-targets.
        """
        trials = read_trials(path)
        utterances = sorted({trial.enroll for trial in trials} | {trial.test for trial in trials})
        place = {utterance: i for i, utterance in enumerate(utterances)}
        is_target = np.array([trial.target for trial in trials])
        if is_target.all() or not is_target.any():
            present, missing = ("target", "nontarget") if is_target.all() else ("nontarget", "target")
            raise SdpnError(
                f"{path}: all {len(trials)} trials are '{present}': error rates need '{missing}' trials too"
            )
        return TrialList(
            name,
            utterances,
            np.array([place[trial.enroll] for trial in trials]),
            np.array([place[trial.test] for trial in trials]),
            is_target,
        )

    def without(self, left_out: set[str]) -> "TrialList":
        """The trials that name none of `left_out`.

        Raises:
            SdpnError: no target or no non-target trial is left.
        """
        usable = np.array([utterance not in left_out for utterance in self.utterances])
        kept = usable[self.enroll] & usable[self.test]
        if not (self.is_target[kept].any() and (~self.is_target[kept]).any()):
            raise SdpnError(f"trial list '{self.name}': too few of its utterances could be used: no trials are left")
        place = np.cumsum(usable) - 1
        utterances = [utterance for utterance, fine in zip(self.utterances, usable, strict=True) if fine]
        enroll, test = place[self.enroll[kept]], place[self.test[kept]]
        return TrialList(self.name, utterances, enroll, test, self.is_target[kept])

    def rows(self, ids: Iterable[str], where: str | Path) -> np.ndarray:
        """The row of every one of `utterances` among the x-vectors `ids` that lie in `where`.

        Raises:
            SdpnError: some have no x-vector; the sentence names the first few.
        """
        row = {utterance: i for i, utterance in enumerate(ids)}
        unknown = [utterance for utterance in self.utterances if utterance not in row]
        if unknown:
            raise SdpnError(
                f"trial list '{self.name}': {len(unknown)} of its {len(self.utterances)} utterances have no x-vector "
                f"in {where}: {some(unknown)}"
            )
        return np.array([row[utterance] for utterance in self.utterances])
