"""One feature index over the features of several sets, which stay where they lie."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.features.index_files import StoredFile, utterance_key, write_table
from sdpn.files import digest


def clashing_ids(indices: Collection[FeatureIndex]) -> set[str]:
    """Return the ids that several sets have."""
    return {id for id, count in Counter(id for index in indices for id in index.ids).items() if count > 1}


def combine(directory: Path, parts: Mapping[str, FeatureIndex], clashing: Collection[str]) -> list[Path]:
    """Write the index of `directory` over the features of `parts`; return its files. No feature is read or copied.

    Args:
        parts: the indices, by the name of their corpus.
        clashing: ids that get the corpus's name in front, `name-id`.

    Raises:
        SdpnError: the features of two parts were made with other settings, or a name in front makes another clash.
    """
    first_name, first = next(iter(parts.items()))
    files: list[StoredFile] = []
    ids: list[str] = []
    columns: dict[str, list[np.ndarray]] = {}
    for name, index in parts.items():
        refuse_other_settings(first_name, first, name, index)
        renamed = [f"{name}-{id}" if id in clashing else id for id in index.ids]
        keys = index.keys.copy()
        for row, (before, now) in enumerate(zip(index.ids, renamed, strict=True)):
            if before != now:
                keys[row] = utterance_key(now)
        own = {
            "offset": index.offsets,
            "key": keys,
            "frames": index.frames,
            "file": index.files + len(files),
            "minimum": index.minima,
            "step": index.steps,
            "crc": index.crcs,
            "power_ratio": index.power_ratios,
        }
        for column, values in own.items():
            columns.setdefault(column, []).append(values)
        files += [StoredFile(os.path.abspath(index.directory / file.name), file.kind) for file in index.stored]
        ids += renamed
    order = np.array(sorted(range(len(ids)), key=lambda row: ids[row].encode()))
    ids = [ids[row] for row in order]
    twice = next((one for one, other in pairwise(ids) if one == other), None)
    if twice is not None:
        raise SdpnError(f"{directory}: two utterances are called {twice}: give one of the data folders another name")
    table = {column: np.concatenate(values)[order] for column, values in columns.items()}
    fingerprint = digest({name: index.fingerprint for name, index in parts.items()}, sorted(clashing))
    return write_table(directory, files, ids, table, first.config, fingerprint, first.num_bins)


def refuse_other_settings(first_name: str, first: FeatureIndex, name: str, index: FeatureIndex) -> None:
    """Make sure that two sets of features were made with the same settings, those of storage aside.

    Raises:
        SdpnError: they were not; the sentence names one that differs.
    """
    mine, others = index.config.spectral(), first.config.spectral()
    for key, value in mine.items():
        if value != others.get(key):
            raise SdpnError(
                f"{index.directory}: its features were made with {key} {value}, those of {first_name} with "
                f"{others.get(key)}: run stage 2 of {name} with the settings of {first_name} before they are combined"
            )
