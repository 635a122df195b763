"""Speakers of the default corpus, and what each says in which session."""

import functools
import re
from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError
from toy import espeak
from toy.sentences import sentences

ACCENTS = [
    "en-us",
    "en",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-gb-x-rp",
    "en-us-nyc",
]
# Effects rather than voices: robots, echoes, whispers, and one that only speaks fast.
_EFFECTS = re.compile("robo|robot|echo|whisper|ricishaymax|demonic|announcer|caleb|tweaky|fast|zac", re.IGNORECASE)
_PROBE = "Nine old men were walking along the river."


@dataclass(frozen=True)
class Speaker:
    """A voice: eSpeak's variant and accent, its own pitch and pace, and the length of its vocal tract.

    Attributes:
        id: e.g. "train007".
        gender: "m" or "f".
        variant, accent: the two halves of eSpeak's voice name.
        pitch, pitch_range, rate: as in `espeak.Request`, the speaker's own middle.
        tract: the factor by which all resonances lie higher than the variant's.
    """

    id: str
    gender: str
    variant: str
    accent: str
    pitch: int
    pitch_range: int
    rate: int
    tract: float


@dataclass(frozen=True)
class Planned:
    """One recording to be made; `session` names the channel that all recordings of the session share."""

    id: str
    speaker: Speaker
    session: str
    request: espeak.Request


@functools.cache
def variants() -> dict[str, str]:
    """The variants that load and speak in their own way, with the gender that their file states (else male)."""
    plain = espeak.speak(espeak.Request(ACCENTS[0], _PROBE)).tobytes()
    found = {}
    for name, path in espeak.variant_files().items():
        if _EFFECTS.search(name):
            continue
        samples = espeak.speak(espeak.Request(f"{ACCENTS[0]}+{name}", _PROBE))
        # A variant that cannot be read is either refused or silently replaced by the plain voice.
        if len(samples) and np.abs(samples).max() > 1000 and samples.tobytes() != plain:
            stated = re.search(r"^\s*gender\s+(\w+)", path.read_text("utf-8", errors="replace"), re.MULTILINE)
            found[name] = "f" if stated and stated[1].lower() == "female" else "m"
    return found


def plan_speakers(train: int, evaluation: int, seed: int) -> tuple[list[Speaker], list[Speaker]]:
    """Training and evaluation speakers; no variant serves both. Speakers of one variant stand together.

    Raises:
        SdpnError: the library carries too few voices.
    """
    genders = variants()
    rng = np.random.default_rng([seed, 1])
    names = [list(genders)[i] for i in rng.permutation(len(genders))]
    share = max(1, round(len(names) * max(0.2, evaluation / (train + evaluation))))
    if len(names) < 2:
        raise SdpnError("espeak-ng carries fewer than two voices: install the package espeakng-loader again")
    return (
        _spread("train", train, names[share:], genders, np.random.default_rng([seed, 2])),
        _spread("eval", evaluation, names[:share], genders, np.random.default_rng([seed, 3])),
    )


def _spread(prefix: str, count: int, names: list[str], genders: dict[str, str], rng) -> list[Speaker]:
    """`count` speakers over the variants `names`; speakers of one variant differ in everything else."""
    order = sorted(i % len(names) for i in range(count))
    speakers = []
    for number, which in enumerate(order):
        nth = sum(1 for earlier in order[:number] if earlier == which)
        same = order.count(which)
        if nth == 0:
            accents = rng.permutation(ACCENTS)
            pitches = rng.permutation(np.linspace(20, 80, same) if same > 1 else [50.0])
            tracts = rng.permutation(np.linspace(0.90, 1.12, same) if same > 1 else [1.0])
        speakers.append(
            Speaker(
                id=f"{prefix}{number + 1:03d}",
                gender=genders[names[which]],
                variant=names[which],
                accent=str(accents[nth % len(accents)]),
                pitch=int(np.clip(pitches[nth] + rng.uniform(-8, 8), 5, 95)),
                pitch_range=int(rng.uniform(25, 85)),
                rate=int(rng.uniform(150, 200)),
                tract=round(float(tracts[nth] + rng.uniform(-0.02, 0.02)), 3),
            )
        )
    return speakers


def plan_utterances(speakers: list[Speaker], sessions: int, per_session: int, seed: int) -> list[Planned]:
    """What `speakers` say: `sessions` x `per_session` utterances each; no sentence twice within the list.

    A speaker's pitch and pace vary a little from session to session and from utterance to utterance.
    """
    rng = np.random.default_rng([seed, 4, *speakers[0].id.encode()])
    texts = sentences(rng)
    plan = []
    for speaker in speakers:
        for session in range(1, sessions + 1):
            mood, pace = rng.normal(0, 3), rng.normal(0, 8)
            for number in range(1, per_session + 1):
                request = espeak.Request(
                    voice=f"{speaker.accent}+{speaker.variant}",
                    text=next(texts),
                    rate=int(np.clip(speaker.rate + pace + rng.normal(0, 6), 130, 230)),
                    pitch=int(np.clip(speaker.pitch + mood + rng.normal(0, 3), 0, 99)),
                    pitch_range=speaker.pitch_range,
                )
                name = f"{speaker.id}-s{session}"
                plan.append(Planned(f"{name}-u{number:02d}", speaker, name, request))
    return plan
