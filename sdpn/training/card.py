"""The model card: what a model was trained on, when, and with which figures."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

import sdpn
from sdpn import config as configuration
from sdpn.console import counted
from sdpn.features.index import FeatureIndex
from sdpn.files import write_text
from sdpn.training.log import read_log

_FIGURES = {
    "loss": "loss",
    "assignment_perplexity": "perplexity of the mean assignment to prototypes",
    "prototypes_in_use": "prototypes in use",
    "accuracy": "crops that are given their class",
    "kept_share": "utterances that the loss gate lets pass",
    "corrected_share": "utterances whose label was corrected",
    "effective_rank": "effective rank of the embeddings",
    "neighbour_distance": "distance of an embedding to the nearest other one",
    "agreement": "student views that choose their teacher's prototype",
    "probe_eer": "EER of telling an utterance's halves from others', without labels",
    "dev_eer": "EER on the dev trials",
}


RESULTS = "## Error rates"
"""The heading of the section that `write_results` fills."""
_NOT_YET = "Stage 6 has not been run yet."


@dataclass(frozen=True)
class Origin:
    """How a model came about, in words.

    Attributes:
        title: of the card.
        encoder: which one it is, e.g. "the teacher's encoder after the last step".
        labels: what it learned from, e.g. "without speaker labels".
        method: where that is described.
    """

    title: str
    encoder: str
    labels: str
    method: str


def write_card(
    exp_dir: Path, origin: Origin, config: Any, network: dict[str, Any], index: FeatureIndex, encoder: nn.Module
) -> Path:
    """Write `exp_dir`/model/README.md.

    Args:
        config: the settings of the training.
        network: the arguments of `build_encoder`.
        index: features of the training set.
    """
    lines = read_log(exp_dir / "train.jsonl")
    last = lines[-1] if lines else {}
    hours = int(index.frames.sum()) * index.config.frame_shift / 3.6e6
    parameters = sum(weight.numel() for weight in encoder.parameters())
    figures = "".join(f"| {text} | {last[name]:.4g} |\n" for name, text in _FIGURES.items() if name in last)
    settings = "".join(f"{name}: {setting}\n" for name, setting in configuration.to_dict(config).items())
    ended = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    size, name, channels = (network[key] for key in ("embedding_size", "network", "channels"))
    text = f"""# {origin.title}

Log-mel frames in, a {size}-dimensional embedding out; compare embeddings by cosine. {name}
with {channels} channels, {parameters / 1e6:.2f} million parameters: {origin.encoder}.

- trained {origin.labels} on {counted(len(index), "utterance")}, {hours:.1f} hours: {index.directory}
  (features {index.fingerprint})
- {index.num_bins} mel bins at {index.config.sampling_rate} Hz; all settings of the features stand in config.yaml
- {counted(int(last.get("step", 0)), "step")}, {counted(int(last.get("epoch", 0)), "epoch")}, finished on {ended}
- sdpn {sdpn.__version__}; method: {origin.method}

At the end of the training:

| figure | |
|---|---:|
{figures}
These figures say that training was healthy, not how well speakers are told apart: that takes trials (stage 6).

{RESULTS}

{_NOT_YET}

## Intended use and limits

It compares voices: are two recordings of one speaker, or who of the enrolled speakers is it? It is not made to find out
when who speaks in a recording, to detect synthetic, altered or replayed voices, or to recognize words, languages or
people that it has no recording of. Expect more errors than above on recordings shorter than 2 seconds, on channels and
languages that training lacked, on children, and among relatives. Do not let a score alone decide about a person.
Voices are personal data in many countries: ask those whose voices you enroll.

## Licence

(to be filled in by whoever publishes this model: its own licence, and what the licence of the training data allows)

## Files

`sdpn.models.folder.read_model` reads this folder: weights.pt is a plain state_dict (tensors only), config.yaml says
what network it belongs to.

## Settings

```
{settings}```
"""
    path = exp_dir / "model" / "README.md"
    write_text(path, text)
    return path


def write_results(exp_dir: Path, lines: list[str]) -> None:
    """Put error rates into the card of an experiment's model, in the place of those there; nothing without a card."""
    path = exp_dir / "model" / "README.md"
    if not path.exists():
        return
    before = path.read_text(encoding="utf-8")
    head, heading, rest = before.partition(f"{RESULTS}\n")
    if not heading:  # of an earlier version
        return
    _, following, tail = rest.partition("\n## ")
    text = "\n".join([f"{head}{RESULTS}", "", *lines, f"{following}{tail}"])
    if text != before:
        write_text(path, text)
