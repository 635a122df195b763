#!/usr/bin/env python3
"""Stage 0 for the embedded default corpus: synthesized speakers, noises and rooms, with nothing to download.

    local/prepare_toy.py --nj 2 data

Every variant, accent, pitch and pace of espeak-ng makes a speaker; each speaker has three sessions, each with a room, a
microphone, a level and a noise of its own. The same seed gives the same bytes, whatever --nj is.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from toy import espeak
from toy.render import shards, speak_shard, versions
from toy.speakers import Planned, plan_speakers, plan_utterances

from sdpn.augment.far import add_far
from sdpn.cluster.pool import run_jobs
from sdpn.console import Progress, run, say
from sdpn.corpus import synthetic
from sdpn.corpus.stage0 import generate
from sdpn.corpus.writer import Prepared, prepare_once, write_corpus
from sdpn.errors import SdpnError
from sdpn.recipe.program import program, stage0
from sdpn.trials.lists import TrialSet
from sdpn.utterance import Utterance

SESSIONS = 3
TRAIN_UTTERANCES, EVAL_UTTERANCES = 3, 4  # in each session


@program(__doc__, "data")
@click.option(
    "--train-speakers", default=200, type=click.IntRange(2), help="training speakers, those held out included"
)
@click.option("--eval-speakers", default=40, type=click.IntRange(2), help="evaluation speakers")
@stage0("toy")
def main(data: Path, nj: int, **options: int) -> None:
    held_out, most = options["dev_speakers"], options["train_speakers"] - 2
    if held_out == 1 or held_out > most:
        raise SdpnError(f"--dev-speakers is {held_out}; give 0, or 2 to {most}: two speakers must be left to train on")
    prepare_once(data, "toy", options, versions(), lambda: prepare(data, options, partial(run_jobs, nj=nj)))


def prepare(data: Path, options: dict[str, int], run_all: Callable) -> list[Path]:
    """Make every set, the trial lists and `corpus.json`; return all files written."""
    seed = options["seed"]
    speech = speak(data / "audio" / "speech", plan_sets(options), seed, run_all)
    clips = synthetic.make_clips(data / "audio", synthetic.KINDS, seed, run_all)
    trials = {name: TrialSet(name, generate(name, own, seed)) for name, own in speech.items() if name != "train"}
    audio = [Path(utterance.source) for utterances in [*speech.values(), *clips.values()] for utterance in utterances]
    prepared, far = add_far(Prepared(speech, trials, clips), data, seed, run_all)
    return [*audio, *far, *write_corpus(data, "toy", options, prepared)]


def plan_sets(options: dict[str, int]) -> dict[str, list[Planned]]:
    """What is to be said in each set of speech; holding out dev speakers changes neither train's nor eval's audio."""
    train, evaluation = plan_speakers(options["train_speakers"], options["eval_speakers"], options["seed"])
    said = plan_utterances(train, SESSIONS, TRAIN_UTTERANCES, options["seed"])
    # Speakers of one variant stand together, so the last ones take most of their variants out of train with them.
    held_out = {speaker.id for speaker in train[len(train) - options["dev_speakers"] :]}
    sets = {
        "train": [utterance for utterance in said if utterance.speaker.id not in held_out],
        "eval": plan_utterances(evaluation, SESSIONS, EVAL_UTTERANCES, options["seed"]),
        "dev": [utterance for utterance in said if utterance.speaker.id in held_out],
    }
    return {name: utterances for name, utterances in sets.items() if utterances}


def speak(folder: Path, sets: dict[str, list[Planned]], seed: int, run_all: Callable) -> dict[str, list[Utterance]]:
    """Render every utterance that is not in `folder` yet; return the utterances of each set."""
    total = sum(map(len, sets.values()))
    say(f"{total} utterances, spoken by espeak-ng {espeak.version()}")
    jobs = [(name, *job) for name, plan in sets.items() for job in shards(folder, plan, seed)]
    utterances: dict[str, list[Utterance]] = {name: [] for name in sets}
    with Progress("speech", total, "utterances") as progress:
        for name, done in run_all(speak_shard, jobs):
            utterances[name] += done
            progress.advance(len(done))
    return utterances


if __name__ == "__main__":
    run(main)
