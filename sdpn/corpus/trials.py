"""Trial lists: made from labels, read from files, written in Kaldi's form."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.corpus.manifests import Entry, in_order
from sdpn.errors import SdpnError
from sdpn.files import write_text

# Utterances of a speaker that may enter target trials: the pairs grow with the square.
_MOST_UTTERANCES = 100


class Trial(NamedTuple):
    """Two utterances, and whether they come from one speaker."""

    enroll: str
    test: str
    target: bool


def write_trials(path: str | Path, trials: Iterable[Trial]) -> None:
    """Write `enroll test target|nontarget` lines."""
    lines = (f"{trial.enroll} {trial.test} {'target' if trial.target else 'nontarget'}\n" for trial in trials)
    write_text(path, "".join(lines))


def read_trials(path: str | Path) -> list[Trial]:
    """Read `enroll test target|nontarget` lines, or VoxCeleb's `1 enroll test` (1 is target, 0 non-target).

    Raises:
        SdpnError: the file is missing, is empty, or a line has another form.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise SdpnError(f"{path}: there is no such trial list") from None
    except UnicodeDecodeError:
        raise SdpnError(f"{path}: not a text file in UTF-8") from None
    trials = []
    for number, line in enumerate(lines, start=1):
        match line.split():
            case []:
                continue
            case [enroll, test, "target" | "nontarget" as label]:
                trials.append(Trial(enroll, test, label == "target"))
            case ["0" | "1" as label, enroll, test]:
                trials.append(Trial(enroll, test, label == "1"))
            case _:
                raise SdpnError(
                    f"{path}, line {number}: expected `enroll test target|nontarget` or `1 enroll test`, "
                    f"got '{line.strip()[:80]}'"
                )
    if not trials:
        raise SdpnError(f"{path}: there is no trial in it")
    labels: dict[tuple[str, str], bool] = {}
    for trial in trials:
        if labels.setdefault(trial[:2], trial.target) != trial.target:
            raise SdpnError(f"{path}: the trial {trial.enroll} {trial.test} is once target and once nontarget")
    return trials


def name_by_id(trials: Iterable[Trial], ids: Mapping[str, str]) -> tuple[list[Trial], list[str]]:
    """The same trials with every name replaced by the utterance id that `ids` gives for it.

    Returns:
        the trials whose names are both known, and the unknown names, sorted.
    """
    named, unknown = [], set()
    for trial in trials:
        missing = {name for name in (trial.enroll, trial.test) if name not in ids}
        unknown |= missing
        if not missing:
            named.append(Trial(ids[trial.enroll], ids[trial.test], trial.target))
    return named, sorted(unknown)


def some(names: list[str], most: int = 5) -> str:
    """The first few of `names` for a sentence, with the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def make_trials(
    entries: Iterable[Entry], seed: int, max_targets: int = 3000, impostors_per_target: int = 6
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


def _targets(everyone: list[Entry], rng: np.random.Generator, most: int) -> list[tuple[Entry, Entry]]:
    by_speaker: dict[str, list[Entry]] = defaultdict(list)
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


def _pools(everyone: list[Entry]) -> dict[tuple[str, str | None], list[Entry]]:
    """For each (speaker, gender): whom its impostors are drawn from; empty where there is no other speaker."""
    genders: dict[str | None, list[Entry]] = defaultdict(list)
    for entry in everyone:
        genders[entry.gender].append(entry)
    speakers = {gender: {entry.speaker for entry in pool} for gender, pool in genders.items()}
    alone = len({entry.speaker for entry in everyone}) == 1
    pools: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in everyone:
        same = entry.gender is not None and len(speakers[entry.gender]) > 1
        pools[entry.speaker, entry.gender] = genders[entry.gender] if same else [] if alone else everyone
    return pools
