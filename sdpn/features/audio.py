"""Samples of a cut, with what can go wrong said in a sentence."""

from typing import Any

import numpy as np

from sdpn.errors import SdpnError


def load_samples(cut: Any) -> np.ndarray:
    """The (n_samples,) float32 samples of a single-channel Lhotse cut, resampled as its recording says.

    Raises:
        SdpnError: the file is missing, unreadable, or shorter than the manifest says.
    """
    try:
        samples = cut.load_audio()
    except Exception as error:  # Lhotse wraps whatever its audio back-ends raise
        reason = " ".join(str(error).split())
        raise SdpnError(f"the audio cannot be read: {reason[:200]}") from None
    if samples is None or samples.size == 0:
        raise SdpnError("the audio is empty")
    return np.ascontiguousarray(samples[0], dtype=np.float32)
