"""Trial lists and enrollment maps: made from labels, read from files, checked, written in Kaldi's form."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import SdpnError
from sdpn.files import write_text
from sdpn.tables import composed, lines_of
from sdpn.utterance import Utterance, in_order

# Utterances of a speaker that may enter target trials: the pairs grow with the square.
_MOST_UTTERANCES = 100


class Trial(NamedTuple):
    """Two utterances, and whether they come from one speaker."""

    enroll: str
    test: str
    target: bool


@dataclass(frozen=True)
class TrialSet:
    """The trials over one evaluation set.

    Attributes:
        set_name: the evaluation set.
        trials: pairs; `enroll` names an utterance of it, or one of `models`.
        models: enrolled models, each the ids of its utterances; empty where every one is a single utterance.
    """

    set_name: str
    trials: list[Trial]
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
    lines = (f"{trial.enroll} {trial.test} {'target' if trial.target else 'nontarget'}\n" for trial in trials)
    write_text(path, "".join(lines))


def read_trials(path: str | Path) -> list[Trial]:
    """Read `enroll test target|nontarget` lines, VoxCeleb's `1 enroll test` or CN-Celeb's `enroll test 1`.

    Raises:
        SdpnError: the file is missing, is empty, or a line has another form.
    """
    trials = []
    names: dict[str, str] = {}  # one string for a name, however many trials it is in
    for number, line in lines_of(path, "trial list"):
        trial = trial_of(line)
        if trial is None:
            raise SdpnError(
                f"{path}, line {number}: expected `enroll test target|nontarget` or `1 enroll test`, got '{line[:80]}'"
            )
        enroll, test, target = trial
        trials.append(Trial(names.setdefault(enroll, enroll), names.setdefault(test, test), target))
    if not trials:
        raise SdpnError(f"{path}: there is no trial in it")
    labels: dict[tuple[str, str], bool] = {}
    for trial in trials:
        if labels.setdefault(trial[:2], trial.target) != trial.target:
            raise SdpnError(f"{path}: the trial {trial.enroll} {trial.test} is once target and once nontarget")
    return trials


def trial_of(line: str) -> Trial | None:
    """The trial that a line of a list says, in any of the forms of `read_trials`; None where it says none."""
    match composed(line).split():
        case [enroll, test, "target" | "nontarget" as label]:
            pass
        case ["0" | "1" as label, enroll, test] | [enroll, test, "0" | "1" as label]:
            pass
        case _:
            return None
    return Trial(enroll, test, label in ("target", "1"))


def refuse_one_kind(trials: list[Trial], path: str | Path) -> None:
    """Make sure that there are both target and non-target trials.

    Raises:
        SdpnError: there is one kind alone.
    """
    if len({trial.target for trial in trials}) == 1:
        raise SdpnError(f"{path}: all trials are {'' if trials[0].target else 'non-'}target: both are needed")


def read_enroll_map(path: str | Path) -> dict[str, list[str]]:
    """Read `model utterance utterance ...` lines: the utterances that each enrolled model is made of.

    Raises:
        SdpnError: the file is missing or empty, a model has no utterance, has one twice, or stands there twice.
    """
    models: dict[str, list[str]] = {}
    for number, line in lines_of(path, "enrollment map"):
        model, *utterances = composed(line).split()
        if not utterances:
            raise SdpnError(
                f"{path}, line {number}: the model {model} has no utterance: expected `model utt1 utt2 ...`"
            )
        if model in models:
            raise SdpnError(f"{path}, line {number}: the model {model} stands there twice")
        if len(set(utterances)) < len(utterances):
            raise SdpnError(f"{path}, line {number}: the model {model} has an utterance twice")
        models[model] = utterances
    if not models:
        raise SdpnError(f"{path}: there is no model in it")
    return models


def write_enroll_map(path: str | Path, models: Mapping[str, list[str]]) -> None:
    """Write `model utterance utterance ...` lines, sorted by model."""
    lines = (f"{model} {' '.join(models[model])}\n" for model in sorted(models, key=str.encode))
    write_text(path, "".join(lines))


def name_by_id(
    trials: Iterable[Trial], ids: Mapping[str, str], models: Mapping[str, list[str]] | None = None
) -> tuple[list[Trial], list[str]]:
    """The same trials with every name replaced by the utterance id that `ids` gives for it.

    Args:
        models: an enrollment name that is one of them stays.

    Returns:
        the trials whose names are both known, and the unknown names, sorted.
    """
    models = models or {}
    named, unknown = [], set()
    for trial in trials:
        enroll = trial.enroll if trial.enroll in models else ids.get(trial.enroll)
        test = ids.get(trial.test)
        if enroll is None or test is None:
            unknown |= {name for name, id in ((trial.enroll, enroll), (trial.test, test)) if id is None}
        else:
            named.append(Trial(enroll, test, trial.target))
    return named, sorted(unknown)


def name_models(
    models: Mapping[str, list[str]], ids: Mapping[str, str], used: set[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The models in `used` with every utterance by its id, and the names that `ids` does not know, sorted."""
    named = {model: [ids.get(name) for name in names] for model, names in models.items() if model in used}
    unknown = {name for model in named for name in models[model] if name not in ids}
    return named, sorted(unknown)


def refuse_unknown(
    unknown: list[str],
    total: int,
    where: str | Path,
    set_name: str,
    listing: Path,
    skipped: Sequence[tuple[str, str]] = (),
) -> None:
    """Make sure that every utterance of a trial list is in the evaluation set; all that are not are listed.

    Args:
        unknown: the names that are not there.
        total: how many names the list has.
        where: the trial list.
        listing: the file that gets all of them.
        skipped: what was left out of the set, and why: they may be among it.

    Raises:
        SdpnError: some are not there; they are counted, and the first ones named.
    """
    listing.unlink(missing_ok=True)
    if unknown:
        write_text(listing, "".join(f"{name}\n" for name in unknown))
        what, why = skipped[0] if skipped else ("", "")
        left_out = f"{len(skipped)} of its files cannot be used, e.g. {what}: {why}; " if skipped else ""
        raise SdpnError(
            f"{where}: {len(unknown)} of its {total} names are no usable utterances of {set_name}: {some(unknown)}; "
            f"{listing} lists them all; {left_out}a name is an utterance id or a path below the evaluation set"
        )


def some(names: list[str], most: int = 5) -> str:
    """The first few of `names` for a sentence, with the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def make_trials(
    entries: Iterable[Utterance], seed: int, max_targets: int = 3000, impostors_per_target: int = 6
) -> list[Trial]:
    """Trials over an evaluation set, drawn from its labels.

    A target trial pairs two sessions of a speaker, or two utterances where the speaker has but one session. No
    speaker has more targets than an equal share of `max_targets` allows. The enrollment utterance of each target
    also meets `impostors_per_target` utterances of other speakers: of its own gender, where that is known and the set
    has another speaker of it.

    Returns:
        targets, then non-targets, each sorted; no pair occurs twice, in whatever order. The same for the same seed.
    """
    rng = np.random.default_rng([seed, 5])
    everyone = in_order(entries)
    targets = _targets(everyone, rng, max_targets)
    pools = _pools(everyone)
    seen: set[frozenset[str]] = set()
    nontargets = []
    for enroll, _ in targets:
        pool = pools[enroll.speaker, enroll.gender]
        for _ in range(impostors_per_target if pool else 0):
            for _ in range(20):  # draws until one is new: a small set runs out of pairs
                other = pool[rng.integers(len(pool))]
                pair = frozenset((enroll.id, other.id))
                if other.speaker != enroll.speaker and pair not in seen:
                    seen.add(pair)
                    nontargets.append((enroll, other))
                    break
    return [
        Trial(enroll, test, target)
        for pairs, target in ((targets, True), (nontargets, False))
        for enroll, test in sorted((a.id, b.id) for a, b in pairs)
    ]


def _targets(everyone: list[Utterance], rng: np.random.Generator, most: int) -> list[tuple[Utterance, Utterance]]:
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for entry in everyone:
        by_speaker[entry.speaker].append(entry)
    possible = []
    for own in by_speaker.values():
        own = in_order(own[i] for i in rng.permutation(len(own))[:_MOST_UTTERANCES])
        one_session = len({entry.session for entry in own}) == 1
        possible.append([(a, b) for a, b in combinations(own, 2) if one_session or a.session != b.session])
    share = max(map(len, possible), default=1)
    while share > 1 and sum(min(len(pairs), share) for pairs in possible) > most:
        share -= 1
    return [pairs[i] for pairs in possible for i in np.sort(rng.permutation(len(pairs))[:share])]


def _pools(everyone: list[Utterance]) -> dict[tuple[str, str | None], list[Utterance]]:
    """For each (speaker, gender): whom its impostors are drawn from; empty where there is no other speaker."""
    genders: dict[str | None, list[Utterance]] = defaultdict(list)
    for entry in everyone:
        genders[entry.gender].append(entry)
    speakers = {gender: {entry.speaker for entry in pool} for gender, pool in genders.items()}
    alone = len({entry.speaker for entry in everyone}) == 1
    pools: dict[tuple[str, str | None], list[Utterance]] = {}
    for entry in everyone:
        same = entry.gender is not None and len(speakers[entry.gender]) > 1
        pools[entry.speaker, entry.gender] = genders[entry.gender] if same else [] if alone else everyone
    return pools
