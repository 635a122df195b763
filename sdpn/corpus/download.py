"""Corpora that may be downloaded without a password: fetched so that a broken line costs little, and checked."""

import hashlib
import http.client
import io
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sdpn import config
from sdpn.console import Progress, say
from sdpn.errors import SdpnError
from sdpn.files import exclusive

_CHUNK = 1 << 20
_TRIES = 5
_PAUSE = 2.0  # s before the second try, doubled before each later one
_TIMEOUT = 60.0  # s without a byte


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch, and what is known of it."""

    file: str = config.value(help="its name here")
    urls: list[str] = config.value(help="its addresses; the next is tried where one fails")  # noqa: RUF009
    bytes: int | None = config.value(None, at_least=1)
    md5: str | None = config.value(None)
    lines: int | None = config.value(None, at_least=1)
    begins: str | None = config.value(None, "the first words of a text")


@dataclass(frozen=True)
class Download:
    """A corpus, or a part of one, of conf/downloads.yaml."""

    corpus: str = config.value(help="what it belongs to")
    files: list[RemoteFile] = config.value(help="the files, or the pieces of one archive")  # noqa: RUF009
    unpacks: str | None = config.value(None, "the folder that the archive holds")


def read_catalogue(path: Path) -> list[Download]:
    """What conf/downloads.yaml lists.

    Raises:
        SdpnError: it has not the form it should have.
    """
    path = Path(path)
    try:
        rows = config.parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SdpnError(f"{path}: not a readable list of downloads: {' '.join(str(error).split())}") from None
    return [config.read(None, Download, row) for row in rows]


def fetch_all(corpus: str, folder: Path, catalogue: Path, given: Callable[[str], object] = lambda file: None) -> Path:
    """Fetch, check and unpack what the catalogue lists for a corpus; return the folder that it is in.

    What is there already is not fetched again; killed, the same call goes on where it was.

    Args:
        given: whether the user has a file of this name elsewhere, so that it need not be fetched.

    Raises:
        SdpnError: a file cannot be had, or is not the one that it should be.
    """
    target = folder / corpus
    with exclusive(target):
        for download in read_catalogue(catalogue):
            if download.corpus != corpus:
                continue
            if download.unpacks and (target / download.unpacks).is_dir():
                for remote in download.files:  # of which a kill may have spared some
                    (target / remote.file).unlink(missing_ok=True)
                continue
            for remote in download.files:
                if not (target / remote.file).is_file() and not given(remote.file):
                    fetch(remote, target / remote.file)
            if download.unpacks:
                unpack([target / remote.file for remote in download.files], target, download.unpacks)
    return target


def download_clips(options: dict[str, Any], folder: Path, catalogue: Path) -> dict[str, str]:
    """Fetch MUSAN and RIRS_NOISES where the options name neither them nor anything in their place; what was fetched."""
    fetched = {}
    if not any(options.get(name) for name in ("musan", "noise_dir", "music_dir")):
        fetched["musan"] = str((fetch_all("musan", folder, catalogue) / "musan").resolve())
    if not any(options.get(name) for name in ("rirs", "rir_dir")):
        fetched["rirs"] = str((fetch_all("rirs", folder, catalogue) / "RIRS_NOISES").resolve())
    return fetched


def fetch(remote: RemoteFile, path: Path) -> None:
    """Download one file to `path`, which is there only when its size and checksum are right.

    What a broken connection left is gone on with; wrong content is thrown away and fetched once more from the start.

    Raises:
        SdpnError: no address gives it, or what they give is another file.
    """
    part = path.with_name(f"{path.name}.part")
    failure = ""
    for url in remote.urls:
        rejected = 0
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            try:
                _receive(url, part, remote)
            except (OSError, http.client.HTTPException) as error:
                failure = f"{url}: {_why(error)}"
                if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410):
                    break
                continue
            wrong = check(remote, part)
            if wrong is None:
                os.replace(part, path)
                return
            failure = f"{url} gives another file than {remote.file}: {wrong}"
            part.unlink()
            rejected += 1
            if rejected == 2:  # it was no accident on the way
                break
    raise SdpnError(f"{failure}: run the same command again to go on, or fetch it by hand to {path}")


def _receive(url: str, part: Path, remote: RemoteFile) -> None:
    """Append to `part` what is missing of it.

    Raises:
        OSError: the line broke off, or the server said no.
    """
    have = part.stat().st_size if part.exists() else 0
    if remote.bytes is not None and have >= remote.bytes:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # there is nothing behind what is here: whether that is right is seen next
            raise
        return
    with answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0  # a server that cannot go on begins anew
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else remote.bytes or 0
        with (
            open(part, "ab" if goes_on else "wb") as opened,
            Progress(remote.file, total >> 20, "MB", done=have >> 20) as progress,
        ):
            while chunk := answer.read(_CHUNK):
                opened.write(chunk)
                have += len(chunk)
                progress.advance((have >> 20) - progress.done)
    if length and have < total:
        raise ConnectionError(f"the connection broke off after {have} of {total} bytes")


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__


def check(remote: RemoteFile, path: Path) -> str | None:
    """What is wrong with a file, in a few words; None where all that is known of it is so."""
    size = path.stat().st_size
    if remote.bytes is not None and size != remote.bytes:
        return f"{size} bytes where it has {remote.bytes}"
    with open(path, "rb") as opened:
        if remote.md5 is not None:
            found = hashlib.file_digest(opened, "md5").hexdigest()
            if found != remote.md5:
                return f"its MD5 is {found} where it should be {remote.md5}"
        if remote.lines is not None:
            opened.seek(0)
            lines = sum(1 for line in opened if line.strip())
            if lines != remote.lines:
                return f"{lines} lines where it has {remote.lines}"
        if remote.begins is not None:
            opened.seek(0)
            if not opened.read(1000).decode(errors="replace").lstrip("\ufeff").startswith(remote.begins):
                return f"it does not begin with '{remote.begins}'"
    return None


class _Pieces(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, paths: list[Path]):
        self._paths = list(paths)
        self._opened: io.BufferedIOBase = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not (count := self._opened.readinto(buffer)) and self._paths:
            self._opened.close()
            self._opened = open(self._paths.pop(0), "rb")  # noqa: SIM115  (closed when it is used up, or below)
        return count

    def close(self) -> None:
        self._opened.close()
        super().close()


def _extract(opened: tarfile.TarFile, target: Path) -> None:
    """Extract the files and folders of an archive, all of them below `target`.

    Raises:
        tarfile.TarError: one lies elsewhere, or is neither.
    """
    if hasattr(tarfile, "data_filter"):
        opened.extractall(target, filter="data")
        return
    root = os.path.realpath(target)  # Python before 3.11.4 knows no filters
    for member in opened:
        place = os.path.realpath(os.path.join(root, member.name))
        if os.path.commonpath([root, place]) != root or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} in it is no file or folder below its own")
        opened.extract(member, root, set_attrs=False)


def unpack(pieces: list[Path], target: Path, folder: str) -> None:
    """Unpack an archive in one or more pieces to `target`/`folder`, which is there when it is whole; the pieces go.

    Raises:
        SdpnError: it cannot be unpacked, or holds no such folder.
    """
    archive = pieces[0]
    say(f"  unpacking {archive}")
    beside = target / f".{folder}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(beside)
        else:
            with io.BufferedReader(_Pieces(pieces), _CHUNK) as whole, tarfile.open(fileobj=whole, mode="r|*") as opened:
                _extract(opened, beside)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SdpnError(f"{archive} cannot be unpacked ({error}): remove it and run the same command again") from None
    if not (beside / folder).is_dir():
        held = ", ".join(sorted(path.name for path in beside.iterdir())[:5])
        raise SdpnError(f"{archive} holds {held} where a folder {folder} was expected")
    os.replace(beside / folder, target / folder)
    shutil.rmtree(beside)
    for piece in pieces:
        piece.unlink()
