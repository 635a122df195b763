"""A trial list as arrays: who is compared with whom, and which of the trials are targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.tables import composed, lines_of
from sdpn.trials.lists import read_trials, some


@dataclass(frozen=True)
class TrialList:
    """The trials of one list, as places in `models` and `utterances`.

    Attributes:
        name: of the list, e.g. "eval".
        utterances: every utterance that is needed to score the list, once, sorted.
        enroll: (n_trials,) int64, places in `models`.
        test: (n_trials,) int64, places in `utterances`.
        is_target: (n_trials,) bool.
        models: the name of every enrolled model. Where each is one utterance, these are `utterances` themselves.
        members: for every utterance that a model is enrolled from, its place in `models` and its place in
            `utterances`, two int64 arrays; None where each model is the utterance of its name.
    """

    name: str
    utterances: list[str]
    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray
    models: list[str] = field(default_factory=list)
    members: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.members is None:
            object.__setattr__(self, "models", self.utterances)

    @property
    def n_targets(self) -> int:
        return int(np.count_nonzero(self.is_target))

    @property
    def n_nontargets(self) -> int:
        return len(self.is_target) - self.n_targets

    @staticmethod
    def read(path: str | Path, name: str, models: Mapping[str, Sequence[str]] | None = None) -> "TrialList":
        """Read `path`, whose enrollment names are utterances, or those of `models`, each with its utterances.

        Raises:
            SdpnError: the file is missing, a line is not a trial, or there are only targets or only non-targets.
        """
        trials = read_trials(path)
        is_target = np.array([trial.target for trial in trials])
        if is_target.all() or not is_target.any():
            present, missing = ("target", "nontarget") if is_target.all() else ("nontarget", "target")
            raise SdpnError(
                f"{path}: all {len(trials)} trials are '{present}': error rates need '{missing}' trials too"
            )
        pairs = [(trial.enroll, trial.test) for trial in trials]
        return TrialList.of(name, pairs, is_target, models)

    @staticmethod
    def of(
        name: str,
        pairs: Sequence[tuple[str, str]],
        is_target: np.ndarray,
        models: Mapping[str, Sequence[str]] | None = None,
    ) -> "TrialList":
        """The trials of (enroll, test) pairs; a name that `models` lacks is a model of the utterance of that name."""
        tested = {test for _, test in pairs}
        enrolled = {enroll: list(dict.fromkeys((models or {}).get(enroll, [enroll]))) for enroll, _ in pairs}
        utterances = sorted(tested.union(*enrolled.values()))
        place = {utterance: i for i, utterance in enumerate(utterances)}
        test = np.array([place[test] for _, test in pairs], dtype=np.int64)
        if all(own == [model] for model, own in enrolled.items()):
            enroll = np.array([place[enroll] for enroll, _ in pairs], dtype=np.int64)
            return TrialList(name, utterances, enroll, test, is_target)
        model_names = sorted(enrolled)
        model_place = {model: i for i, model in enumerate(model_names)}
        members = [(model_place[model], place[utterance]) for model in model_names for utterance in enrolled[model]]
        enroll = np.array([model_place[enroll] for enroll, _ in pairs], dtype=np.int64)
        whose, which = np.array(members, dtype=np.int64).T
        return TrialList(name, utterances, enroll, test, is_target, model_names, (whose, which))

    def without(self, left_out: set[str]) -> "TrialList":
        """The trials that need none of `left_out`; a model loses those of its utterances, and goes with the last.

        Raises:
            SdpnError: no target or no non-target trial is left.
        """
        usable = np.array([utterance not in left_out for utterance in self.utterances])
        whose, which = (np.arange(len(usable)),) * 2 if self.members is None else self.members
        fine = np.bincount(whose[usable[which]], minlength=len(self.models)) > 0
        kept = fine[self.enroll] & usable[self.test]
        if not (self.is_target[kept].any() and (~self.is_target[kept]).any()):
            raise SdpnError(f"trial list '{self.name}': too few of its utterances could be used: no trials are left")
        models: dict[str, list[str]] | None = None
        if self.members is not None:
            models = {}
            for model, utterance in zip(whose[usable[which]].tolist(), which[usable[which]].tolist(), strict=True):
                models.setdefault(self.models[model], []).append(self.utterances[utterance])
        enroll, test = self.enroll[kept].tolist(), self.test[kept].tolist()
        pairs = [(self.models[e], self.utterances[t]) for e, t in zip(enroll, test, strict=True)]
        return TrialList.of(self.name, pairs, self.is_target[kept], models)

    def rows(self, ids: Iterable[str], where: str | Path) -> np.ndarray:
        """The row of every one of `utterances` among the x-vectors `ids` that lie in `where`.

        Names are compared in Unicode's composed form: `ids` may have another, the lists are read into it.

        Raises:
            SdpnError: some have no x-vector; the sentence names them.
        """
        row = {composed(utterance): i for i, utterance in enumerate(ids)}
        unknown = [utterance for utterance in self.utterances if utterance not in row]
        if unknown:
            raise SdpnError(
                f"trial list '{self.name}': {len(unknown)} of its {len(self.utterances)} utterances have no x-vector "
                f"in {where}: {some(unknown, most=1000)}"
            )
        return np.array([row[utterance] for utterance in self.utterances])

    def without_speaker(self, utt2spk: Mapping[str, str]) -> list[str]:
        """The utterances that `utt2spk` does not know."""
        return [utterance for utterance in self.utterances if utterance not in utt2spk]

    def speakers(self, utt2spk: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
        """The speakers of every trial's enrollment and of its test utterance: integers without gaps, twice (n_trials,).

        Where `utt2spk` does not know every utterance, those are taken for one speaker whom target trials join.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n_models, n_utterances = len(self.models), len(self.utterances)
        whose, which = (np.arange(n_models),) * 2 if self.members is None else self.members
        if not self.without_speaker(utt2spk):
            labels = np.array([utt2spk[utterance] for utterance in self.utterances])
            speakers = np.unique(labels, return_inverse=True)[1]
            of_models = np.empty(n_models, dtype=np.int64)
            of_models[whose] = speakers[which]
            return of_models[self.enroll], speakers[self.test]
        models = np.concatenate((whose, self.enroll[self.is_target]))
        same = (models, n_models + np.concatenate((which, self.test[self.is_target])))
        graph = coo_array((np.ones(len(models), dtype=np.int8), same), shape=(n_models + n_utterances,) * 2)
        speakers = connected_components(graph, directed=False)[1]
        return speakers[self.enroll], speakers[n_models + self.test]


def read_list(path: str | Path, models: Mapping[str, Sequence[str]]) -> tuple[TrialList, bool]:
    """Read a trial list that may have no labels (`enroll test` lines); return it and whether it has them.

    Raises:
        SdpnError: see `TrialList.read`; or some lines have labels and others do not.
    """
    path = Path(path)
    pairs = [composed(line).split() for _, line in lines_of(path, "trial list")]
    if not pairs or any(len(fields) != 2 for fields in pairs):
        return TrialList.read(path, path.stem, models), True
    return TrialList.of(path.stem, [tuple(pair) for pair in pairs], np.zeros(len(pairs), dtype=bool), models), False
