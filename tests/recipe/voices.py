"""Small folders of synthetic voices for the tests of the recipe: no synthesizer, no file of anyone's."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter


def voice(speaker: int, utterance: int, seconds: float, rate: int = 16000) -> np.ndarray:
    """A buzz through two resonances: pitch and resonances are the speaker's, their course is the utterance's."""
    own = np.random.default_rng([1, speaker])
    pitch, formants = own.uniform(80, 240), own.uniform([300, 1000], [900, 2600])
    course = np.random.default_rng([2, speaker, utterance])
    time = np.arange(int(seconds * rate)) / rate
    wobble = 1 + 0.1 * np.sin(2 * np.pi * course.uniform(1, 4) * time + course.uniform(0, 6))
    buzz = np.sign(np.sin(2 * np.pi * np.cumsum(pitch * wobble) / rate)) + 0.1 * course.standard_normal(len(time))
    for centre in formants:
        radius = np.exp(-np.pi * 90 / rate)
        angle = 2 * np.pi * centre * course.uniform(0.95, 1.05) / rate
        buzz = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], buzz)
    buzz *= 0.3 + np.abs(np.sin(2 * np.pi * course.uniform(1, 3) * time))
    return (0.3 * buzz / np.abs(buzz).max()).astype(np.float32)


def write_speakers(folder: Path, speakers: int, sessions: int = 2, utterances: int = 3) -> Path:
    """Write speaker/session/utterance.flac files of 1.2 to 2 s below `folder`."""
    for speaker in range(speakers):
        for session in range(sessions):
            for utterance in range(utterances):
                path = folder / f"spk{speaker:02d}" / f"s{session}" / f"{utterance}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                number = session * utterances + utterance
                soundfile.write(path, voice(speaker, number, 1.2 + 0.13 * number), 16000)
    return folder
