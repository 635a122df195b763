"""The model card: what a model was trained on, when, and with which figures."""

from datetime import datetime
from pathlib import Path

from torch import nn

import sdpn
from sdpn import config as configuration
from sdpn.features.index import FeatureIndex
from sdpn.files import write_text
from sdpn.training.config import TrainConfig
from sdpn.training.log import read_log

_FIGURES = {
    "loss": "loss",
    "assignment_perplexity": "perplexity of the mean assignment to prototypes",
    "prototypes_in_use": "prototypes in use",
    "effective_rank": "effective rank of the embeddings",
    "neighbour_distance": "distance of an embedding to the nearest other one",
    "agreement": "student views that choose their teacher's prototype",
    "probe_eer": "EER of telling an utterance's halves from others', without labels",
    "dev_eer": "EER on the dev trials",
}


def write_card(exp_dir: Path, config: TrainConfig, index: FeatureIndex, encoder: nn.Module, averaged: int) -> Path:
    """Write `exp_dir`/model/README.md.

    Args:
        index: features of the training set.
        averaged: teachers whose mean the encoder is.
    """
    lines = read_log(exp_dir / "train.jsonl")
    last = lines[-1] if lines else {}
    hours = int(index.frames.sum()) * index.config.frame_shift / 3.6e6
    parameters = sum(weight.numel() for weight in encoder.parameters())
    teacher = "the teacher's encoder after the last step"
    if averaged > 1:
        teacher = f"the mean of the teacher's encoders in the last {averaged} checkpoints"
    figures = "".join(f"| {text} | {last[name]:.4g} |\n" for name, text in _FIGURES.items() if name in last)
    settings = "".join(f"{name}: {setting}\n" for name, setting in configuration.to_dict(config).items())
    text = f"""# A speaker encoder trained by self-supervision (SDPN)

Log-mel frames in, a {config.embedding_size}-dimensional embedding out; compare embeddings by cosine. {config.network}
with {config.width} channels, {parameters / 1e6:.2f} million parameters: {teacher}.

- trained without speaker labels on {len(index)} utterances, {hours:.1f} hours: {index.directory}
  (features {index.fingerprint})
- {index.num_bins} mel bins at {index.config.sampling_rate} Hz; all settings of the features stand in config.yaml
- {last.get("step", 0)} steps, {config.epochs} epochs, finished on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}
- sdpn {sdpn.__version__}; method: arXiv 2308.02774

At the end of the training:

| figure | |
|---|---:|
{figures}
These figures say that training was healthy, not how well speakers are told apart: that takes trials (stage 6).

`sdpn.models.folder.read_model` reads this folder: weights.pt is a plain state_dict (tensors only), config.yaml says
what network it belongs to.

## Settings

```
{settings}```
"""
    path = exp_dir / "model" / "README.md"
    write_text(path, text)
    return path
