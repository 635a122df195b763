"""x-vectors on disk: Kaldi vectors in one ark with a sorted scp, or HDF5, and the number of frames of each."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import kaldiio
import numpy as np

from sdpn.errors import SdpnError, refuse_unknown
from sdpn.files import atomic_path, hdf5_writer, write_text
from sdpn.tables import composed, read_map
from sdpn.trials.names import some

ARK, SCP, FRAMES, HDF5 = "xvector.ark", "xvector.scp", "utt2num_frames", "xvector.h5"
KALDI = (ARK, SCP, FRAMES)
FORMS = ("ark", "hdf5")


@dataclass(frozen=True)
class XVectors:
    """The x-vectors of a set.

    Attributes:
        ids: utterance ids, sorted in the C locale (by their UTF-8 bytes).
        vectors: (n_utterances, n_dimensions) float32, rows in the order of `ids`.
        num_frames: (n_utterances,) int64, the frames each vector was made from.
    """

    ids: list[str]
    vectors: np.ndarray
    num_frames: np.ndarray


def write_xvectors(directory: str | Path, xvectors: XVectors, form: str = "ark") -> list[Path]:
    """Write x-vectors into `directory`, sorted by id in the C locale; return the paths of the files.

    Args:
        form: `ark`: `xvector.ark` and `xvector.scp`, Kaldi's vectors (one dimension, not 1 x D matrices), and
            `utt2num_frames`; `hdf5`: `xvector.h5` with the datasets `ids`, `vectors` (n, D) and `num_frames`. Files of
            the other form go, so that what is read back is always what was written last.
    """
    refuse_unknown("form", form, FORMS)
    directory = Path(directory)
    order = sorted(range(len(xvectors.ids)), key=lambda row: xvectors.ids[row].encode())
    ids = [xvectors.ids[row] for row in order]
    ordered = XVectors(ids, np.asarray(xvectors.vectors, dtype=np.float32)[order], xvectors.num_frames[order])
    written = write_hdf5(directory / HDF5, ordered) if form == "hdf5" else _write_ark(directory, ordered)
    for name in (HDF5,) if form == "ark" else KALDI:
        (directory / name).unlink(missing_ok=True)
    return written


def write_ark(path: Path, xvectors: XVectors) -> list[Path]:
    """Write Kaldi vectors to `path` and, beside it, their scp; return the paths of both."""
    scp = path.with_suffix(".scp")
    lines = []
    with atomic_path(path) as temporary, open(temporary, "wb") as opened:
        for name, vector in zip(xvectors.ids, xvectors.vectors, strict=True):
            kaldiio.save_ark(opened, {name: vector})
            size = 10 + 4 * len(vector)  # "\0B", "FV ", the size byte, the dimension, the values
            lines.append(f"{name} {path}:{opened.tell() - size}\n")
    write_text(scp, "".join(lines))
    return [path, scp]


def _write_ark(directory: Path, xvectors: XVectors) -> list[Path]:
    return [write_frames(directory / FRAMES, xvectors), *write_ark(directory / ARK, xvectors)]


def write_frames(path: Path, xvectors: XVectors) -> Path:
    """Write `utterance frames` lines; return the path."""
    counts = zip(xvectors.ids, xvectors.num_frames.tolist(), strict=True)
    write_text(path, "".join(f"{name} {count}\n" for name, count in counts))
    return path


def write_hdf5(path: Path, xvectors: XVectors) -> list[Path]:
    """Write the datasets `ids`, `vectors` (n, D) and `num_frames`; return the path."""
    with hdf5_writer(path) as opened:
        text = h5py.string_dtype()
        opened.create_dataset("ids", data=np.array(xvectors.ids, dtype=object), dtype=text, track_times=False)
        opened.create_dataset("vectors", data=xvectors.vectors, track_times=False)
        opened.create_dataset("num_frames", data=xvectors.num_frames, track_times=False)
    return [path]


def vectors_file(directory: str | Path) -> Path:
    """The file in `directory` that holds the vectors; of an empty folder, the one that would."""
    hdf5 = Path(directory) / HDF5
    return hdf5 if hdf5.exists() else Path(directory) / ARK


def read_xvectors(directory: str | Path) -> XVectors:
    """Read what `write_xvectors` wrote.

    Raises:
        SdpnError: the folder holds no x-vectors, or not all have the same dimension.
    """
    directory = Path(directory)
    hdf5 = vectors_file(directory).name == HDF5
    if not hdf5 and not (directory / SCP).exists():
        raise SdpnError(f"{directory / SCP} is missing: run stage 5 first")
    try:
        return _read_hdf5(directory / HDF5) if hdf5 else _read_ark(directory)
    except Exception:  # a damaged file fails in many ways: HDF5's, kaldiio's, NumPy's
        names = HDF5 if hdf5 else f"{ARK} or {FRAMES}"
        raise SdpnError(f"{directory}: {names} is damaged: run stage 5 again") from None


def _read_ark(directory: Path) -> XVectors:
    with open(directory / ARK, "rb") as opened:
        vectors = dict(kaldiio.load_ark(opened))
    frames = read_map(directory / FRAMES, expected="utterance frames")
    names = list(map(composed, vectors))
    matrix = np.stack(list(vectors.values()))
    if matrix.ndim != 2 or set(names) != frames.keys() or len(names) != len(frames):
        raise ValueError("the files do not fit together")
    return XVectors(list(vectors), matrix, np.array([int(frames[name]) for name in names], dtype=np.int64))


def _read_hdf5(path: Path) -> XVectors:
    with h5py.File(path, "r", locking=False) as opened:
        found = XVectors(list(opened["ids"].asstr()[()]), opened["vectors"][()], opened["num_frames"][()])
    if found.vectors.ndim != 2 or not len(found.ids) == len(found.vectors) == len(found.num_frames):
        raise ValueError("the datasets do not fit together")
    return found


def read_checked(directory: str | Path) -> XVectors:
    """`read_xvectors`, of vectors that can be computed with.

    Raises:
        SdpnError: there are none, some hold NaN or infinity, or all of them are the same.
    """
    found = read_xvectors(directory)
    refuse_unusable(found, str(directory))
    return found


def refuse_unusable(found: XVectors, where: str) -> None:
    """Make sure that the vectors can be computed with.

    Raises:
        SdpnError: some hold NaN or infinity, or all of them are the same; the sentence begins with `where`.
    """
    broken = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
    if len(broken):
        names = [found.ids[row] for row in broken]
        raise SdpnError(f"{where}: {len(broken)} of {len(found.ids)} x-vectors hold NaN or infinity: {some(names)}")
    if len(found.ids) > 1 and (found.vectors == found.vectors[0]).all():
        raise SdpnError(f"{where}: all {len(found.ids)} x-vectors are the same: the network has collapsed")
