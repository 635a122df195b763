"""The options that the programs of stage 0 share, and what is checked of them at once."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from sdpn import config
from sdpn.corpus.clips import clip_options
from sdpn.corpus.config import CutsConfig
from sdpn.errors import SdpnError
from sdpn.files import atomic_path

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


def share_option(where: str) -> Callable:
    """A decorator: the option for how much of a labelled set is evaluated, in the case that `where` names."""
    share = click.FloatRange(0, 1, max_open=True)
    help = f"of the speakers, held out as set eval {where}; 0: all are trained on"
    return click.option("--eval-share", default=0.2, type=share, help=help)


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
        command = click.option("--allow-pipes", is_flag=True, help="run the commands that stand in the place of files")(
            command
        )
        command = share_option("where --eval is not given")(command)
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


LISTS = ("trials", "enroll_map")
"""Options that name a list, which may come out of a pipe."""


def is_stream(path: str | Path) -> bool:
    """Return whether a path is a pipe, as `<(grep ...)` gives one, or anything else that is read but once."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def kept_list(data: Path, name: str) -> Path:
    """The file in `data` that keeps what came out of the pipe that the option `name` gave."""
    return data.resolve() / "given" / f"{name}.txt"


def _keep(stream: Path, path: Path) -> Path:
    """Read a stream, whole and once, into a file that lasts as long as the corpus made of it; return the file."""
    with atomic_path(path) as temporary, open(stream, "rb") as opened, open(temporary, "wb") as written:
        shutil.copyfileobj(opened, written)
    return path


def absolute(data: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every path made absolute, as text; checks those that all programs share.

    A list that comes out of a pipe is read here, into a file of `data`, whose path takes its place: later runs find it
    there, and compare what it holds.

    Raises:
        SdpnError: --dev-speakers is 1, or there is an enrollment map without trials.
    """
    kept = {name: _keep(given[name], kept_list(data, name)) for name in LISTS if is_stream(given.get(name) or "")}
    given = {**given, **kept}
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
