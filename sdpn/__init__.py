"""SDPN: speaker embeddings learned without speaker labels, as a Kaldi-style staged recipe.

Importing this package is cheap on purpose: nothing below it is loaded until it is asked for.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdpn.recognizer import Recognizer

__version__ = "0.1.0"


def load(model: str | None = None, backend: str | None = None, device: str = "cpu") -> "Recognizer":
    """Load a trained model to embed recordings and to compare voices; see `sdpn.recognizer.Recognizer`.

    Args:
        model: an experiment, a model folder or an exported .onnx; None for the one that SDPN_MODEL names.
        backend: what compares; None for `cosine`.
        device: where the network computes, e.g. "cuda".

    Raises:
        SdpnError: there is no such model, or none was named.
    """
    from sdpn.errors import SdpnError
    from sdpn.recognizer import Recognizer  # here: it takes a second to import

    model = model or os.environ.get("SDPN_MODEL")
    if not model:
        raise SdpnError("name a model: sdpn.load(MODEL), or SDPN_MODEL in the environment")
    return Recognizer(model, backend, device)
