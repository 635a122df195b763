"""x-vectors on disk: Kaldi vectors in one ark with a sorted scp, and the number of frames of each."""

from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np

from sdpn.corpus.trials import some
from sdpn.errors import SdpnError
from sdpn.files import atomic_path, write_text


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


def write_xvectors(directory: str | Path, xvectors: XVectors) -> list[Path]:
    """Write `xvector.ark`, `xvector.scp` and `utt2num_frames` into `directory`; return their paths.

    The vectors are Kaldi's (one dimension, not 1 x D matrices), sorted by id in the C locale.
    """
    directory = Path(directory)
    order = sorted(range(len(xvectors.ids)), key=lambda row: xvectors.ids[row].encode())
    ark, scp, frames = directory / "xvector.ark", directory / "xvector.scp", directory / "utt2num_frames"
    lines = []
    with atomic_path(ark) as temporary, open(temporary, "wb") as opened:
        for row in order:
            name = xvectors.ids[row]
            kaldiio.save_ark(opened, {name: np.asarray(xvectors.vectors[row], dtype=np.float32)})
            size = 10 + 4 * xvectors.vectors.shape[1]  # "\0B", "FV ", the size byte, the dimension, the values
            lines.append(f"{name} {ark}:{opened.tell() - size}\n")
    write_text(frames, "".join(f"{xvectors.ids[row]} {int(xvectors.num_frames[row])}\n" for row in order))
    write_text(scp, "".join(lines))
    return [ark, frames, scp]


def read_xvectors(directory: str | Path) -> XVectors:
    """Read what `write_xvectors` wrote.

    Raises:
        SdpnError: the folder holds no x-vectors, or not all have the same dimension.
    """
    directory = Path(directory)
    scp = directory / "xvector.scp"
    if not scp.exists():
        raise SdpnError(f"{scp} is missing: run stage 5 first")
    try:
        with open(directory / "xvector.ark", "rb") as opened:
            vectors = dict(kaldiio.load_ark(opened))
        lines = (directory / "utt2num_frames").read_text("utf-8").split("\n")[:-1]
        frames = {name: int(count) for name, count in (line.rsplit(" ", 1) for line in lines)}
        matrix = np.stack(list(vectors.values()))
        if matrix.ndim != 2 or vectors.keys() != frames.keys():
            raise ValueError("the files do not fit together")
    except (OSError, EOFError, ValueError, AssertionError):
        raise SdpnError(f"{directory}: xvector.ark or utt2num_frames is damaged: run stage 5 again") from None
    return XVectors(list(vectors), matrix, np.array([frames[name] for name in vectors], dtype=np.int64))


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
