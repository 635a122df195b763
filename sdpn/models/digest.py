"""What tells one model folder from another; no torch is needed for it."""

from pathlib import Path

from sdpn.files import digest, file_digest


def model_digest(model: Path) -> str:
    """What changes when a model folder holds another network."""
    return digest([file_digest(model / name) for name in ("weights.pt", "config.yaml")])
