"""Kaldi's binary PLDA file: what ivector-compute-plda writes and ivector-plda-scoring reads.

The bytes, as Plda::Write (src/ivector/plda.cc) puts them: the header "\\0B", the token "<Plda> ", the mean (a vector),
the transform (a square matrix) and psi (a vector) in double precision, the token "</Plda> ".
"""

import struct
from pathlib import Path

import numpy as np

from sdpn.backend.plda import PLDA
from sdpn.errors import SdpnError
from sdpn.files import atomic_path

_TYPES = {b"FV ": ("<f4", 1), b"DV ": ("<f8", 1), b"FM ": ("<f4", 2), b"DM ": ("<f8", 2)}


def write_kaldi_plda(path: str | Path, plda: PLDA) -> None:
    """Write a fitted model.

    Raises:
        SdpnError: its training vectors spanned fewer dimensions than they had: Kaldi's file cannot say so.
    """
    dimensions = len(plda.mean_)
    if len(plda.psi_) < dimensions:
        raise SdpnError(
            f"{path}: Kaldi's file needs a PLDA of all {dimensions} dimensions, but its training vectors spanned "
            f"{len(plda.psi_)}: put `lda {len(plda.psi_)}` before it in the chain"
        )
    parts = [b"\0B<Plda> "]
    for values in (plda.mean_, plda.transform_, plda.psi_):
        shape = b"".join(b"\x04" + struct.pack("<i", size) for size in values.shape)
        parts += [b"DV " if values.ndim == 1 else b"DM ", shape, np.ascontiguousarray(values, "<f8").tobytes()]
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join([*parts, b"</Plda> "]))


def read_kaldi_plda(path: str | Path, length_norm: str = "kaldi") -> PLDA:
    """Read a model, in single or double precision, to score with.

    Args:
        length_norm: see `PLDA`.

    Raises:
        SdpnError: the file is missing, is not a binary Kaldi PLDA, or holds numbers that no score can be made of.
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise SdpnError(f"{path}: there is no such file") from None
    plda = PLDA(length_norm=length_norm)
    try:
        if not data.startswith(b"\0B<Plda> "):
            raise ValueError("it does not begin with \\0B<Plda>")
        place = len(b"\0B<Plda> ")
        plda.mean_, place = _read_array(data, place)
        plda.transform_, place = _read_array(data, place)
        plda.psi_, place = _read_array(data, place)
        if data[place:].strip() != b"</Plda>":
            raise ValueError("it does not end with </Plda>")
        dimensions = plda.mean_.size
        if plda.mean_.shape != plda.psi_.shape or plda.transform_.shape != (dimensions, dimensions):
            raise ValueError("the sizes of its parts do not fit together")
    except (ValueError, struct.error) as error:
        raise SdpnError(f"{path}: not a binary Kaldi PLDA: {error}") from None
    if not all(np.isfinite(part).all() for part in (plda.mean_, plda.transform_, plda.psi_)):
        raise SdpnError(f"{path}: the PLDA in it holds NaN or infinity: it cannot score")
    if (plda.psi_ < 0).any():
        raise SdpnError(f"{path}: the PLDA in it has negative between-class variances (psi): it cannot score")
    return plda


def _read_array(data: bytes, place: int) -> tuple[np.ndarray, int]:
    kind, place = data[place : place + 3], place + 3
    if kind not in _TYPES:
        raise ValueError(f"expected a vector or a matrix, found {kind!r}")
    dtype, axes = _TYPES[kind]
    shape = []
    for _ in range(axes):
        if data[place : place + 1] != b"\x04":
            raise ValueError("a size is missing")
        shape.append(struct.unpack_from("<i", data, place + 1)[0])
        place += 5
    count = int(np.prod(shape))
    if min(shape) < 0 or place + count * np.dtype(dtype).itemsize > len(data):
        raise ValueError("it is cut off")
    values = np.frombuffer(data, dtype, count, place).reshape(shape).astype(np.float64)
    return values, place + count * np.dtype(dtype).itemsize
