"""Checkpoints: whole files or none, the newest ones kept, the newest readable one found."""

from pathlib import Path
from typing import Any

import torch

from sdpn.console import warn
from sdpn.models.folder import save_tensors


class Checkpoints:
    """The checkpoints in a folder, one file for each saved step.

    Args:
        directory: made when the first one is saved.
        keep: older ones than the newest `keep` are removed.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory, self.keep = directory, keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save the state after `step` steps: tensors, numbers, text, and lists and dictionaries of them."""
        path = self.directory / f"step-{step:09d}.pt"
        save_tensors(path, {"step": step, **state})
        for old in self._paths()[self.keep :]:
            old.unlink()
        return path

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state that can be read, None where there is none; unreadable files are named and passed over."""
        for path in self._paths():
            try:
                return torch.load(path, map_location=device, weights_only=True)
            except Exception as error:  # torch raises RuntimeError, EOFError, ValueError, pickle's and zip's errors
                warn(f"{path} cannot be read ({type(error).__name__}): using the one before it")
        return None

    def newest_path(self) -> Path | None:
        """The newest file, None where there is none."""
        return next(iter(self._paths()), None)

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted(self.directory.glob("step-*.pt"), reverse=True)
