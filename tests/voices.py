"""A tiny experiment with voices that an untrained network tells apart: for tests of what uses a model."""

from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import save_chain
from sdpn.extraction.embedder import Embedder
from sdpn.extraction.store import XVectors, write_xvectors
from sdpn.features.config import FbankConfig
from sdpn.files import write_json
from sdpn.models.digest import model_digest
from sdpn.models.folder import write_model
from sdpn.models.registry import build_encoder
from sdpn.shards import Work

NETWORK = {"network": "ecapa", "num_bins": 80, "channels": 16, "embedding_size": 12, "attention_channels": 8}
CALIBRATION = {"weight": 8.0, "offset": -4.0}
RATE = 16000


def voice(speaker: int, take: int, seconds: float = 1.5, rate: int = RATE) -> np.ndarray:
    """Pulses of a speaker's own rate through three resonances of its own, loud and soft in turn, with some noise."""
    own, rng = np.random.default_rng(speaker), np.random.default_rng([speaker, take])
    time = np.arange(round(seconds * rate)) / rate
    pitch = own.uniform(80, 280) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    samples = sum(np.sin(k * phase) / (1 + abs(k * pitch - own.uniform(300, 3000)) / 200) for k in range(1, 20))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(2, 4) * time)
    return (0.1 * samples * loudness + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def write_voice(path: Path, speaker: int, take: int, seconds: float = 1.5, rate: int = RATE, **options) -> Path:
    """The same as an audio file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(speaker, take, seconds, rate), rate, **options)
    return path


def write_small_model(folder: Path, **network) -> Path:
    """A model folder with random weights whose batch norms have seen something; return it."""
    torch.manual_seed(0)
    settings = {**NETWORK, **network}
    encoder = build_encoder(**settings)
    encoder(torch.randn(4, 60, settings["num_bins"]))
    write_model(folder, encoder, settings, FbankConfig(num_mel_bins=settings["num_bins"]).spectral())
    return folder


def write_experiment(exp: Path, calibrated: bool = True) -> Path:
    """An experiment as stage 6 leaves it: a model, training x-vectors, a fitted back-end and its calibration."""
    model = write_small_model(exp / "model")
    embed = partial(Embedder(model).embed, sampling_rate=RATE)
    vectors = np.stack([embed(voice(speaker, take)) for speaker in range(5) for take in range(2)])
    ids = [f"u{row}" for row in range(len(vectors))]
    folder = exp / "xvectors" / "train"
    folder.mkdir(parents=True)
    work = Work(folder, "xvectors", {"model": model_digest(model)})
    work.finish(write_xvectors(folder, XVectors(ids, vectors, np.full(len(ids), 150))))
    chains = {"cosine": "mean-subtract | length-norm | cosine", "white": "whiten 4 | length-norm | cosine"}
    for name, text in chains.items():
        save_chain(
            exp / "backends" / "sdpn" / f"{name}.h5", Chain(text).fit(vectors), model_digest(model), f"of {name}"
        )
    row = {"trials": "eval", "system": "sdpn", "score_norm": "none", "quality": [], "fused": []}
    row |= {"backend": "cosine", "chain": chains["cosine"], "backend_digest": "of cosine"}
    rows = [row | {"calibration": CALIBRATION if calibrated else None}]
    rows.append(rows[0] | {"score_norm": "as", "calibration": {"weight": 1.0, "offset": 0.0}})
    write_json(exp / "results" / "results.json", {"rows": rows})
    return exp
