"""What the programs in local/ share: common options, given and made trial lists, and the end of the work."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from sdpn import config
from sdpn.console import say
from sdpn.corpus.clips import ClipSource, clip_options, fingerprint_clips, make_clips
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.folder import choose_speakers, hold_out
from sdpn.corpus.manifests import Entry
from sdpn.corpus.trials import (
    Trial,
    TrialSet,
    make_trials,
    name_by_id,
    name_models,
    read_enroll_map,
    read_trials,
    refuse_one_kind,
    refuse_unknown,
)
from sdpn.corpus.writer import CACHE, Prepared, prepare_once, write_corpus
from sdpn.errors import SdpnError
from sdpn.files import digest

# What does not tell one corpus from another
_HOW = ("nj", "max_skipped", "download", "downloads_config", "cuts_config", "allow_pipes")


def stage0_options(command: Callable) -> Callable:
    """A decorator: the options that every program of stage 0 has (but that of the toy corpus)."""
    share = click.FloatRange(0, 1)
    command = click.option("--nj", default=1, type=click.IntRange(1), help="processes")(command)
    command = click.option("--seed", default=1, type=click.IntRange(0))(command)
    command = click.option(
        "--max-skipped", type=share, help="share of a set that may be unusable (default: that of --cuts-config)"
    )(command)
    command = click.option("--cuts-config", default="conf/cuts.yaml", help="settings of stage 1 (YAML)")(command)
    command = click.option(
        "--dev-speakers", default=0, type=click.IntRange(0), help="training speakers held out as set dev"
    )(command)
    return clip_options(command)


def trial_options(command: Callable) -> Callable:
    """A decorator: the options for trials of the user's own."""
    path = click.Path(path_type=Path)
    command = click.option("--enroll-map", type=path, help="`model utterance utterance ...` lines; needs --trials")(
        command
    )
    return click.option("--trials", type=path, help="`enroll test target|nontarget` or `1 enroll test` lines")(command)


def download_options(what: str) -> Callable:
    """A decorator: the options for fetching `what`, MUSAN and RIRS_NOISES."""

    def decorate(command: Callable) -> Callable:
        help = "where everything is, and its checksums (YAML)"
        command = click.option(
            "--downloads-config", default="conf/downloads.yaml", type=click.Path(path_type=Path), help=help
        )(command)
        help = f"fetch {what}, MUSAN and RIRS_NOISES where they are not given"
        return click.option("--download", is_flag=True, help=help)(command)

    return decorate


def set_options(what: str) -> Callable:
    """A decorator: the options for sets that the user has made, each `what`."""

    def decorate(command: Callable) -> Callable:
        share = click.FloatRange(0, 1, min_open=True, max_open=True)
        command = click.option("--allow-pipes", is_flag=True, help="run the commands that stand in the place of files")(
            command
        )
        command = click.option(
            "--eval-share", default=0.2, type=share, help="of the training speakers, where --eval is not given"
        )(command)
        command = trial_options(command)
        command = click.option("--eval", "eval", help=f"evaluation sets, separated by commas: {what}")(command)
        return click.option("--train", required=True, type=click.Path(path_type=Path), help=f"training set: {what}")(
            command
        )

    return decorate


def named_sets(options: dict[str, Any]) -> dict[str, Path]:
    """The sets that `--train` and `--eval` name, by the names that they get here; paths in `options` become absolute.

    One evaluation set is `eval`; several are called as their folders are, with `eval_` before it.
    """
    given = [Path(path.strip()).resolve() for path in (options["eval"] or "").split(",") if path.strip()]
    options["eval"] = ",".join(str(path) for path in given) or None
    names = ["eval"] if len(given) == 1 else [_eval_name(path) for path in given]
    if len(set(names)) < len(names):
        raise SdpnError(f"--eval names two sets called {next(name for name in names if names.count(name) > 1)}")
    for path in (Path(options["train"]), *given):
        if not path.exists():
            raise SdpnError(f"{path}: there is no such file or folder")
    return {"train": Path(options["train"]), **dict(zip(names, given, strict=True))}


def _eval_name(path: Path) -> str:
    name = "_".join(path.name.split(".")[0].split())
    return name if name.startswith("eval") else f"eval_{name}"


def split_speakers(
    train: list[Entry], ids: Mapping[str, str], given: "GivenTrials", options: Mapping[str, Any], where: str
) -> dict[str, list[Entry]]:
    """Sets `train` and `eval` of one set: the speakers that the trials name are evaluated, or else a share of all.

    Args:
        ids: utterance ids by the names that a trial list may use.

    Raises:
        SdpnError: there are no labels, or too few speakers.
    """
    if any(entry.speaker is None for entry in train):
        raise SdpnError(f"{where}: it has no speaker labels to split it by: give an evaluation set, too")
    speakers = {entry.id: entry.speaker for entry in train}
    named = {speakers[ids[name]] for name in given.names if name in ids}
    count = max(2, round(options["eval_share"] * len(set(speakers.values()))))
    chosen = named or choose_speakers(train, count, options["seed"], where)
    return dict(zip(("train", "eval"), hold_out(train, chosen), strict=True))


def absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every path made absolute, as text; checks those that all programs share.

    Raises:
        SdpnError: --dev-speakers is 1, or there is an enrollment map without trials.
    """
    options = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in given.items()}
    if options.get("dev_speakers") == 1:
        raise SdpnError("--dev-speakers is 1; give 0, or at least 2")
    if options.get("enroll_map") and not options.get("trials"):
        raise SdpnError("--enroll-map says what the models of --trials are made of: give both")
    cuts = config.read(options["cuts_config"], CutsConfig, {"max_skipped": options["max_skipped"]})
    return {**options, "max_skipped": cuts.max_skipped}


def distinguishing(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that tell one corpus from another."""
    return {key: value for key, value in options.items() if key not in _HOW}


def prepare(
    data: Path,
    name: str,
    options: dict[str, Any],
    inputs: dict[str, Any],
    clips: list[ClipSource],
    find: Callable[[], Prepared],
    run: Callable,
) -> None:
    """Make the corpus `name` in `data`, unless it is there already and still holds.

    Args:
        options: of the program; see `absolute`.
        inputs: what the sets of speech depend on beside the options, by name.
        clips: see `clips.find_clips`.
        find: the sets of speech and their trials.
        run: yields `function(*job)` for every job.
    """

    def make() -> list[Path]:
        prepared = find()
        if options["dev_speakers"]:
            prepared = _with_dev(prepared, options)
        entries, skipped, audio = make_clips(clips, data, options["seed"], run, data / CACHE)
        prepared = replace(
            prepared, clips=entries, skipped={**prepared.skipped, **skipped}, max_skipped=options["max_skipped"]
        )
        return [*audio, *write_corpus(data, name, kept, prepared)]

    kept = distinguishing(options)
    prepare_once(data, name, kept, {**inputs, **fingerprint_clips(clips)}, make)


def _with_dev(prepared: Prepared, options: dict[str, Any]) -> Prepared:
    train = prepared.speech["train"]
    if any(entry.speaker is None for entry in train):
        raise SdpnError("--dev-speakers holds out training speakers, but the training set has no speaker labels")
    chosen = choose_speakers(train, options["dev_speakers"], options["seed"], "the training set")
    stay, dev = hold_out(train, chosen)
    trials = TrialSet("dev", generate("dev", dev, options["seed"]))
    return replace(
        prepared, speech={**prepared.speech, "train": stay, "dev": dev}, trials={**prepared.trials, "dev": trials}
    )


@dataclass(frozen=True)
class GivenTrials:
    """A trial list of the user's and its enrollment map; no trials where none was given."""

    path: str
    trials: list[Trial]
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
        return "_".join(Path(self.path).name.split(".")[0].split())

    @property
    def fingerprint(self) -> str:
        """What changes when a list does."""
        return digest(self.trials, self.models)

    @property
    def names(self) -> set[str]:
        """Every utterance named, in trials and models."""
        names = {name for trial in self.trials for name in (trial.enroll, trial.test) if name not in self.models}
        return names | {name for utterances in self.models.values() for name in utterances}


def trials_of(
    given: GivenTrials, ids: Mapping[str, Mapping[str, str]], speech: Mapping[str, list[Entry]], data: Path, seed: int
) -> dict[str, TrialSet]:
    """The trials over every evaluation set: the given ones where their names exist, made from its labels elsewhere.

    Args:
        ids: for every evaluation set, utterance ids by the names that a trial list may use.
        speech: the entries of every set.

    Raises:
        SdpnError: a set lacks some of the names, no set has any of them, or a set has no labels to make trials of.
    """
    sets = {}
    for name, known in ids.items():
        trials, unknown = name_by_id(given.trials, known, given.models)
        models, lacking = name_models(given.models, known, {trial.enroll for trial in given.trials})
        found = bool(given.names & known.keys())
        if given.trials and found:
            unknown = sorted({*unknown, *lacking})
            refuse_unknown(unknown, len(given.names), given.path, name, data / "trials" / f"{name}.missing.txt")
            sets[name] = TrialSet(name, trials, models)
        else:
            if given.trials:
                say(f"  {name}: none of the names in {given.path} exists there, so its trials are made")
            sets[name] = TrialSet(name, generate(name, speech[name], seed))
    if given.trials and not any(given.names & known.keys() for known in ids.values()):
        raise SdpnError(f"{given.path}: its names exist in no evaluation set, e.g. {given.trials[0].enroll}")
    return sets


def generate(name: str, entries: list[Entry], seed: int) -> list[Trial]:
    """Trials made from the labels of an evaluation set.

    Raises:
        SdpnError: there are no labels, or no target or no non-target trial can be made.
    """
    if not entries:
        raise SdpnError(f"{name}: there is no usable utterance in it")
    if any(entry.speaker is None for entry in entries):
        raise SdpnError(f"{name}: it has no speaker labels to make trials of: give --trials")
    sessions = defaultdict(set)
    for entry in entries:
        sessions[entry.speaker].add(entry.session)
    single = sum(len(own) == 1 for own in sessions.values())
    trials = make_trials(entries, seed)
    if not any(trial.target for trial in trials):
        raise SdpnError(
            f"{name}: no speaker has two utterances, so there is no target trial: add some, or give --trials"
        )
    if single:
        say(f"  {name}: {single} of {len(sessions)} speakers have one session: their target trials lie within it")
    return trials
