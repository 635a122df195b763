"""Check what can be checked of a run without any package: stages, what goes with a corpus, files and folders."""

import os
from dataclasses import dataclass
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.recipe.command_line import Given
from sdpn.recipe.corpora import COMBINED, KINDS, OWN, held_corpus, kind_of
from sdpn.recipe.options import ALL, SECTIONS


@dataclass(frozen=True)
class Run:
    """A run that may begin.

    Attributes:
        given: what the user gave, with absolute paths, and what the kind of corpus adds to it.
        corpus: the kind of corpus.
        held: whether the data folder holds it already.
        stages: the first and the last stage.
        data, exp: the folders that are written.
        config: the settings of stage 4.
        suited: the settings, "section.key", that the kind of corpus adds to what was given.
        dev: whether speakers are held out for choosing settings.
    """

    given: Given
    corpus: str
    held: bool
    stages: tuple[int, int]
    data: str
    exp: str
    config: str
    suited: frozenset[str]
    dev: bool


def check(given: Given, here: Path, last_stage: int) -> Run:
    """Complete and check what was given.

    Args:
        here: the folder in which the user typed the command; this process runs in that of the recipe.
        last_stage: the number of the last stage that run.sh has.

    Raises:
        SdpnError: something does not fit, is not there, or may not be written.
    """
    options = given.options
    first, last = (int(options.get(name, ALL[name].default or 0)) for name in ("stage", "stop-stage"))
    if last > last_stage:
        raise SdpnError(f"--stop-stage is {last}; the last stage is {last_stage}")
    if first > last:
        raise SdpnError(f"--stage {first} comes after --stop-stage {last}")
    _make_absolute(given, here)
    data = options.get("data-dir", _from(here, str(ALL["data-dir"].default)))
    corpus, held = _corpus(options, Path(data))
    kind = kind_of(corpus)
    for name in OWN - set(kind.own):
        if options.get(name, "false") != "false" or (ALL[name].off and name in options):
            raise SdpnError(f"--{name} does not go with --corpus {corpus}")
    if first == 0 and held is None:
        for name in kind.needed:
            if name not in options and not (name in kind.downloadable and options.get("download") == "true"):
                raise SdpnError(f"--corpus {corpus} needs --{name}")
    suited = {name: text for name, text in kind.settings.items() if not given.has_setting(name)}
    for name, text in suited.items():
        given.add_setting(name, [text])
    exp = options.get("exp-dir", _from(here, f"exp/{corpus}"))
    config = given.files.get("train", kind.config)
    _check_paths(given)
    if first <= 3 and not _writable(data):
        raise SdpnError(f"--data-dir is '{data}', which may not be written")
    if last >= 4 and not _writable(exp):
        raise SdpnError(f"--exp-dir is '{exp}', which may not be written")
    dev = options.get("dev-speakers") or (held or {}).get("dev_speakers") or 0
    return Run(given, corpus, held is not None, (first, last), data, exp, config, frozenset(suited), int(dev) != 0)


def _corpus(options: dict[str, str], data: Path) -> tuple[str, dict | None]:
    """Return the kind of corpus, and the options it was prepared with if the data folder is to tell."""
    if "corpus" in options:
        corpus = options["corpus"]
        if corpus == COMBINED:
            raise SdpnError("local/combine.py makes a combined corpus: name its folder with --data-dir")
        if corpus not in KINDS:
            raise SdpnError(f"--corpus is '{corpus}'; allowed: {', '.join(KINDS)}")
        return corpus, None
    held = held_corpus(data)
    if held is not None:
        return held
    if (data / "headers").is_dir():
        raise SdpnError(
            f"{data} holds a corpus whose stage 0 was not finished: give --corpus and its options once more"
        )
    return "toy", None


def _make_absolute(given: Given, here: Path) -> None:
    """Make paths absolute that are relative to another folder than the one this process runs in."""
    options = given.options
    for name, text in options.items():
        if ALL[name].kind == "paths":
            options[name] = ",".join(_from(here, path) for path in text.split(",") if path)
        elif ALL[name].kind in ("folder", "file", "path", "output"):
            options[name] = _from(here, text)
    for section, path in given.files.items():  # those of conf/ can be named from anywhere
        if (here / path).exists() or not Path(path).exists():
            given.files[section] = _from(here, path)
    calibration = given.settings.get("backend", {}).get("calibration")
    if calibration and (here / calibration[0]).is_file():
        calibration[0] = _from(here, calibration[0])


def _from(here: Path, path: str) -> str:
    return path if os.path.isabs(path) or here == Path.cwd() else str(here / path)


def _check_paths(given: Given) -> None:
    for section, file in given.files.items():
        if not Path(file).is_file():
            name = "config" if section == "train" else f"{section}-config"
            raise SdpnError(f"--{name} is '{file}', which is not a file")
    for name, text in given.options.items():
        kind, path = ALL[name].kind, Path(text)
        if kind == "file" and (not path.exists() or path.is_dir()):  # a pipe, as <(grep ...) gives one, will do
            raise SdpnError(f"--{name} is '{text}', which is not a file")
        if kind == "folder" and not path.is_dir():
            raise SdpnError(f"--{name} is '{text}', which is not a folder")


def _writable(folder: str) -> bool:
    """Return whether a folder may be written, or made if it is not there yet."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)


def config_files(run: Run) -> dict[str, str]:
    """Return the file of each section's settings."""
    files = {section: one.file for section, one in SECTIONS.items()}
    return {**files, "train": run.config, "finetune": kind_of(run.corpus).finetune, **run.given.files}
