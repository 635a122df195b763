"""The options that the programs of stage 0 were given: made absolute, checked, and told apart."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdpn import config
from sdpn.corpus.config import CutsConfig
from sdpn.errors import SdpnError
from sdpn.files import atomic_path

# What does not tell one corpus from another
_HOW = ("nj", "max_skipped", "download", "downloads_config", "cuts_config", "allow_pipes")


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
