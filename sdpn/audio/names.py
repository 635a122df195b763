"""Which files are audio: by the extension of the name, or where that tells nothing by how they begin."""

import os
import stat

from sdpn.audio.decoders import ffmpeg

# What libsndfile reads
_NAMES = ("wav", "wave", "flac", "opus", "ogg", "oga", "mp3", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64")
EXTENSIONS = frozenset(f".{name}" for name in (*_NAMES, "sph", "nist", "voc", "avr", "htk", "mp2", "mpga", "bwf"))
EXTENSIONS |= ffmpeg.EXTENSIONS
# How audio begins that may be called anything (.wv1, .ulaw, .spx1, ...); video is none, nor what two bytes would tell
_BEGINNINGS = (
    b"RIFX",
    b"fLaC",
    b"OggS",
    b".snd",
    b"caff",
    b"NIST_1A",
    b"Creative Voice File",
    b"#!AMR",
    b"wvpk",
    b"TTA1",
)
# Lists and labels that lie among the audio of any corpus: they are not opened
_TEXT = (
    "txt",
    "json",
    "jsonl",
    "csv",
    "tsv",
    "xml",
    "lab",
    "trn",
    "ctm",
    "textgrid",
    "wrd",
    "phn",
    "md",
    "html",
    "pdf",
)
_TEXTS = frozenset(f".{name}" for name in (*_TEXT, "jpg", "png", "gz", "zip", "py", "sh", "log", "yaml", "stm", "rttm"))


def is_audio(extension: str, path: str) -> bool:
    """Return whether a file is audio; it is opened where its extension, in small letters with the point, is unknown."""
    return extension in EXTENSIONS or (extension not in _TEXTS and _begins_as_audio(path))


def _begins_as_audio(path: str) -> bool:
    """Whether a file whose name tells nothing is audio."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as opened:
            start = opened.read(20)
    except OSError:
        return False
    chunk = start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE"
    return chunk or (start[:4] == b"FORM" and start[8:11] == b"AIF") or start.startswith(_BEGINNINGS)
