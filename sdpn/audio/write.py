"""Audio that is made here, as files."""

import io
from pathlib import Path

import numpy as np
import soundfile

from sdpn.files import atomic_path


def write_flac(path: str | Path, samples: np.ndarray, sampling_rate: int) -> None:
    """Write (n_samples,) samples within [-1, 1] as 16-bit FLAC, atomically.

    They are encoded in memory first: libsndfile does not say why a file could not be written.

    Raises:
        SdpnError: the disk is full, or the folder may not be written.
    """
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getvalue())
