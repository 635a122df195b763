"""Speech of the default corpus on disk: speakers rendered in shards, each done once."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from sdpn.audio.write import write_flac
from sdpn.corpus import synthetic
from sdpn.files import digest, file_digest
from sdpn.shards import Work
from sdpn.utterance import Utterance
from toy import espeak
from toy.channel import RATE, draw_channel, record
from toy.speakers import Planned

_UTTERANCES_PER_SHARD = 72


def versions() -> dict[str, str]:
    """What the audio depends on beside the options: the libraries, and the code that makes it."""
    code = [file_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return {"voices": digest(code, synthetic.installed("espeakng-loader")), "clips": synthetic.fingerprint()}


def shards(folder: Path, plan: list[Planned], seed: int) -> list[tuple[Work, list[Planned], int]]:
    """The arguments of `speak_shard`, a few speakers each."""
    jobs = []
    for start in range(0, len(plan), _UTTERANCES_PER_SHARD):
        utterances = plan[start : start + _UTTERANCES_PER_SHARD]
        content = digest([asdict(utterance) for utterance in utterances])
        work = Work(folder, f"from-{utterances[0].id}", {"utterances": content, "seed": seed, **versions()})
        jobs.append((work, utterances, seed))
    return jobs


def speak_shard(set_name: str, work: Work, utterances: list[Planned], seed: int) -> tuple[str, list[Utterance]]:
    """Render a shard unless it is there; return the set's name and its utterances."""
    paths = [work.directory / utterance.speaker.id / f"{utterance.id}.flac" for utterance in utterances]
    if work.stale_reason() is not None:
        work.begin()
        lengths = [render(utterance, path, seed) for utterance, path in zip(utterances, paths, strict=True)]
        work.finish(paths, num_samples=lengths)
    lengths = work.report()["num_samples"]
    return set_name, [
        Utterance(
            id=utterance.id,
            source=str(path),
            sampling_rate=RATE,
            length=length,
            speaker=utterance.speaker.id,
            session=utterance.session,
            gender=utterance.speaker.gender,
        )
        for utterance, path, length in zip(utterances, paths, lengths, strict=True)
    ]


def render(utterance: Planned, path: Path, seed: int) -> int:
    """Write one utterance as 16-bit FLAC; return its number of samples."""
    channel = draw_channel(np.random.default_rng([seed, 6, *utterance.session.encode()]))
    rng = np.random.default_rng([seed, 7, *utterance.id.encode()])
    voice = espeak.speak(utterance.request)
    samples = record(voice, espeak.sample_rate(), utterance.speaker.tract, channel, rng)
    write_flac(path, samples, RATE)
    return len(samples)
