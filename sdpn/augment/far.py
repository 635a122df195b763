"""dev_far: the held-out training speakers once more, each utterance in a room and with a noise.

Settings of what follows the network are chosen on it: on `dev` alone, which sounds as the training set does, a back-end
that has only seen such recordings looks best. Its rooms and noises are kept out of the banks of the training set.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from sdpn.audio.write import write_flac
from sdpn.console import Progress, counted, say
from sdpn.corpus.writer import Prepared
from sdpn.errors import Reason, SdpnError, reason_of
from sdpn.features.audio import load_samples
from sdpn.features.index_files import utterance_key
from sdpn.files import digest
from sdpn.shards import Work
from sdpn.skipped import Skipped
from sdpn.trials.lists import TrialSet
from sdpn.utterance import Utterance

NEAR, FAR = "dev", "dev_far"
_HELD_OUT = 0.2  # of the rooms, noises and pieces of music
_FOLDERS = 5  # so many folders of clips, or more, are rooms of which each may have several responses
_SNR = (5.0, 20.0)  # dB, uniform
_MOST_SECONDS = 2.0  # of a room's response
_PEAK = 0.99
_SHARD_SIZE = 200
_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """What is done to an utterance of the held-out speakers.

    Attributes:
        utterance: as it was said.
        path: where it is written to.
        room, noise: what is heard with it.
        start: the share of the noise at which its part begins; it goes round at the end.
        snr: dB.
    """

    utterance: Utterance
    path: Path
    room: Utterance
    noise: Utterance
    start: float
    snr: float

    def describe(self) -> list[Any]:
        """All that tells the result from another."""
        sources = [[one.recording_entry(), one.start, one.duration, one.channel] for one in self._inputs]
        return [str(self.path), sources, [_stamp(one.source) for one in self._inputs], self.start, self.snr]

    @property
    def _inputs(self) -> tuple[Utterance, Utterance, Utterance]:
        return self.utterance, self.room, self.noise


def add_far(prepared: Prepared, data: Path, seed: int, run: Callable) -> tuple[Prepared, list[Path]]:
    """Add the set `dev_far` and its trials to a corpus that has a set `dev`, and take its clips from the others.

    Args:
        prepared: the corpus; one without `dev`, or with given features for it, is returned as it is.
        data: the folder; audio is written below `data/audio/dev_far`.
        seed: of the clips held out, and of what each utterance gets.
        run: yields `function(*job)` for every job, in any order.

    Returns:
        the corpus, and the files written.
    """
    if NEAR not in prepared.speech:
        return prepared, []
    if NEAR in prepared.features:
        say(f"  no {FAR}: the corpus brings features, and rooms can only be added to audio")
        return prepared, []
    kept, held = {}, {}
    for kind, entries in prepared.clips.items():
        kept[kind], held[kind] = (entries, []) if kind == "talkers" else hold_clips_out(entries, seed)
    rooms, noises = held.get("rir"), [*held.get("noise", []), *held.get("music", [])]
    if not rooms or not noises:
        say(f"  no {FAR}: there are not rooms and noises enough to keep some of them out of training")
        return prepared, []
    folder = data / "audio" / FAR
    recipes = [_plan(one, folder, rooms, noises, seed) for one in prepared.speech[NEAR]]
    lengths, skipped = _render_all(recipes, folder, run)
    made = [_as_entry(recipe, lengths[recipe.utterance.id]) for recipe in recipes if recipe.utterance.id in lengths]
    near = prepared.trials[NEAR]
    trials = [trial for trial in near.trials if trial.enroll in lengths and trial.test in lengths]
    counts = ", ".join(f"{len(own)} of {len(own) + len(kept[kind])} {kind}" for kind, own in held.items() if own)
    say(
        f"  {FAR}: {counted(len(made), 'utterance')} of {NEAR} in rooms and noises of its own ({counts}), "
        "which no other set has"
    )
    added = replace(
        prepared,
        speech={**prepared.speech, FAR: made},
        trials={**prepared.trials, FAR: TrialSet(FAR, trials)},
        clips=kept,
        skipped={**prepared.skipped, **({FAR: skipped} if skipped else {})},
    )
    return added, [Path(entry.source) for entry in made]


def hold_clips_out(entries: list[Utterance], seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Clips that stay and clips held out, a fifth of them; the responses of a room, or the parts of a file, together.

    A single clip stays.
    """
    folders = {os.path.dirname(entry.source) for entry in entries}
    of_folder = _FOLDERS <= len(folders) < len(entries)
    groups = defaultdict(list)
    for entry in entries:
        groups[os.path.dirname(entry.source) if of_folder else entry.source].append(entry)
    if len(groups) < 2:
        return entries, []
    names = sorted(groups)
    count = max(1, round(_HELD_OUT * len(names)))
    chosen = {names[i] for i in np.random.default_rng([seed, 10]).permutation(len(names))[:count]}
    stay = [entry for name in names if name not in chosen for entry in groups[name]]
    return stay, [entry for name in names if name in chosen for entry in groups[name]]


def _plan(
    utterance: Utterance, folder: Path, rooms: Sequence[Utterance], noises: Sequence[Utterance], seed: int
) -> Recipe:
    """What an utterance gets: a function of the clips and of (seed, utterance id) alone."""
    rng = np.random.default_rng([seed, 11, utterance_key(utterance.id)])
    room, noise = rooms[int(rng.integers(len(rooms)))], noises[int(rng.integers(len(noises)))]
    path = folder / f"{quote(utterance.id, safe='')}.flac"
    return Recipe(utterance, path, room, noise, float(rng.random()), float(rng.uniform(*_SNR)))


def _render_all(recipes: list[Recipe], folder: Path, run: Callable) -> tuple[dict[str, int], list[Skipped]]:
    """Write all that is not there yet; the number of samples of each by its id, and what could not be made."""
    shards = []
    for number, first in enumerate(range(0, len(recipes), _SHARD_SIZE), 1):
        part = recipes[first : first + _SHARD_SIZE]
        inputs = {"recipes": digest([recipe.describe() for recipe in part]), "version": _VERSION}
        shards.append((Work(folder, f"part.{number:04d}", inputs), part))
    todo = [shard for shard in shards if shard[0].stale_reason() is not None]
    with Progress(str(folder), sum(len(part) for _, part in todo), "utterances") as progress:
        for count in run(render_shard, todo):
            progress.advance(count)
    lengths: dict[str, int] = {}
    skipped: list[Skipped] = []
    for work, _ in shards:
        report = work.report()
        lengths |= report["lengths"]
        skipped += [Skipped(name, Reason(*reason)) for name, *reason in report["skipped"]]
    return lengths, skipped


def render_shard(work: Work, recipes: list[Recipe]) -> int:
    """Write some utterances as they sound in their rooms; return how many recipes there were."""
    work.begin()
    lengths, skipped, written = {}, [], []
    for recipe in recipes:
        try:
            samples = render(recipe)
        except SdpnError as error:
            skipped.append([recipe.utterance.id, *reason_of(error)])
            continue
        write_flac(recipe.path, samples, recipe.utterance.sampling_rate)
        lengths[recipe.utterance.id] = len(samples)
        written.append(recipe.path)
    work.finish(written, lengths=lengths, skipped=skipped)
    return len(recipes)


def render(recipe: Recipe) -> np.ndarray:
    """The (n_samples,) float32 samples of an utterance in its room, with its noise; its length and rate stay.

    Raises:
        SdpnError: one of the three cannot be read.
    """
    from sdpn.augment.sources import add_at_snr, reverberate  # and SciPy, for those alone who render

    rate = recipe.utterance.sampling_rate
    speech = load_samples(_mono(recipe.utterance))
    room = load_samples(_mono(recipe.room).resampled(rate))[: round(_MOST_SECONDS * rate)]
    noise = load_samples(_mono(recipe.noise).resampled(rate))
    samples = reverberate(speech, room)
    first = int(recipe.start * len(noise))
    part = np.take(noise, np.arange(first, first + len(samples)), mode="wrap").astype(np.float32)
    add_at_snr(samples, part, recipe.snr)
    peak = float(np.abs(samples).max())
    return samples * np.float32(_PEAK / peak) if peak > _PEAK else samples


def _mono(entry: Utterance) -> Utterance:
    return entry if entry.channel is not None else entry.changed(channel=entry.channels[0])


def _as_entry(recipe: Recipe, length: int) -> Utterance:
    one = recipe.utterance
    return Utterance(
        one.id, str(recipe.path), one.sampling_rate, length, speaker=one.speaker, session=one.session, gender=one.gender
    )


def _stamp(path: str) -> list[int]:
    """Size in bytes and time of change in ns of a file; empty for what is none."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
