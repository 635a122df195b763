"""Checkpoints: whole files or none, the newest and some old ones kept, the newest whole one found."""

import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from sdpn.console import warn
from sdpn.models.folder import save_tensors


class Checkpoints:
    """The checkpoints in a folder, one file for each saved step.

    Args:
        directory: made when the first one is saved.
        keep: of those at multiples of `every`, the newest `keep` stay, whatever was saved between them.
        every: steps between two regular checkpoints.
        keep_every: one at a multiple of so many steps stays for good; 0: none does.
    """

    def __init__(self, directory: Path, keep: int, every: int = 1, keep_every: int = 0):
        self.directory, self.keep, self.every, self.keep_every = directory, keep, every, keep_every

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save the state after `step` steps: tensors, numbers, text, and lists and dictionaries of them."""
        path = self.directory / f"step-{step:09d}.pt"
        save_tensors(path, {"step": step, **state})
        self.remove_old()
        return path

    def remove_old(self) -> None:
        """Remove those that are not to stay; a kill may have spared some. The newest must be known to be whole."""
        paths = self._paths()
        regular = [path for path in paths if _step(path) % self.every == 0]
        for old in set(paths[1:]) - set(regular[: self.keep]):
            if self.keep_every == 0 or _step(old) % self.keep_every != 0:
                old.unlink()

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state that is whole, with its file as `path`, None where there is none; broken ones are named."""
        return next(self._whole(self._paths(), device), None)

    def last(self, count: int) -> list[dict[str, Any]]:
        """Up to `count` whole states: the newest, and the regular ones before it. Newest first."""
        newest, *before = self._paths()
        paths = [newest, *(path for path in before if _step(path) % self.every == 0)]
        return list(islice(self._whole(paths, torch.device("cpu")), count))

    def newest_path(self) -> Path | None:
        """The newest file, None where there is none."""
        return next(iter(self._paths()), None)

    def _whole(self, paths: list[Path], device: torch.device) -> Iterator[dict[str, Any]]:
        for path in paths:
            try:
                yield self._read(path, device)
            except Exception as error:  # torch raises RuntimeError, EOFError, ValueError, pickle's and zip's errors
                warn(f"{path} cannot be read ({type(error).__name__}): using the one before it")

    @staticmethod
    def _read(path: Path, device: torch.device) -> dict[str, Any]:
        with zipfile.ZipFile(path) as packed:
            damaged = packed.testzip()  # torch looks at no checksum
        if damaged:
            raise ValueError(f"{damaged} is damaged")
        return {**torch.load(path, map_location=device, weights_only=True), "path": str(path)}

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted(self.directory.glob("step-*.pt"), reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
