"""eSpeak NG through ctypes: the library and its voices come with the PyPI package `espeakng_loader`.

The library keeps its state in global variables: flutter, breath noise and parts of a voice linger from one utterance
to the next, also across `espeak_Terminate`. Each utterance is therefore rendered by a child that is forked from a
process in which nothing has been said yet, so that its samples depend on the request alone.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import SdpnError

# Names and values as in espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Request:
    """What to say and how.

    Attributes:
        voice: eSpeak's name of an accent and a variant, e.g. "en-us+f2".
        text: the sentence.
        rate: words a minute, 80 to 450; 175 is usual.
        pitch: 0 to 99, 50 is the voice's own.
        pitch_range: 0 (monotonous) to 99, 50 is the voice's own.
    """

    voice: str
    text: str
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The initialized library and its sampling rate. Nothing may be said in this process: only in its children."""
    try:
        import espeakng_loader
    except ImportError:
        raise SdpnError(
            "the default corpus needs the package espeakng-loader: install sdpn with its extra `toy`"
        ) from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise SdpnError("espeak-ng cannot read its voices: install the package espeakng-loader again")
    return library, rate


def sample_rate() -> int:
    """Samples a second of what `speak` returns."""
    return _library()[1]


def version() -> str:
    """The library's version, e.g. "1.52.0"."""
    return _library()[0].espeak_Info(None).decode()


def variant_files() -> dict[str, Path]:
    """Every voice variant that the library carries, by the name that follows the `+`."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return {path.name: path for path in sorted(folder.iterdir(), key=lambda path: path.name.encode())}


def speak(request: Request) -> np.ndarray:
    """The samples of a request, int16, at `sample_rate()`; empty where the library refuses the voice.

    The same request gives the same samples, whatever was said before it.
    """
    library, _ = _library()
    return np.frombuffer(_in_a_child(lambda: _speak(library, request)), dtype=np.int16)


def _in_a_child(produce: Callable[[], bytes]) -> bytes:
    """The bytes that `produce` returns in a forked copy of this process."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)  # else it would wait for ever to be read when its parent is killed
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(produce())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"espeak-ng ended with status {status}")
    return data


def _speak(library: ctypes.CDLL, request: Request) -> bytes:
    chunks: list[bytes] = []

    def receive(samples, count, _events) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(request.voice.encode()) != 0:
        return b""
    library.espeak_SetParameter(_RATE, request.rate, 0)
    library.espeak_SetParameter(_PITCH, request.pitch, 0)
    library.espeak_SetParameter(_RANGE, request.pitch_range, 0)
    library.espeak_ng_SetRandSeed(1)
    text = request.text.encode() + b"\0"
    library.espeak_Synth(text, len(text), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
    return b"".join(chunks)
