"""Recordings that lists name one by one, as files or as commands: where they are, and what their headers say."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sdpn.audio import faults, pipes
from sdpn.audio.files import AudioFile
from sdpn.audio.headers import Header, from_json, probe
from sdpn.audio.read import measure
from sdpn.console import Progress, counted
from sdpn.errors import Reason, SdpnError, UnusableError
from sdpn.files import Stamp, digest, write_text

_COMMANDS_PER_JOB = 50


class Source(NamedTuple):
    """Where a recording comes from: a file, or the output of a command."""

    place: str
    command: bool = False

    @property
    def kind(self) -> str:
        """As `Utterance.kind` has it."""
        return "command" if self.command else "file"


def base_of(names: Iterable[str], folder: Path) -> Path | None:
    """The folder that the relative paths among `names`, which stand in a list in `folder`, are relative to.

    Recipes run in a folder above their lists, so it is the working directory or one of those above the list: the first
    in which any of the first hundred paths exists (single files may be missing), None where there is none.
    """
    relative = list(islice((name for name in names if not os.path.isabs(name)), 100))
    for base in (Path.cwd(), *folder.resolve().parents, folder.resolve()):
        if any((base / name).exists() for name in relative):
            return base
    return None


def refuse_commands(sources: Iterable[Source], where: str | Path, allowed: bool) -> None:
    """Make sure that no command is run unless the user said so: it may do anything.

    Raises:
        SdpnError: there are commands, and they are not allowed.
    """
    commands = [source.place for source in sources if source.command]
    if commands and allowed:
        pipes.allow()
    elif commands:
        raise SdpnError(
            f"{where}: {counted(len(commands), 'recording is a command', 'recordings are commands')}, "
            f"e.g. `{commands[0][:100]}`: look at them, and give "
            "--allow-pipes to have them run, in this stage and in the next ones"
        )


def fingerprint_sources(sources: Mapping[str, Source]) -> str:
    """What changes when a file or a command does."""
    stamps = []
    for id, source in sources.items():
        file = None if source.command else _file(source.place)
        stamps.append([id, source.place, file and file.stamp])
    return digest(stamps)


def probe_sources(
    sources: Mapping[str, Source], run: Callable[..., Iterable], title: str, cache: Path
) -> dict[str, Header | Reason]:
    """The header of each recording, or why it cannot be used. A command is run to its end: it has no header.

    See `headers.probe` for `run` and `cache`.
    """
    found: dict[str, Header | Reason] = {}
    files: list[tuple[str, AudioFile]] = []
    commands = []
    for id, source in sources.items():
        if source.command:
            commands.append((id, source.place))
        elif (file := _file(source.place)) is None:
            found[id] = Reason(faults.NOT_REGULAR if os.path.exists(source.place) else "there is no such file")
        else:
            files.append((id, file))
    headers = probe([file for _, file in files], run, title, cache / "files")
    found |= {id: header for (id, _), header in zip(files, headers, strict=True)}
    parts = [commands[i : i + _COMMANDS_PER_JOB] for i in range(0, len(commands), _COMMANDS_PER_JOB)]
    with Progress(f"{title}, commands", len(commands), "commands") as progress:
        for part in run(_run_some, [(part, cache / "commands") for part in parts]):
            found |= {id: from_json(header) for id, header in part.items()}
            progress.advance(len(part))
    return found


def _file(path: str) -> AudioFile | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):  # whoever opens a named pipe waits for ever
        return None
    return AudioFile("", path, Stamp(status.st_size, status.st_mtime_ns))


def _run_some(commands: Sequence[tuple[str, str]], cache: Path) -> dict[str, Sequence]:
    text = json.dumps(commands, ensure_ascii=False)
    kept = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    headers = {id: _command_header(command) for id, command in commands}
    if not any(isinstance(header, Reason) for header in headers.values()):  # what failed may be tried again
        write_text(kept, json.dumps(headers, ensure_ascii=False))
    return headers


def _command_header(command: str) -> Header | Reason:
    """What writes into a pipe does not know the length in advance: it is read to its end."""
    try:
        return measure(command, is_command=True)
    except UnusableError as error:
        return error.reason
