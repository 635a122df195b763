"""The words that each program of the recipe is called with."""

import shlex

from sdpn.recipe.check import Run, config_files
from sdpn.recipe.command_line import keys_of
from sdpn.recipe.corpora import COMBINED, OWN, kind_of
from sdpn.recipe.options import ALL, SECTIONS, Option

PROGRAMS = (
    "check_conf",
    "make_cuts",
    "check_sizes",
    "make_fbank",
    "make_augment",
    "train_sdpn",
    "extract_xvectors",
    "score",
    "make_pseudo_speakers",
    "finetune",
)


def shell(run: Run) -> str:
    """Return what run.sh evaluates: its variables, and for each program an array of words.

    The words do not name the folders of data and experiment: run.sh does. No array is empty, since old versions of
    bash take an empty one for an unset one.
    """
    first, last = run.stages if run.given.options.get("print-config") != "true" else (1, 0)
    lines = [f"stage={first}", f"stop_stage={last}", f"data={shlex.quote(run.data)}", f"exp={shlex.quote(run.exp)}"]
    arrays = {
        "rounds": _rounds(run),
        "prepare": _prepare(run),
        **{program: words_for(program, run) for program in PROGRAMS},
    }
    return "\n".join([*lines, *(f"{name}=({shlex.join(words)})" for name, words in arrays.items())])


def _rounds(run: Run) -> list[str]:
    """Return the names of the experiments that stages 7 to 9 make, below that of stage 4."""
    if "labels" in run.given.options:
        return ["supervised"]
    return [f"round{number}" for number in range(1, 1 + int(run.given.options.get("rounds", "1")))]


def words_for(program: str, run: Run) -> list[str]:
    """Return the options that a program receives: those given, and those that are computed."""
    given, words = run.given, []
    for section in SECTIONS.values():
        if program in section.files and (section.name in given.files or not section.file):
            words += [f"--{section.files[program]}", config_files(run)[section.name]]
    for option in ALL.values():
        if program in option.to:
            words += _option(option, given.options.get(option.name, option.computed() if option.computed else None))
    for section in SECTIONS.values():
        known = keys_of(section.to[program]) if program in section.to else []
        for key, values in given.settings.get(section.name, {}).items():
            if key in known or program in section.also.get(key, ()):
                words += _setting(key, values)
    if program == "check_conf":
        words += _all_of_it(run)
    if program in ("train_sdpn", "finetune") and run.dev:
        words += ["--dev-trials", "dev"]  # to be looked at, epoch by epoch
    return words


def _option(option: Option, text: str | None) -> list[str]:
    if text is None or (option.kind == "switch" and text == "false" and not option.off):
        return []
    if option.kind == "switch":
        return [f"--{option.name if text == 'true' else option.off}"]
    return [f"--{option.name}", text]


def _setting(key: str, values: list[str]) -> list[str]:
    name = key.replace("_", "-")
    if values == ["true"]:
        return [f"--{name}"]
    return [f"--no-{name}"] if values == ["false"] else [f"--{name}", *values]


def _prepare(run: Run) -> list[str]:
    """Return the whole command of stage 0 but the data folder."""
    if run.corpus == COMBINED:
        return ["local/prepare_again.py"]
    known, words = kind_of(run.corpus).own, []
    for option in ALL.values():
        if "prepare" in option.to and (option.name in known or option.name not in OWN):
            if run.held and option.name == "seed":  # the corpus has its own
                continue
            words += _option(option, run.given.options.get(option.name, option.computed() if option.computed else None))
    if run.corpus != "toy":
        cuts = SECTIONS["cuts"]
        for key, values in run.given.settings.get("cuts", {}).items():
            words += _setting(key, values) if "prepare" in cuts.also.get(key, ()) else []
        if "cuts" in run.given.files:
            words += [f"--{cuts.files['prepare']}", run.given.files["cuts"]]
    return ["local/prepare_again.py" if run.held else f"local/prepare_{run.corpus}.py", *words]


def _all_of_it(run: Run) -> list[str]:
    """Return what check_conf.py receives: everything, so that all is checked before any work."""
    words = ["--corpus", run.corpus]
    for option in ALL.values():
        if option.identifies:
            words += _option(option, run.given.options.get(option.name))
    for section, file in config_files(run).items():
        words += ["--file", section, file]
    for section, keys in run.given.settings.items():
        for key, values in keys.items():
            if f"{section}.{key}" not in run.suited:  # these it knows by the corpus
                words += ["--set", f"{section}.{key}", " ".join(values)]
    return words + (["--print-config"] if run.given.options.get("print-config") == "true" else [])
