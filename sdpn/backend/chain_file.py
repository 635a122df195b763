"""A fitted chain on disk: one HDF5 file that holds its text and what every step has learned."""

from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from sdpn.backend.chain import Chain
from sdpn.errors import SdpnError
from sdpn.files import digest, hdf5_writer

FORMAT = "sdpn back-end 1"
CONTENT = "digest of the content"
"""The attribute of a file by which it checks itself."""

_DAMAGED = "{}: damaged, or not an HDF5 file"


def save_chain(path: str | Path, chain: Chain, network: str | None = None, made_of: str | None = None) -> None:
    """Write a fitted chain; equal chains give equal bytes.

    Args:
        network: a digest of the network whose x-vectors it was fitted on, where that is known.
        made_of: a digest of all that the fit depends on, where that is known.

    The file has one group a step, named `0 mean-subtract`, `1 lda` and so on, which holds the attributes that the step
    learned: arrays as datasets, numbers and sentences as attributes.
    """
    words = [part.split()[0] for part in chain.text.split("|")]
    with hdf5_writer(path, track_order=True) as opened:
        opened.attrs["format"], opened.attrs["chain"] = FORMAT, chain.text
        opened.attrs["enrollment"] = chain.enrollment
        if network is not None:
            opened.attrs["network"] = network
        if made_of is not None:
            opened.attrs["digest"] = made_of
        for place, (word, step) in enumerate(zip(words, chain.steps, strict=True)):
            group = opened.create_group(f"{place} {word}", track_order=True)
            for name, learned in vars(step).items():
                if name.endswith("_"):
                    if isinstance(learned, np.ndarray):
                        group.create_dataset(name, data=learned, track_times=False)
                    else:
                        group.attrs[name] = learned
        opened.attrs[CONTENT] = _content_digest(opened)


def _content_digest(opened: h5py.File) -> str:
    """A digest of all that stands in the file, but itself."""
    parts: list[Any] = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            parts.extend((name, str(item.dtype), list(item.shape), np.ascontiguousarray(item[()]).tobytes()))
        for key in sorted(item.attrs):
            if (name, key) != ("", CONTENT):
                parts.extend((name, key, str(item.attrs[key])))

    look("", opened)
    opened.visititems(look)
    return digest(*parts)


def load_chain(path: str | Path | IO[bytes]) -> Chain:
    """Read a chain that `save_chain` wrote, fitted as it was; from a file by name, or from an open one.

    Raises:
        SdpnError: there is no such file, or it is not one.
    """
    if isinstance(path, (str, Path)) and not Path(path).is_file():
        raise SdpnError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r", locking=False) as opened:
            if opened.attrs.get("format") != FORMAT:
                raise SdpnError(f"{path}: not a back-end that sdpn wrote ({FORMAT})")
            if opened.attrs.get(CONTENT, "") not in ("", _content_digest(opened)):  # earlier versions wrote none
                raise ValueError("not what was written")
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
        with h5py.File(path, "r", locking=False) as opened:
            found = opened.attrs.get(name)
    except OSError:
        raise SdpnError(_DAMAGED.format(path)) from None
    return None if found is None else str(found)
