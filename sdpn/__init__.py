"""SDPN: speaker embeddings learned without speaker labels, as a Kaldi-style staged recipe.

Importing this package is cheap on purpose: nothing below it is loaded until it is asked for.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdpn.recognizer import Recognizer

__version__ = "0.2.0"


def _let_kernels_be_cached() -> None:
    """Give numba a folder for compiled kernels if neither this installation nor the user's home can be written.

    It would refuse to compile otherwise. This stands here because numba looks when it is imported. The folder belongs
    to this user alone, since code is loaded from it.
    """
    home = Path(os.path.expanduser("~"))
    if "NUMBA_CACHE_DIR" in os.environ or os.access(Path(__file__).parent, os.W_OK) or os.access(home, os.W_OK):
        return
    folder = Path(tempfile.gettempdir()) / f"sdpn-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    except OSError:
        own = False
    os.environ["NUMBA_CACHE_DIR"] = str(folder) if own else tempfile.mkdtemp(prefix="sdpn-kernels-")


_let_kernels_be_cached()


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
