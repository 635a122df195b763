"""SDPN: speaker embeddings learned without speaker labels, as a Kaldi-style staged recipe.

Importing this package is cheap on purpose: nothing below it is loaded until it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdpn.recognizer import Recognizer

__version__ = "0.1.0"


def load(model: str, backend: str | None = None, device: str = "cpu") -> "Recognizer":
    """A trained model, ready to embed recordings and to compare voices; see sdpn.recognizer.Recognizer."""
    from sdpn.recognizer import Recognizer

    return Recognizer(model, backend, device)
