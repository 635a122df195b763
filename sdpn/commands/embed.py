"""`sdpn embed`: the x-vectors of recordings."""

import os
from functools import partial
from pathlib import Path

import click

from sdpn.commands.options import PATH, channel_option, check_device, model_option, statistics_option
from sdpn.errors import SdpnError

_FORMS = (".npz", ".ark", ".h5", ".hdf5")
_SHOWN = 20


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=PATH)
@model_option
@statistics_option
@click.option("-o", "--out", required=True, type=PATH, help=f"where the x-vectors go: {', '.join(_FORMS)}")
@channel_option
@click.option("--nj", default=len(os.sched_getaffinity(0)), type=click.IntRange(1), help="processes  [default: cores]")
def embed(
    recordings: tuple[Path, ...],
    model: Path,
    device: str,
    statistics: bool,
    out: Path,
    channel: int | str | None,
    nj: int,
) -> None:
    """Compute an x-vector, a voice in numbers, for each of RECORDINGS: audio files of any format and sampling rate, or
    folders of them.

    \b
    sdpn embed *.wav -o x.npz --model exp/toy
    sdpn embed wav/ -o vox1.ark --model exp/toy --nj 8

    An x-vector is named by its file as given here, or by the path below the folder given: trial lists can use these
    names, and `sdpn score --xvectors x.npz` scores them.

    An .npz or .h5 holds `ids`, `vectors` and `num_frames`. An .ark gets its .scp and NAME.num_frames beside it; other
    lists of that name are not overwritten. In an ark, white space in names becomes `_`.

    A recording that cannot be used is left out, with a warning.
    """
    check_device(device)
    if out.suffix not in _FORMS:
        raise SdpnError(f"--out is '{out}'; expected a name that ends in {', '.join(_FORMS)}")
    from sdpn.cluster.pool import run_jobs
    from sdpn.console import say, timed, warn
    from sdpn.extraction.embedder import embed_all
    from sdpn.extraction.vector_files import refuse_foreign_lists, write_vectors
    from sdpn.files import refuse_unwritable
    from sdpn.models.folder import find_model

    refuse_unwritable(out)
    refuse_foreign_lists(out)
    named, unlisted = named_files(recordings)
    folder = find_model(model)
    run = partial(run_jobs, nj=nj if device == "cpu" else 1)
    with timed(f"{len(named)} recordings"):
        files = list(named.values())
        found = dict(zip(named, embed_all(folder, files, run, device, statistics, channel), strict=True))
    broken = unlisted + [one.reason for one in found.values() if one.vector is None]
    for reason in broken[:_SHOWN]:
        warn(reason)
    if len(broken) > _SHOWN:
        warn(f"and {len(broken) - _SHOWN} more cannot be used")
    _warn_of_channels([one.note for one in found.values() if one.note])
    usable = {name: one for name, one in found.items() if one.vector is not None}
    if not usable:
        raise SdpnError(f"none of the {len(found)} recordings can be used: nothing was written")
    vectors = [one.vector for one in usable.values() if one.vector is not None]
    write_vectors(out, list(usable), vectors, [one.num_frames for one in usable.values()])
    left_out = f", {len(broken)} left out" if broken else ""
    say(f"  {len(usable)} x-vectors in {out}{left_out}")


def _warn_of_channels(notes: list[str]) -> None:
    """Say of which recordings one of several channels was taken."""
    from sdpn.console import warn

    for note in notes[:_SHOWN]:
        warn(note)
    if len(notes) > _SHOWN:
        warn(f"and so have {len(notes) - _SHOWN} more")


def named_files(given: tuple[Path, ...]) -> tuple[dict[str, str], list[str]]:
    """The files given or in the folders given, by their names; and what in the folders cannot be used, with why.

    Raises:
        SdpnError: one is not there, a folder holds no audio, or two files would get one name.
    """
    from sdpn.audio.files import list_audio

    named: dict[str, str] = {}
    unlisted: list[str] = []
    for path in given:
        if path.is_dir():
            listing = list_audio(path)
            if not listing.files:
                raise SdpnError(f"{path}: there is no audio file in it: {listing.what_else}")
            found = {file.name: file.path for file in listing.files}
            unlisted += [str(skipped) for skipped in listing.skipped]
        elif path.exists():
            found = {str(path): str(path)}
        else:
            raise SdpnError(f"{path}: there is no such file")
        twice = found.keys() & named.keys()
        if any(os.path.realpath(named[name]) != os.path.realpath(found[name]) for name in twice):
            raise SdpnError(f"two recordings would be called {sorted(twice)[0]}: give the folder above both")
        named |= found
    return named, unlisted
