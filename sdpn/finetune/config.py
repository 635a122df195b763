"""The settings of stages 7 and 8, as conf/finetune/*.yaml gives them. Defaults are those of published recipes."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from sdpn.config import value
from sdpn.training.config import LoopConfig

XVECTORS, BOTH = "x-vectors", "both"


@dataclass(frozen=True)
class LabelConfig:
    """Stage 7: which training utterances become members of which pseudo-speaker."""

    clusters: int | None = value(
        None, "how many clusters; null: the coarsest level at which x-vectors fall apart clearly", at_least=2
    )
    cluster_on: str = value(
        XVECTORS,
        "what is clustered: x-vectors, or both, with the statistics of the fbank beside them, which know the recording",
        one_of=(XVECTORS, BOTH),
    )
    min_class_size: int = value(8, "smaller classes are dropped", at_least=2)
    max_class_size: int = value(50, "utterances drawn from a larger class; 0: all stay", at_least=0)
    min_silhouette: float = value(
        0.0, "members of a lower silhouette are left out as uncertain; -1: none is", at_least=-1, at_most=1
    )


@dataclass(frozen=True)
class FineTuneConfig(LoopConfig):
    """Stage 8: views, classifier, loss, gate, label correction, and the large-margin phase at the end."""

    batch_size: int = value(256, "utterances in a step, over all GPUs", at_least=2)
    epochs: int = value(30, "passes over the training set before the large-margin phase", at_least=1)
    warmup_epochs: float = value(1.0, "epochs over which the learning rate rises to its peak", at_least=0)
    lr: float = value(0.05, "peak learning rate for a batch of lr_batch_size utterances", above=0)
    final_lr: float = value(1e-4, "learning rate at the end of the main phase", at_least=0)
    weight_decay: float = value(5e-5, "none on biases, norms and the classifier", at_least=0)

    frames: int = value(200, "length of an augmented crop", at_least=10)
    scale: float = value(30.0, "s: cosines are multiplied by it", above=0)
    margin: float = value(0.2, "m: added to the angle with one's own class, radians", at_least=0, below=1.5)
    margin_warmup_epochs: float = value(5.0, "epochs over which the margin rises from 0", at_least=0)
    sub_centres: int = value(1, "centres of a class, of which the nearest counts", at_least=1)

    gate: bool = value(True, "exclude utterances with a high loss from their step (dynamic loss gate)")
    gate_from: int = value(5, "the first epoch with the gate, counted from 1", at_least=2)
    correction: bool = value(True, "give what the gate excludes the class that the network is sure of")
    correction_from: int = value(9, "the first epoch with label correction, counted from 1", at_least=2)
    correction_frames: int = value(400, "length of the clean view that is looked at", at_least=10)
    correction_temperature: float = value(0.1, "temperature of the softmax over cosines with the classes", above=0)
    correction_confidence: float = value(0.5, "the softmax must exceed it", at_least=0, below=1)

    large_margin_epochs: int = value(5, "further epochs with a large margin and long crops", at_least=0)
    large_margin: float = value(0.5, "m in these", at_least=0, below=1.5)
    large_margin_frames: int = value(600, "length of a crop in these", at_least=10)
    large_margin_lr: float = value(0.02, "their learning rate, a share of lr", above=0, at_most=1)

    min_kept: float = value(
        0.2, "collapse: the gate lets a smaller share of the utterances pass", at_least=0, at_most=1
    )
    max_class_share: float = value(
        0.5, "collapse: one class is chosen for a larger share of an epoch's utterances", above=0, at_most=1
    )

    @property
    def all_epochs(self) -> int:
        """The epochs of both phases."""
        return self.epochs + self.large_margin_epochs


@dataclass(frozen=True)
class RoundConfig(FineTuneConfig, LabelConfig):
    """conf/finetune/*.yaml: the settings of both stages."""

    def part(self, cls: type) -> Any:
        """The settings that are those of `cls`, one of the two."""
        return cls(**{field.name: getattr(self, field.name) for field in dataclasses.fields(cls)})
