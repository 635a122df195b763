#!/usr/bin/env python3
"""Stage 0 for VoxCeleb: VoxCeleb2 dev to train on, VoxCeleb1 to evaluate, with the official trial lists O, E and H.

    local/prepare_voxceleb.py --voxceleb1 /corpora/vox1 --voxceleb2 /corpora/vox2 --musan /corpora/musan --nj 16 data

VoxCeleb1 is wav/id10001/VIDEO/00001.wav, dev and test together or in folders of their own; VoxCeleb2 is
{aac,m4a,wav}/id00012/VIDEO/00001.{m4a,wav}. Trial lists (veri_test2.txt, list_test_all2.txt, list_test_hard2.txt for
the cleaned ones, without the 2 for the original ones) lie in the folder of VoxCeleb1, beside it, or in a folder `meta`
or `trials` of either; --download fetches them. --trials adds a list of your own over VoxCeleb1, such as VoxSRC's, which
names utterances by paths that end as above, or by ids (id10001-VIDEO-00001).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import voxceleb

from sdpn.audio.files import Listing, fingerprint, list_recordings, refuse_without_ffmpeg
from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import run, say
from sdpn.corpus.clips import find_clips
from sdpn.corpus.download import download_clips, fetch_all
from sdpn.corpus.options import absolute
from sdpn.corpus.stage0 import GivenTrials, prepare
from sdpn.corpus.writer import CACHE, Prepared
from sdpn.errors import SdpnError
from sdpn.files import digest
from sdpn.recipe.program import program, stage0
from sdpn.trials.lists import Trials, TrialSet, name_by_id, name_models
from sdpn.trials.names import refuse_unknown

HOW_TO_GET = "its form of request is at https://www.robots.ox.ac.uk/~vgg/data/voxceleb/: no password, no download here"


@program(__doc__, "data")
@stage0("voxceleb")
def main(data: Path, nj: int, **given: Any) -> None:
    options, run_all = absolute(data, given), partial(run_jobs, nj=nj)
    chosen = choose_lists(options["voxceleb_trials"])
    for name in ("voxceleb1", "voxceleb2"):
        if not Path(options[name]).is_dir():
            raise SdpnError(f"{options[name]}: there is no such folder; to get VoxCeleb, {HOW_TO_GET}")
    roots = {name: Path(options[f"voxceleb{name[-1]}"]) for name in ("vox1", "vox2")}
    fetched = data / "download"
    places = [folder for root in roots.values() for folder in (root, root.parent)]
    if options["download"]:
        given_file = partial(voxceleb.find_file, folders=places)
        fetch_all("voxceleb", fetched, options["downloads_config"], given_file)
        options |= download_clips(options, fetched, options["downloads_config"])
    clips = find_clips(options, run_all)
    places.append(fetched / "voxceleb")
    given_trials = GivenTrials.read(options)
    lists = {name: (own, {}) for name, own in find_lists(chosen, places).items()}
    if given_trials.trials:
        given_trials.refuse_name({*voxceleb.LISTS, "dev"})
        lists[given_trials.name] = (given_trials.trials, given_trials.models)
    if not lists:
        raise SdpnError("--voxceleb-trials is none, and there is no other trial list: give --trials")
    meta = {part: voxceleb.Meta.read(voxceleb.find_file(voxceleb.META[part], places)) for part in roots}
    listings = {part: list_recordings(root, run_all) for part, root in roots.items()}
    listings["vox2"] = voxceleb.of_voxceleb2_dev(listings["vox2"], meta["vox2"])
    for listing in listings.values():
        if not any(voxceleb.utterance_id(file.name) for file in listing.files):
            what = listing.what_else if not listing.files else f"e.g. {listing.files[0].name}"
            raise SdpnError(f"{listing.folder}: there is no audio like id10001/VIDEO/00001.wav in it: {what}")
        refuse_without_ffmpeg(listing)
    inputs = {
        "files": digest([fingerprint(listing.files) for listing in listings.values()]),
        "speakers": digest([[part.genders, sorted(part.test)] for part in meta.values()]),
        "trials": digest({name: [list(own), models] for name, (own, models) in lists.items()}),
    }
    find = partial(find_speech, data, listings, meta, lists, run_all)
    prepare(data, "voxceleb", options, inputs, clips, find, run_all, add_far)


def choose_lists(letters: str) -> set[str]:
    """The letters of the trial lists asked for.

    Raises:
        SdpnError: one is not O, E or H.
    """
    chosen = {letter.strip().upper() for letter in letters.split(",")} - {"NONE"}
    if chosen - set("OEH"):
        raise SdpnError(f"--voxceleb-trials is '{letters}'; allowed: O, E, H, separated by commas, or none")
    return chosen


def find_lists(chosen: set[str], places: list[Path]) -> dict[str, Trials]:
    """The official trial lists that lie in `places`, cleaned and original ones by their names.

    Raises:
        SdpnError: of one letter there is none.
    """
    found = {}
    for name, official in voxceleb.LISTS.items():
        if name.split("_")[1] in chosen and (path := voxceleb.find_file(official.file, places)):
            found[name] = voxceleb.read_official(name, path)
            say(f"  {name}: {path}")
    for letter in sorted(chosen - {name.split("_")[1] for name in found}):
        file = voxceleb.LISTS[f"vox1_{letter}_cleaned"].file
        raise SdpnError(
            f"there is no {file} in {places[0]}: --download fetches it, {voxceleb.WHERE} has it, and --voxceleb-trials "
            "says which lists to use"
        )
    return found


def find_speech(
    data: Path,
    listings: dict[str, Listing],
    meta: dict[str, voxceleb.Meta],
    lists: dict[str, tuple[Trials, dict[str, list[str]]]],
    run_all: Callable,
) -> Prepared:
    """Read the headers of what is needed: VoxCeleb2 dev, and of VoxCeleb1 what the trials name."""
    names = {list_name: voxceleb.ids_of(*own) for list_name, own in lists.items()}
    wanted = {id for ids in names.values() for id in ids.values()}
    evaluation, skipped = voxceleb.scan(listings["vox1"], meta["vox1"].genders, run_all, data / CACHE / "eval", wanted)
    usable = {utterance.id for utterance in evaluation}
    sets = {}
    for list_name, (own, models) in lists.items():
        ids = {name: id for name, id in names[list_name].items() if id in usable}
        named, unknown = name_by_id(own, ids, models)
        named_models, lacking = name_models(models, ids, own.enrolled)
        total = len(own.enrolled | own.tested)
        official = voxceleb.LISTS.get(list_name)
        where = f"{list_name} ({official.file})" if official else list_name
        listing = data / "trials" / f"{list_name}.missing.txt"
        unknown = sorted({*unknown, *lacking})
        refuse_unknown(unknown, usable, total, where, str(listings["vox1"].folder), listing, skipped)
        sets[list_name] = TrialSet("eval", named, named_models)
    train, left_out = voxceleb.scan(listings["vox2"], meta["vox2"].genders, run_all, data / CACHE / "train")
    return Prepared({"train": train, "eval": evaluation}, sets, {}, {"train": left_out, "eval": skipped})


if __name__ == "__main__":
    run(main)
