"""Trial lists and enrollment maps: read in any of their forms, written in Kaldi's."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import atomic_path, write_text
from sdpn.tables import blocks_of, decode_name, read_groups
from sdpn.trials.forms import LABELLED, UNLABELLED, Form, only_form, still_fitting


class Trial(NamedTuple):
    """Two utterances, and whether they come from one speaker."""

    enroll: str
    test: str
    target: bool


@dataclass(frozen=True, eq=False)
class Trials(Sequence[Trial]):
    """Trials as arrays; as a sequence, each is a `Trial`.

    Attributes:
        names: of enrolled models and test utterances.
        enroll, test: (n_trials,) integers, indices into `names`.
        is_target: (n_trials,) bool; None where the list has no labels.

    Example:
        >>> trials = read_trials("data/trials/eval.txt")
        >>> trials.names[trials.enroll[0]] == trials[0].enroll
        True
    """

    names: list[str]
    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray | None

    @staticmethod
    def of(trials: "Iterable[Trial]") -> "Trials":
        """Return `trials` as arrays."""
        if isinstance(trials, Trials):
            return trials
        rows = list(trials)
        index: dict[str, int] = {}
        pairs = [[index.setdefault(name, len(index)) for name in trial[:2]] for trial in rows]
        enroll, test = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
        return Trials(list(index), enroll, test, np.array([trial.target for trial in rows], dtype=bool))

    def __len__(self) -> int:
        return len(self.enroll)

    def __getitem__(self, index: int) -> Trial:  # type: ignore[override]  # nobody asks for slices
        is_target = self.is_target is not None and bool(self.is_target[index])
        return Trial(self.names[self.enroll[index]], self.names[self.test[index]], is_target)

    def __iter__(self) -> Iterator[Trial]:
        labels = np.zeros(len(self), dtype=bool) if self.is_target is None else self.is_target
        for enroll, test, label in zip(self.enroll.tolist(), self.test.tolist(), labels.tolist(), strict=True):
            yield Trial(self.names[enroll], self.names[test], label)

    @property
    def enrolled(self) -> set[str]:
        """The names that are enrolled."""
        return _used(self.names, self.enroll)

    @property
    def tested(self) -> set[str]:
        """The names that are tested."""
        return _used(self.names, self.test)


def _used(names: list[str], indices: np.ndarray) -> set[str]:
    return {names[index] for index in np.flatnonzero(np.bincount(indices, minlength=len(names)))}


@dataclass(frozen=True)
class TrialSet:
    """The trials over one evaluation set.

    Attributes:
        set_name: the evaluation set.
        trials: pairs; `enroll` names an utterance of it, or one of `models`.
        models: enrolled models, each the ids of its utterances; empty where every one is a single utterance.
    """

    set_name: str
    trials: Sequence[Trial]
    models: dict[str, list[str]] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `<name>.txt` and, where there are models, `<name>.enroll.map`; return their paths."""
        write_trials(folder / f"{name}.txt", self.trials)
        enroll_map = folder / f"{name}.enroll.map"
        enroll_map.unlink(missing_ok=True)
        if not self.models:
            return [folder / f"{name}.txt"]
        write_enroll_map(enroll_map, self.models)
        return [folder / f"{name}.txt", enroll_map]


def write_trials(path: str | Path, trials: Iterable[Trial]) -> None:
    """Write `enroll test target|nontarget` lines."""
    lines = (f"{enroll} {test} {'target' if target else 'nontarget'}\n" for enroll, test, target in trials)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as opened:
        opened.writelines(lines)


def read_trials(path: str | Path, unlabelled: bool = False) -> Trials:
    """Read `enroll test target|nontarget` lines, VoxCeleb's `1 enroll test` or CN-Celeb's `enroll test 1`.

    The form is decided for the whole file, since one line alone (`1 25 0`) may have two.

    Args:
        unlabelled: `enroll test` lines will do, too.

    Raises:
        SdpnError: the file is missing, is empty, has a line of another form, may be read in two ways, or says of a
            trial once that it is target and once that it is nontarget.
    """
    code: defaultdict[bytes, int] = defaultdict()
    code.default_factory = code.__len__  # a field that is new gets the next number
    forms: Sequence[Form] = (*LABELLED, UNLABELLED) if unlabelled else LABELLED
    coded = []
    for block in blocks_of(path, "trial list"):
        forms, columns = still_fitting(forms, block, path)
        known = len(code)
        coded.append([np.fromiter(map(code.__getitem__, column), np.int32, len(column)) for column in columns])
        try:
            decode_name(b"_".join(islice(code, known, None)), path)  # those that are new, all at once
        except SdpnError:  # in which line?
            for number, *names in zip(block.numbers.tolist(), *columns, strict=True):
                for name in names:
                    decode_name(name, path, number)
    if not coded:
        raise SdpnError(f"{path}: there is no trial in it")
    indices = [np.concatenate(parts) for parts in zip(*coded, strict=True)]
    del coded
    fields = list(code)
    form = only_form(forms, indices, path)
    enroll, test = indices[form.enroll], indices[form.test]
    is_target = None
    if form.label is not None:
        meaning = np.array([form.labels.get(text, False) for text in fields])
        is_target = meaning[indices[form.label]]
    names, index = _names(fields, (enroll, test), path)
    trials = Trials(names, index[enroll], index[test], is_target)
    _refuse_contradiction(trials, path)
    return trials


def _names(fields: list[bytes], used: Iterable[np.ndarray], path: str | Path) -> tuple[list[str], np.ndarray]:
    """The names among `fields`, those that `used` has the indices of, and for every field the index of its name."""
    found = np.zeros(len(fields), dtype=bool)
    for indices in used:
        found[indices] = True
    index = np.zeros(len(fields), dtype=np.int32)
    position: dict[str, int] = {}
    for number in np.flatnonzero(found).tolist():
        name = decode_name(fields[number], path)
        index[number] = position.setdefault(name, len(position))  # two forms of Unicode may be one name
    return list(position), index


def _refuse_contradiction(trials: Trials, path: str | Path) -> None:
    if trials.is_target is None:
        return
    pairs = trials.enroll.astype(np.int64) * len(trials.names) + trials.test
    both = np.intersect1d(pairs[trials.is_target], pairs[~trials.is_target])
    if len(both):
        enroll, test, _ = trials[int(np.flatnonzero(pairs == both[0])[0])]
        raise SdpnError(f"{path}: the trial {enroll} {test} is once target and once nontarget")


def refuse_one_kind(trials: Sequence[Trial], path: str | Path) -> None:
    """Make sure that there are both target and non-target trials.

    Raises:
        SdpnError: there is one kind alone.
    """
    is_target = Trials.of(trials).is_target
    n_targets = 0 if is_target is None else int(np.count_nonzero(is_target))
    if n_targets in (0, len(trials)):
        present, missing = ("target", "nontarget") if n_targets else ("nontarget", "target")
        raise SdpnError(f"{path}: all {len(trials)} trials are '{present}': error rates need '{missing}' trials too")


def read_enroll_map(path: str | Path, optional: bool = False) -> dict[str, list[str]]:
    """Read `model utterance utterance ...` lines: the utterances that each enrolled model is made of.

    Args:
        optional: the file may be missing: each model is then one utterance.

    Raises:
        SdpnError: the file is missing or empty, a model has no utterance, has one twice, or stands there twice.
    """
    return read_groups(path, "enrollment map", "model utt1 utt2 ...", optional)


def write_enroll_map(path: str | Path, models: Mapping[str, list[str]]) -> None:
    """Write `model utterance utterance ...` lines, sorted by model."""
    lines = (f"{model} {' '.join(models[model])}\n" for model in sorted(models, key=str.encode))
    write_text(path, "".join(lines))


def name_by_id(
    trials: Iterable[Trial], ids: Mapping[str, str], models: Mapping[str, list[str]] | None = None
) -> tuple[Trials, list[str]]:
    """Replace every name in `trials` by the utterance id that `ids` gives for it.

    Args:
        models: an enrollment name that is one of them stays.

    Returns:
        the trials whose names are both known, and the unknown names, sorted.
    """
    trials, models = Trials.of(trials), models or {}
    n_names = len(trials.names)
    of_tests = [ids.get(name) for name in trials.names]
    of_enrolled = [name if name in models else ids.get(name) for name in trials.names]
    # A name may stand for a model where it is enrolled and for an utterance where it is tested: two halves
    found = [*of_enrolled, *of_tests]
    known = np.array([name is not None for name in found], dtype=bool)
    enroll, test = trials.enroll, trials.test + n_names
    unknown = {trials.names[index] for index in np.unique(enroll[~known[enroll]])}
    unknown |= {trials.names[index - n_names] for index in np.unique(test[~known[test]])}
    kept = known[enroll] & known[test]
    is_target = None if trials.is_target is None else trials.is_target[kept]
    return Trials([name or "" for name in found], enroll[kept], test[kept], is_target), sorted(unknown)


def name_models(
    models: Mapping[str, list[str]], ids: Mapping[str, str], used: set[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The models in `used` with every utterance by its id, and the names that `ids` does not know, sorted."""
    named = {model: [ids.get(name, "") for name in names] for model, names in models.items() if model in used}
    unknown = {name for model in named for name in models[model] if name not in ids}
    return named, sorted(unknown)
