"""Noise, music, other people's speech and room impulse responses: MUSAN, RIRS_NOISES, any folder, or synthetic ones.

Lhotse's recipes `musan` and `rir_noise` list the same files (there is a test), yet are not called: one broken file ends
them with a traceback, they name a clip by its file alone, so that the noises of MUSAN and their copies in RIRS_NOISES
get one id, and `rir_noise` finds the real impulse responses by "rir" in their names, which those of the Aachen database
have not.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.audio.files import Listing, fingerprint, list_audio, refuse_without_ffmpeg
from sdpn.console import say
from sdpn.corpus import synthetic
from sdpn.corpus.folder import scan
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.skipped import Skipped
from sdpn.tables import lines_of
from sdpn.utterance import Utterance

_SIMULATED = ("simulated_rirs/smallroom", "simulated_rirs/mediumroom")
_REAL = "real_rirs_isotropic_noises"
_POINT_SOURCES = "pointsource_noises"


@dataclass(frozen=True)
class ClipSource:
    """A folder of clips of one kind; `prefix` begins their ids, so that equal names in two folders stay apart."""

    kind: str
    prefix: str
    listing: Listing


def find_clips(options: dict[str, Any], run: Callable) -> list[ClipSource]:
    """List what the options name.

    Raises:
        SdpnError: a folder is not there, or is not what it should be.
    """
    sources = [
        ClipSource(kind, "", list_audio(options[f"{kind}_dir"], run))
        for kind in ("noise", "music", "rir")
        if options.get(f"{kind}_dir")
    ]
    if options.get("musan"):
        sources += _find_musan(Path(options["musan"]), run)
    if options.get("rirs"):
        sources += _find_rirs_noises(Path(options["rirs"]), bool(options.get("musan")), run)
    for source in sources:
        refuse_without_ffmpeg(source.listing)
        if not source.listing.files:
            raise SdpnError(f"{source.listing.folder}: there is no audio file in it: {source.listing.what_else}")
    return sources


def _find_musan(folder: Path, run: Callable) -> list[ClipSource]:
    folder = _inside(folder, "musan", ("noise", "music", "speech"), "MUSAN")
    kinds = {"noise": "noise", "music": "music", "speech": "talkers"}
    return [ClipSource(kind, "musan-", list_audio(folder / part, run)) for part, kind in kinds.items()]


def _find_rirs_noises(folder: Path, with_musan: bool, run: Callable) -> list[ClipSource]:
    folder = _inside(folder, "RIRS_NOISES", (*_SIMULATED, _REAL), "RIRS_NOISES")
    sources = [ClipSource("rir", f"rirs-{Path(part).name}-", list_audio(folder / part, run)) for part in _SIMULATED]
    real = list_audio(folder / _REAL, run)
    rooms = _listed_rirs(folder / _REAL / "rir_list")
    sources.append(
        ClipSource(
            "rir",
            "rirs-real-",
            # Without the list: the isotropic noises recorded in these rooms are the files that say so
            real.where(
                lambda file: os.path.basename(file.name) in rooms if rooms else "noise" not in file.name.lower()
            ),
        )
    )
    if with_musan:
        say("  the point-source noises of RIRS_NOISES are left out: MUSAN has them already")
    elif (folder / _POINT_SOURCES).is_dir():
        sources.append(ClipSource("noise", "rirs-", list_audio(folder / _POINT_SOURCES, run)))
    return sources


def _listed_rirs(path: Path) -> set[str]:
    """The file names in RIRS_NOISES' own list (`--rir-id 1 --room-id 2 RIRS_NOISES/.../x.wav`); none without it."""
    if not path.is_file():
        return set()
    return {os.path.basename(line.split()[-1]) for _, line in lines_of(path, "list of rooms")}


def _inside(folder: Path, name: str, parts: tuple[str, ...], corpus: str) -> Path:
    """The folder that has `parts`: the one given, or the one of the archive's own name in it."""
    for candidate in (folder, folder / name):
        if all((candidate / part).is_dir() for part in parts):
            return candidate
    lacking = ", ".join(part for part in parts if not (folder / part).is_dir())
    raise SdpnError(f"{folder} is not {corpus} as its archive unpacks: it has no folder {lacking}")


def fingerprint_clips(sources: list[ClipSource]) -> dict[str, str]:
    """What changes when the folders do, or what is made in their place."""
    found = digest([[source.kind, source.prefix, fingerprint(source.listing.files)] for source in sources])
    lacking = set(synthetic.KINDS) - {source.kind for source in sources}
    return {"clip files": found, **({"clips": synthetic.fingerprint()} if lacking else {})}


def make_clips(
    sources: list[ClipSource], data: Path, seed: int, run: Callable, cache: Path
) -> tuple[dict[str, list[Utterance]], dict[str, list[Skipped]], list[Path]]:
    """Read the headers of all clips, and make synthetic ones of the kinds that there are none of.

    Returns:
        the clips and what was skipped, by kind, and the files made.
    """
    clips: dict[str, list[Utterance]] = {}
    skipped: dict[str, list[Skipped]] = {}
    for number, source in enumerate(sources):
        found = scan(source.listing, run, cache / f"{number}-{source.kind}", prefix=source.prefix)
        clips.setdefault(source.kind, []).extend(found.utterances)
        skipped.setdefault(source.kind, []).extend(found.skipped)
    lacking = [kind for kind in synthetic.KINDS if kind not in clips]
    if lacking:
        say(f"  synthetic clips serve as {', '.join(lacking)}: no folder was given for them")
    made = synthetic.make_clips(data / "audio", lacking, seed, run)
    order = [*synthetic.KINDS, "talkers"]
    clips |= made
    clips = {kind: clips[kind] for kind in order if kind in clips}
    return clips, skipped, [Path(clip.source) for own in made.values() for clip in own]
