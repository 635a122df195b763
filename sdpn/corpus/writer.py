"""What stage 0 leaves in the data folder, for any corpus."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdpn.console import counted, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.corpus.manifests import (
    refuse_control_characters,
    refuse_equal_ids,
    summary,
    write_set,
)
from sdpn.errors import SdpnError
from sdpn.files import exclusive, write_text
from sdpn.locks import remove_partial
from sdpn.shards import Work
from sdpn.skipped import Skipped, count_reasons, refuse_many_skipped, write_skipped
from sdpn.trials.lists import TrialSet
from sdpn.trials.names import some
from sdpn.utterance import Utterance

# Work that a rerun may use again; it is no result
CACHE = "headers"
GIVEN_FEATURES = "feats.scp.given"


@dataclass(frozen=True)
class Prepared:
    """A corpus as stage 0 found it.

    Attributes:
        speech: the utterances of `train` and of every evaluation set, by set.
        trials: the trial lists by name, in the order of the results table.
        clips: those of `noise`, `music`, `talkers` and `rir`, of those that there are.
        skipped: what was left out of a set.
        features: of the sets that came with some: Kaldi's rxspecifiers, by utterance.
        max_skipped: the share of a set that may be left out; more is an error.
    """

    speech: dict[str, list[Utterance]]
    trials: dict[str, TrialSet]
    clips: dict[str, list[Utterance]]
    skipped: dict[str, list[Skipped]] = field(default_factory=dict)
    features: dict[str, dict[str, str]] = field(default_factory=dict)
    max_skipped: float = 0.0


def prepare_once(
    data: Path, name: str, options: dict[str, Any], inputs: dict[str, Any], prepare: Callable[[], list[Path]]
) -> None:
    """Call `prepare`, which makes the corpus in `data` and returns its files, unless all is there and still holds.

    While it runs there is no `corpus.json`, so that no later stage trusts what a killed run leaves.

    Args:
        options: what the user asked for; `data` may hold no corpus made with others.
        inputs: what the files depend on beside the options, by name: see `sdpn.shards.Work.inputs`.

    Raises:
        SdpnError: `data` holds another corpus, or another process writes into it.
    """
    Corpus.refuse_another(data, name, options)
    with exclusive(data):
        work = Work(data, name, {"options": options, **inputs})
        reason = work.stale_reason()
        if reason is None:
            say(f"{data}: the corpus '{name}' is there: nothing to do")
            return
        if not work.is_new():
            say(f"{data}: the corpus '{name}': {reason}: redone")
        (data / "corpus.json").unlink(missing_ok=True)
        work.begin()
        for folder in (data / "audio").rglob("*/"):  # what a killed run was writing
            remove_partial(folder)
        with timed(f"the corpus '{name}' is in {data}"):
            work.finish(prepare())


def write_corpus(data: Path, name: str, options: dict[str, Any], prepared: Prepared) -> list[Path]:
    """Write manifests, trial lists, lists of what was skipped and, last, `corpus.json`; say what was written.

    Returns:
        the paths written.

    Raises:
        SdpnError: a set is empty, has an id twice, or lost too much; people or utterances are both trained on and
            evaluated.
    """
    written = []
    sets = {**prepared.speech, **prepared.clips}
    for set_name, utterances in sets.items():
        written += _write_what_was_skipped(data / set_name, utterances, prepared)
        refuse_equal_ids(utterances, set_name)
        refuse_control_characters(utterances, set_name)
    refuse_shared_speakers(
        {name: {utterance.speaker for utterance in own} for name, own in prepared.speech.items()}, data
    )
    refuse_shared_utterances(prepared.speech)
    for set_name, utterances in prepared.speech.items():
        written += write_set(data / set_name, utterances)
        say(f"  {set_name}: {summary(utterances)}")
    for kind, clips in prepared.clips.items():
        written += write_set(data / kind, clips, speech=False)
        say(f"  {kind}: {len(clips)} clips")
    for list_name, trials in prepared.trials.items():
        written += trials.write(data / "trials", list_name)
        targets = sum(trial.target for trial in trials.trials)
        models = f", {len(trials.models)} enrolled models" if trials.models else ""
        say(f"  trials/{list_name}.txt: {targets} target and {len(trials.trials) - targets} non-target trials{models}")
    for set_name, features in prepared.features.items():
        written.append(data / set_name / GIVEN_FEATURES)
        usable = {utterance.id for utterance in prepared.speech[set_name]}
        ids = sorted(usable & features.keys(), key=str.encode)
        write_text(written[-1], "".join(f"{id} {features[id]}\n" for id in ids))
        say(f"  {set_name}: {len(ids)} of {len(usable)} utterances bring features, listed in {written[-1]}")
    corpus = Corpus(
        name=name,
        train="train",
        evals=[set_name for set_name in prepared.speech if set_name != "train"],
        trials={list_name: trials.set_name for list_name, trials in prepared.trials.items()},
        noises={kind: kind for kind in prepared.clips if kind in ("noise", "music")},
        rir="rir" if "rir" in prepared.clips else None,
        talkers="talkers" if "talkers" in prepared.clips else None,
        given_features={set_name: GIVEN_FEATURES for set_name in prepared.features},
        options=options,
    )
    return [*written, corpus.write(data)]


def _write_what_was_skipped(folder: Path, utterances: list[Utterance], prepared: Prepared) -> list[Path]:
    """List what was left out of a set, and say how much for each reason."""
    listing, skipped = folder / "skipped_files.tsv", prepared.skipped.get(folder.name, [])
    listing.unlink(missing_ok=True)
    if skipped:
        write_skipped(listing, skipped)
        for reason, count in count_reasons(skipped).most_common():
            say(f"  {folder.name}: {count} skipped, {reason}: {listing} lists them")
    if not utterances:
        first = f" (the first: {skipped[0]})" if skipped else ""
        raise SdpnError(f"{folder.name}: none of {len(skipped)} files can be used{first}")
    total = len(utterances) + len(skipped)
    refuse_many_skipped(folder.name, count_reasons(skipped), total, prepared.max_skipped, listing)
    return [listing] if skipped else []


def refuse_shared_speakers(speakers: dict[str, set[str | None]], data: Path) -> None:
    """Make sure that nobody is both trained on and evaluated, where both have labels.

    Args:
        speakers: of every set of speech, by set; one is `train`.

    Raises:
        SdpnError: the training set and an evaluation set share speakers; some are named.
    """
    trained = {speaker for speaker in speakers["train"] if speaker is not None}
    for name, evaluated in speakers.items():
        shared = sorted(trained.intersection(evaluated)) if name != "train" else []
        if shared:
            raise SdpnError(
                f"{data}: {counted(len(shared), 'speaker is', 'speakers are')} both in train and in {name}: "
                f"{some(shared)}; take them out of "
                "one, or give different people different names"
            )


def refuse_shared_utterances(speech: dict[str, list[Utterance]]) -> None:
    """Make sure that no utterance is both trained on and evaluated, which labels do not tell where there are none.

    Raises:
        SdpnError: the training set and an evaluation set share utterances; the first is named.
    """
    for name in [name for name in speech if name != "train"]:
        evaluated = {(utterance.source, utterance.start, utterance.channel) for utterance in speech[name]}
        shared = [
            utterance
            for utterance in speech["train"]
            if (utterance.source, utterance.start, utterance.channel) in evaluated
        ]
        if shared:
            raise SdpnError(
                f"{counted(len(shared), 'utterance is', 'utterances are')} both in train and in {name}, "
                f"e.g. {shared[0].id} ({shared[0].source}): "
                "take them out of one"
            )
