"""What stage 0 leaves in the data folder, for any corpus."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdpn.console import say, timed
from sdpn.corpus.audio_files import Skipped
from sdpn.corpus.layout import Corpus
from sdpn.corpus.manifests import Entry, summary, write_set
from sdpn.corpus.trials import Trial, write_trials
from sdpn.files import digest, exclusive, remove_partial, write_text
from sdpn.shards import Work


def prepare_once(
    data: Path, name: str, options: dict[str, Any], inputs: dict[str, Any], prepare: Callable[[], list[Path]]
) -> None:
    """Call `prepare`, which makes the corpus in `data` and returns its files, unless all is there and still holds.

    While it runs there is no `corpus.json`, so that no later stage trusts what a killed run leaves.

    Args:
        options: what the user asked for; `data` may hold no corpus made with others.
        inputs: what the files depend on beside the options, by name: see `sdpn.shards.Work.fingerprint`.

    Raises:
        SdpnError: `data` holds another corpus, or another process writes into it.
    """
    Corpus.refuse_another(data, name, options)
    with exclusive(data):
        work = Work(data, name, {"options": digest(options), **inputs})
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


def write_corpus(
    data: Path,
    name: str,
    options: dict[str, Any],
    speech: Mapping[str, list[Entry]],
    trials: Mapping[str, list[Trial]],
    clips: Mapping[str, list[Entry]],
    skipped: Mapping[str, list[Skipped]],
) -> list[Path]:
    """Write manifests, trial lists, lists of skipped files and, last, `corpus.json`; say what was written.

    Args:
        speech: the entries of `train` and of every evaluation set, by set.
        trials: the trials over each evaluation set.
        clips: the entries of `noise`, `music` and `rir`, of those that there are.
        skipped: files left out of a set, listed in `<set>/skipped.txt`.

    Returns:
        the paths written.
    """
    written = []
    for set_name, entries in speech.items():
        written += write_set(data / set_name, entries)
        say(f"  {set_name}: {summary(entries)}")
    for kind, entries in clips.items():
        written += write_set(data / kind, entries, speech=False)
        say(f"  {kind}: {len(entries)} clips")
    for set_name in [*speech, *clips]:
        listing = data / set_name / "skipped.txt"
        listing.unlink(missing_ok=True)
        if skipped.get(set_name):
            write_text(listing, "".join(f"{path}\t{reason}\n" for path, reason in skipped[set_name]))
            say(f"  {set_name}: {len(skipped[set_name])} files skipped: {listing} says which and why")
            written.append(listing)
    for set_name, own in trials.items():
        path = data / "trials" / f"{set_name}.txt"
        write_trials(path, own)
        targets = sum(trial.target for trial in own)
        say(f"  {path.relative_to(data)}: {targets} target and {len(own) - targets} non-target trials")
        written.append(path)
    corpus = Corpus(
        name=name,
        train="train",
        evals=list(trials),
        trials={set_name: set_name for set_name in trials},
        noises={kind: kind for kind in clips if kind != "rir"},
        rir="rir" if "rir" in clips else None,
        options=options,
    )
    return [*written, corpus.write(data)]
