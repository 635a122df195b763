"""A fitted chain on disk: one HDF5 file that holds its text and what every step has learned."""

from pathlib import Path

import h5py
import numpy as np

from sdpn.backend.chain import Chain
from sdpn.errors import SdpnError
from sdpn.files import atomic_path

FORMAT = "sdpn back-end 1"
_DAMAGED = "{}: damaged, or not an HDF5 file"


def save_chain(path: str | Path, chain: Chain, network: str | None = None, digest: str | None = None) -> None:
    """Write a fitted chain; equal chains give equal bytes.

    Args:
        network: a digest of the network whose x-vectors it was fitted on, where that is known.
        digest: a digest of all that the fit depends on, where that is known.

    The file has one group a step, named `0 mean-subtract`, `1 lda` and so on, which holds the attributes that the step
    learned: arrays as datasets, numbers and sentences as attributes.
    """
    words = [part.split()[0] for part in chain.text.split("|")]
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as opened:
        opened.attrs["format"], opened.attrs["chain"] = FORMAT, chain.text
        opened.attrs["enrollment"] = chain.enrollment
        if network is not None:
            opened.attrs["network"] = network
        if digest is not None:
            opened.attrs["digest"] = digest
        for place, (word, step) in enumerate(zip(words, chain.steps, strict=True)):
            group = opened.create_group(f"{place} {word}", track_order=True)
            for name, learned in vars(step).items():
                if name.endswith("_"):
                    if isinstance(learned, np.ndarray):
                        group.create_dataset(name, data=learned, track_times=False)
                    else:
                        group.attrs[name] = learned


def load_chain(path: str | Path) -> Chain:
    """Read a chain that `save_chain` wrote, fitted as it was.

    Raises:
        SdpnError: there is no such file, or it is not one.
    """
    if not Path(path).is_file():
        raise SdpnError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as opened:
            if opened.attrs.get("format") != FORMAT:
                raise SdpnError(f"{path}: not a back-end that sdpn wrote ({FORMAT})")
            # Files of earlier versions are of chains that averaged what the transforms make
            chain = Chain(str(opened.attrs["chain"]), str(opened.attrs.get("enrollment", "transformed")))
            for place, step in enumerate(chain.steps):
                group = next(opened[name] for name in opened if name.startswith(f"{place} "))
                for name, learned in [*group.attrs.items(), *((name, item[()]) for name, item in group.items())]:
                    if not name.endswith("_") or name.startswith("_"):
                        raise ValueError(f"{name} is nothing that a step learns")
                    setattr(step, name, learned.item() if isinstance(learned, np.generic) else learned)
    except SdpnError:
        raise
    except Exception:  # a file that somebody has edited fails in many ways
        raise SdpnError(_DAMAGED.format(path)) from None
    chain.notes_ = [step.note_ for step in chain.steps if step.note_]
    return chain


def network_of(path: str | Path) -> str | None:
    """The digest of the network that `save_chain` was given, None where it was given none.

    Raises:
        SdpnError: the file cannot be read.
    """
    return _attribute(path, "network")


def digest_of(path: str | Path) -> str | None:
    """The digest of all that the fit depends on that `save_chain` was given, None where it was given none.

    Raises:
        SdpnError: the file cannot be read.
    """
    return _attribute(path, "digest")


def _attribute(path: str | Path, name: str) -> str | None:
    try:
        with h5py.File(path, "r") as opened:
            found = opened.attrs.get(name)
    except OSError:
        raise SdpnError(_DAMAGED.format(path)) from None
    return None if found is None else str(found)
