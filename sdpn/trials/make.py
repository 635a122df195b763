"""Trials over an evaluation set that has none of its own, drawn from its labels."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from sdpn.trials.lists import Trial

# Utterances of a speaker that may enter target trials: the pairs grow with the square.
_MOST_UTTERANCES = 100


def make_trials(
    ids: Sequence[str],
    speakers: Sequence[str],
    sessions: Sequence[str | None],
    genders: Sequence[str | None],
    seed: int,
    max_targets: int = 3000,
    impostors_per_target: int = 6,
) -> list[Trial]:
    """Draw trials from labels.

    A target trial pairs two sessions of a speaker, or two utterances where the speaker has but one session. No
    speaker has more targets than an equal share of `max_targets` allows. The enrollment utterance of each target
    also meets `impostors_per_target` utterances of other speakers: of its own gender, where that is known and the set
    has another speaker of it.

    Args:
        ids: of the utterances, in any order.
        speakers, sessions, genders: of each utterance; None for what is not known.

    Returns:
        targets, then non-targets, each sorted; no pair occurs twice, in whatever order. The same for the same seed.
    """
    order = sorted(range(len(ids)), key=lambda row: ids[row].encode())
    ids, speakers = ([column[row] for row in order] for column in (ids, speakers))
    sessions, genders = ([column[row] for row in order] for column in (sessions, genders))
    rng = np.random.default_rng([seed, 5])
    targets = _targets(speakers, sessions, rng, max_targets)
    pools = _pools(speakers, genders)
    seen: set[frozenset[int]] = set()
    nontargets = []
    for enroll, _ in targets:
        pool = pools[speakers[enroll], genders[enroll]]
        for _ in range(impostors_per_target if pool else 0):
            for _ in range(20):  # draws until one is new: a small set runs out of pairs
                other = pool[rng.integers(len(pool))]
                pair = frozenset((enroll, other))
                if speakers[other] != speakers[enroll] and pair not in seen:
                    seen.add(pair)
                    nontargets.append((enroll, other))
                    break
    return [
        Trial(ids[enroll], ids[test], target)
        for pairs, target in ((targets, True), (nontargets, False))
        for enroll, test in sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    ]


def _targets(
    speakers: list[str], sessions: list[str | None], rng: np.random.Generator, most: int
) -> list[tuple[int, int]]:
    """Pairs of rows."""
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for row, speaker in enumerate(speakers):
        by_speaker[speaker].append(row)
    possible = []
    for own in by_speaker.values():
        own = sorted(own[i] for i in rng.permutation(len(own))[:_MOST_UTTERANCES])
        one_session = len({sessions[row] for row in own}) == 1
        possible.append([(a, b) for a, b in combinations(own, 2) if one_session or sessions[a] != sessions[b]])
    share = max(map(len, possible), default=1)
    while share > 1 and sum(min(len(pairs), share) for pairs in possible) > most:
        share -= 1
    return [pairs[i] for pairs in possible for i in np.sort(rng.permutation(len(pairs))[:share])]


def _pools(speakers: list[str], genders: list[str | None]) -> dict[tuple[str, str | None], list[int]]:
    """For each (speaker, gender): the rows its impostors are drawn from; none where there is no other speaker."""
    of_gender: dict[str | None, list[int]] = defaultdict(list)
    for row, gender in enumerate(genders):
        of_gender[gender].append(row)
    speakers_of = {gender: {speakers[row] for row in pool} for gender, pool in of_gender.items()}
    alone = len(set(speakers)) == 1
    everyone = list(range(len(speakers)))
    pools: dict[tuple[str, str | None], list[int]] = {}
    for speaker, gender in zip(speakers, genders, strict=True):
        same = gender is not None and len(speakers_of[gender]) > 1
        pools[speaker, gender] = of_gender[gender] if same else [] if alone else everyone
    return pools
