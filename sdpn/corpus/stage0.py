"""What the programs in local/ share: given and made trial lists, speakers held out, and the order of the work."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdpn.console import counted, say
from sdpn.corpus.clips import ClipSource, fingerprint_clips, make_clips
from sdpn.corpus.folder import choose_speakers, hold_out
from sdpn.corpus.options import distinguishing
from sdpn.corpus.writer import CACHE, Prepared, prepare_once, write_corpus
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.skipped import Skipped
from sdpn.trials.lists import (
    Trial,
    Trials,
    TrialSet,
    name_by_id,
    name_models,
    read_enroll_map,
    read_trials,
    refuse_one_kind,
)
from sdpn.trials.make import make_trials
from sdpn.trials.names import describe_unknown, refuse_unknown
from sdpn.utterance import Utterance


def prepare(
    data: Path,
    name: str,
    options: dict[str, Any],
    inputs: dict[str, Any],
    clips: list[ClipSource],
    find: Callable[[], Prepared],
    run: Callable,
    add_far: Callable[[Prepared, Path, int, Callable], tuple[Prepared, list[Path]]],
) -> None:
    """Make the corpus `name` in `data`, unless it is there already and still holds.

    Args:
        options: of the program; see `absolute`.
        inputs: what the sets of speech depend on beside the options, by name.
        clips: see `clips.find_clips`.
        find: the sets of speech and their trials.
        run: yields `function(*job)` for every job.
        add_far: adds the set `dev_far`; see `augment.far.add_far`.
    """

    def make() -> list[Path]:
        prepared = find()
        made, skipped, audio = make_clips(clips, data, options["seed"], run, data / CACHE)
        prepared = replace(
            prepared, clips=made, skipped={**prepared.skipped, **skipped}, max_skipped=options["max_skipped"]
        )
        if options["dev_speakers"]:
            prepared, far = add_far(_with_dev(prepared, options), data, options["seed"], run)
            audio += far
        return [*audio, *write_corpus(data, name, kept, prepared)]

    kept = distinguishing(options)
    prepare_once(data, name, kept, {**inputs, **fingerprint_clips(clips)}, make)


def _with_dev(prepared: Prepared, options: dict[str, Any]) -> Prepared:
    train = prepared.speech["train"]
    unlabelled = sum(utterance.speaker is None for utterance in train)
    if unlabelled:
        raise SdpnError(
            f"--dev-speakers holds out training speakers, but {unlabelled} of the {len(train)} utterances of the "
            "training set have no speaker label"
        )
    skipped = prepared.skipped.get("train", ())
    chosen = _choose(train, options["dev_speakers"], options["seed"], "the training set", skipped)
    stay, dev = hold_out(train, chosen)
    trials = TrialSet("dev", generate("dev", dev, options["seed"]))
    features = dict(prepared.features)
    if "train" in features:  # as those of train, or the two would be of different scale
        features["dev"] = features["train"]
    return replace(
        prepared,
        speech={**prepared.speech, "train": stay, "dev": dev},
        trials={**prepared.trials, "dev": trials},
        features=features,
    )


def _choose(
    utterances: list[Utterance], count: int, seed: int, where: str, skipped: Sequence[Skipped], way_out: str = ""
) -> set[str]:
    """See `choose_speakers`; where that is impossible, what was left out is told, since it may be why."""
    _refuse_none(utterances, where, skipped)
    try:
        return choose_speakers(utterances, count, seed, where)
    except SdpnError as error:
        raise SdpnError(f"{error}{way_out}{_left_out(skipped)}") from None


def _refuse_none(utterances: list[Utterance], where: str, skipped: Sequence[Skipped]) -> None:
    """Make sure that there are utterances.

    Raises:
        SdpnError: there are none; why the first was left out is told.
    """
    if not utterances and skipped:
        raise SdpnError(f"{where}: none of {len(skipped)} utterances can be used (the first: {skipped[0]})")
    if not utterances:
        raise SdpnError(f"{where}: there is no utterance in it")


def _left_out(skipped: Sequence[Skipped]) -> str:
    """The end of a sentence on what a set lacks: utterances that were left out may be why."""
    if not skipped:
        return ""
    return f" ({counted(len(skipped), 'utterance was', 'utterances were')} left out, the first, {skipped[0]})"


def split_speakers(
    train: list[Utterance],
    ids: Mapping[str, str],
    given: "GivenTrials",
    options: Mapping[str, Any],
    where: str,
    skipped: Sequence[Skipped] = (),
) -> dict[str, list[Utterance]]:
    """Sets `train` and `eval` of one set: the speakers that the trials name are evaluated, or else a share of all.

    A set without labels is `train` alone, and so is one of which the share to be evaluated is 0.

    Args:
        ids: utterance ids by the names that a trial list may use.
        skipped: what was left out of the set, to be told where it is too small.

    Raises:
        SdpnError: there are no utterances, a part of them alone has labels, there are too few speakers, or too few that
            the trials do not name, or there are trials where nothing is evaluated.
    """
    _refuse_none(train, where, skipped)
    labelled = sum(utterance.speaker is not None for utterance in train)
    if not labelled or not options["eval_share"]:
        why = "it has no speaker labels" if not labelled else "--eval-share is 0"
        if given.trials:
            raise SdpnError(
                f"{given.path}: there is no evaluation set that these trials can be of: {where} is all trained on, "
                f"since {why}: give an evaluation set, too, or no trials"
            )
        say(f"  {where}: {why}, so all of it is trained on")
        return {"train": train}
    if labelled < len(train):
        raise SdpnError(
            f"{where}: {len(train) - labelled} of {len(train)} utterances have no speaker label to split it by: give "
            "an evaluation set, label them, or train on all of it with --eval-share 0"
        )
    speakers = {utterance.id: utterance.speaker for utterance in train}
    named = {speakers[ids[name]] for name in given.names if name in ids}
    everyone = set(speakers.values())
    count = max(2, round(options["eval_share"] * len(everyone)))
    if named and len(everyone - named) < 2:
        raise SdpnError(
            f"{where}: {given.path} names {len(named)} of its {len(everyone)} speakers, who are evaluated: at least "
            f"two others are needed to train on{_left_out(skipped)}"
        )
    if not named:
        named = _choose(train, count, options["seed"], where, skipped, "; --eval-share 0 trains on all of it")
    return dict(zip(("train", "eval"), hold_out(train, named), strict=True))


@dataclass(frozen=True)
class GivenTrials:
    """A trial list of the user's and its enrollment map; no trials where none was given."""

    path: str
    trials: Sequence[Trial]
    models: dict[str, list[str]]

    @staticmethod
    def read(options: Mapping[str, Any]) -> "GivenTrials":
        """Read `trials` and `enroll_map` of the options.

        Raises:
            SdpnError: one has not the form it should have, or all trials are of one kind.
        """
        trials = read_trials(options["trials"]) if options.get("trials") else []
        if trials:
            refuse_one_kind(trials, options["trials"])
        models = read_enroll_map(options["enroll_map"]) if options.get("enroll_map") else {}
        return GivenTrials(options.get("trials") or "", trials, models)

    @property
    def name(self) -> str:
        """What the list is called among others: as its file is."""
        return "_".join(Path(self.path).name.lstrip(".").split(".")[0].split())

    def refuse_name(self, taken: Collection[str]) -> None:
        """Make sure that the list is not called as one of the corpus's own is, in whose place it would be.

        Raises:
            SdpnError: it is.
        """
        if self.trials and self.name in taken:
            raise SdpnError(f"{self.path}: a list of the corpus itself is called {self.name}: rename the file")

    @property
    def fingerprint(self) -> str:
        """What changes when a list does."""
        return digest(list(self.trials), self.models)

    @property
    def names(self) -> set[str]:
        """Every utterance named, in trials and models."""
        trials = Trials.of(self.trials)
        return (trials.enrolled - self.models.keys()) | trials.tested.union(*self.models.values())


def trials_of(
    given: GivenTrials,
    ids: Mapping[str, Mapping[str, str]],
    speech: Mapping[str, list[Utterance]],
    data: Path,
    seed: int,
    skipped: Mapping[str, list[Skipped]] | None = None,
) -> dict[str, TrialSet]:
    """The trials over every evaluation set: the given ones where their names exist, made from its labels elsewhere.

    Args:
        ids: for every evaluation set, utterance ids by the names that a trial list may use.
        speech: the utterances of every set. One without any gets no trials: `write_corpus` says why there are none.
        skipped: what was left out of a set, to be told where names are missing.

    Raises:
        SdpnError: a set lacks some of the names, no set has any of them, or a set has no labels to make trials of.
    """
    sets = {}
    for name, known in ids.items():
        if not speech[name]:
            continue
        if given.trials and given.names & known.keys():
            trials, unknown = name_by_id(given.trials, known, given.models)
            models, lacking = name_models(given.models, known, Trials.of(given.trials).enrolled)
            unknown = sorted({*unknown, *lacking})
            listing, left_out = data / "trials" / f"{name}.missing.txt", skipped or {}
            left_out = left_out.get(
                name, left_out.get("train", ())
            )  # a set that was split off train has none of its own
            refuse_unknown(unknown, known, len(given.names), given.path, name, listing, left_out)
            sets[name] = TrialSet(name, trials, models)
        else:
            if given.trials:
                say(f"  {name}: none of the names in {given.path} exists there, so its trials are made")
            sets[name] = TrialSet(name, generate(name, speech[name], seed))
    if sets and given.trials and not any(given.names & known.keys() for known in ids.values()):
        everyone = [name for known in ids.values() for name in known]
        names = describe_unknown(sorted(given.names), everyone)
        raise SdpnError(f"{given.path}: its names exist in no evaluation set: {names}")
    return sets


def generate(name: str, utterances: list[Utterance], seed: int) -> list[Trial]:
    """Trials made from the labels of an evaluation set.

    Raises:
        SdpnError: there are no labels, or no target or no non-target trial can be made.
    """
    if not utterances:
        raise SdpnError(f"{name}: there is no usable utterance in it")
    unlabelled = sum(utterance.speaker is None for utterance in utterances)
    if unlabelled:
        raise SdpnError(
            f"{name}: {unlabelled} of {len(utterances)} utterances have no speaker label to make trials of: give "
            "--trials"
        )
    sessions = defaultdict(set)
    for utterance in utterances:
        sessions[utterance.speaker].add(utterance.session)
    single = sum(len(own) == 1 for own in sessions.values())
    labels = [(utterance.id, utterance.speaker, utterance.session, utterance.gender) for utterance in utterances]
    trials = make_trials(*zip(*labels, strict=True), seed)
    if not any(trial.target for trial in trials):
        raise SdpnError(
            f"{name}: no speaker has two utterances, so there is no target trial: add some, or give --trials"
        )
    if single:
        say(f"  {name}: {single} of {len(sessions)} speakers have one session: their target trials lie within it")
    return trials
