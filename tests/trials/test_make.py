from collections import Counter
from typing import NamedTuple

from sdpn.trials import make
from sdpn.trials.lists import Trial


class Utterance(NamedTuple):
    id: str
    speaker: str
    session: str
    gender: str | None


def make_trials(own: list[Utterance], seed: int, max_targets: int = 3000) -> list[Trial]:
    return make.make_trials(*zip(*own, strict=True), seed, max_targets)


def entries(speakers: dict[str, str | None], sessions: int = 2, utterances: int = 3) -> list[Utterance]:
    return [
        Utterance(f"{name}-s{s}-{u}", name, f"{name}-s{s}", gender)
        for name, gender in speakers.items()
        for s in range(sessions)
        for u in range(utterances)
    ]


def facts(own: list[Utterance]) -> dict[str, Utterance]:
    return {entry.id: entry for entry in own}


def test_target_trials_cross_sessions():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"})
    known = facts(own)
    trials = make_trials(own, seed=1)
    targets = [trial for trial in trials if trial.target]
    assert len(targets) == 4 * 9  # all pairs of three utterances with three of the other session
    for trial in targets:
        assert known[trial.enroll].speaker == known[trial.test].speaker
        assert known[trial.enroll].session != known[trial.test].session


def test_nontarget_trials_pair_different_speakers_of_one_gender():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"})
    known = facts(own)
    nontargets = [trial for trial in make_trials(own, seed=1) if not trial.target]
    assert nontargets
    for trial in nontargets:
        assert known[trial.enroll].speaker != known[trial.test].speaker
        assert known[trial.enroll].gender == known[trial.test].gender


def test_a_speaker_alone_in_a_gender_meets_everyone():
    own = entries({"ann": "f", "bob": "m", "dan": "m"})
    assert any(not trial.target and trial.enroll.startswith("ann") for trial in make_trials(own, seed=1))


def test_unknown_genders_are_no_gender():
    pairs = {
        (trial.enroll[:3], trial.test[:3])
        for trial in make_trials(entries({"ann": None, "bob": None, "cyd": None}), seed=1)
        if not trial.target
    }
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(p) for p in (("ann", "bob"), ("ann", "cyd"), ("bob", "cyd"))
    }


def test_one_session_alone_serves_with_pairs_within_it():
    trials = make_trials(entries({"ann": None, "bob": None}, sessions=1), seed=1)
    assert sum(trial.target for trial in trials) == 2 * 3


def test_no_pair_occurs_twice_in_whatever_order():
    trials = make_trials(entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"}), seed=1)
    pairs = [frozenset((trial.enroll, trial.test)) for trial in trials]
    assert len(set(pairs)) == len(pairs)


def test_a_limit_is_shared_fairly_among_speakers():
    own = entries({"ann": None, "bob": None, "cyd": None}, utterances=5) + entries({"dan": None}, utterances=1)
    targets = [trial for trial in make_trials(own, seed=1, max_targets=25) if trial.target]
    assert Counter(trial.enroll[:3] for trial in targets) == {"ann": 8, "bob": 8, "cyd": 8, "dan": 1}


def test_one_speaker_alone_has_no_impostors():
    assert all(trial.target for trial in make_trials(entries({"ann": "f"}), seed=1))


def test_trials_depend_on_the_seed_and_not_on_the_order_of_utterances():
    own = entries({"ann": "f", "bob": "m", "cyd": "f", "dan": "m"}, utterances=5)
    assert make_trials(own, 1, 20) == make_trials(own[::-1], 1, 20)
    assert make_trials(own, 1, 20) != make_trials(own, 2, 20)
