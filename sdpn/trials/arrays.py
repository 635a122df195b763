"""A trial list as arrays: who is compared with whom, and which of the trials are targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.tables import composed
from sdpn.trials.lists import Trials, read_trials, refuse_one_kind
from sdpn.trials.names import describe_unknown


@dataclass(frozen=True)
class TrialList:
    """The trials of one list, as indices into `models` and `utterances`.

    Attributes:
        name: of the list, e.g. "eval".
        utterances: every utterance that is needed to score the list, once, sorted.
        enroll: (n_trials,) int64, indices into `models`.
        test: (n_trials,) int64, indices into `utterances`.
        is_target: (n_trials,) bool.
        models: the name of every enrolled model. Where each is one utterance, these are `utterances` themselves.
        members: for every utterance that a model is enrolled from, the index of the model in `models` and its own in
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
            SdpnError: see `read_trials`; or there are only targets or only non-targets.
        """
        trials = read_trials(path)
        refuse_one_kind(trials, path)
        return TrialList.of(name, trials, models)

    @staticmethod
    def of(name: str, trials: Trials, models: Mapping[str, Sequence[str]] | None = None) -> "TrialList":
        """Index trials; a name that `models` lacks is a model of the utterance of that name.

        Trials without labels are taken for non-targets.
        """
        models = models or {}
        enrolled = {model: list(dict.fromkeys(models.get(model, [model]))) for model in trials.enrolled}
        utterances = sorted(trials.tested.union(*enrolled.values()))
        index = {utterance: i for i, utterance in enumerate(utterances)}
        test = np.array([index.get(name, -1) for name in trials.names], dtype=np.int64)[trials.test]
        is_target = np.zeros(len(trials), dtype=bool) if trials.is_target is None else trials.is_target
        if all(own == [model] for model, own in enrolled.items()):
            enroll = np.array([index.get(name, -1) for name in trials.names], dtype=np.int64)[trials.enroll]
            return TrialList(name, utterances, enroll, test, is_target)
        model_names = sorted(enrolled)
        model_index = {model: i for i, model in enumerate(model_names)}
        members = [(model_index[model], index[utterance]) for model in model_names for utterance in enrolled[model]]
        enroll = np.array([model_index.get(name, -1) for name in trials.names], dtype=np.int64)[trials.enroll]
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
        names, n_models = [*self.models, *self.utterances], len(self.models)
        trials = Trials(names, self.enroll[kept], n_models + self.test[kept], self.is_target[kept])
        return TrialList.of(self.name, trials, models)

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
                f"in {where}: {describe_unknown(unknown, row)}"
            )
        return np.array([row[utterance] for utterance in self.utterances])

    def without_speaker(self, utt2spk: Mapping[str, str]) -> list[str]:
        """The utterances that `utt2spk` does not know."""
        return [utterance for utterance in self.utterances if utterance not in utt2spk]

    def speakers(self, utt2spk: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
        """The speakers of every trial's enrollment and of its test utterance: integers without gaps, twice (n_trials,).

        If `utt2spk` lacks an utterance, speakers follow from the target trials: utterances that these connect are one
        speaker's.
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
    trials = read_trials(path, unlabelled=True)
    labelled = trials.is_target is not None
    if labelled:
        refuse_one_kind(trials, path)
    return TrialList.of(Path(path).stem, trials, models), labelled
