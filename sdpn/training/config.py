"""The settings of stage 4: from conf/sdpn/*.yaml, or from the config.yaml of an experiment, to make it again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sdpn.augment.config import ViewConfig
from sdpn.config import build, read_tree, refuse_unknown_choices, value
from sdpn.errors import SdpnError

USUAL_CHANNELS = {"ecapa": 1024, "resnet34": 32, "xvector": 512}
"""The networks, and how many channels each has where nothing else is said."""
POOLINGS = ("attentive", "statistics")
PADDINGS = ("zeros", "reflect")
INPUT_NORMS = ("instance", "mean", "level", "none")
DIMENSION_NORMS = ("frobenius", "off_diagonal")
PRECISIONS = ("auto", "float32", "bfloat16")

STOPPED_BY_SIGNAL = 85
"""The exit status after SIGTERM or SIGUSR1; a scheduler may take it for `start me again`."""

# Keys that may change between two sittings of one training, of stage 4 or 8: they decide what is watched and kept and
# how fast it goes, not what is learned
UNRELATED_TO_THE_RESULT = frozenset(
    {
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "keep_every_epochs",
        "min_prototypes_in_use",
        "min_effective_rank",
        "min_neighbour_distance",
        "max_target_entropy",
        "min_kept",
        "max_class_share",
        "init",
        "abort_on_collapse",
        "probe_utterances",
        "compile",
    }
)


@dataclass(frozen=True)
class LoopConfig:
    """What every training has, of stage 4 and of stage 8: batches, the optimizer, and what is watched and kept."""

    seed: int = value(1, "everything random in training follows from it", at_least=0, at_most=2**63 - 1)

    batch_size: int = value(384, "utterances in a step, over all GPUs", at_least=2)
    accumulate: int = value(1, "micro-batches that each GPU computes its share in, for want of memory", at_least=1)
    precision: str = value(
        "auto", "number format of the encoder; auto: bfloat16 on GPUs that have it", one_of=PRECISIONS
    )
    compile: bool = value(False, "compile the encoder with torch.compile")
    sync_norms: bool = value(True, "batch norms count the views of all GPUs together")

    epochs: int = value(150, "passes over the training set", at_least=1)
    warmup_epochs: float = value(10.0, "epochs over which the learning rate rises to its peak", at_least=0)
    lr: float = value(0.4, "peak learning rate for a batch of lr_batch_size utterances", above=0)
    lr_batch_size: int = value(256, "the learning rate is multiplied by batch_size / lr_batch_size", at_least=1)
    final_lr: float = value(1e-5, "learning rate at the end", at_least=0)
    momentum: float = value(0.9, "momentum of SGD", at_least=0, below=1)
    weight_decay: float = value(5e-5, "weight decay; none on biases, norms and prototypes", at_least=0)
    clip_norm: float = value(3.0, "largest norm of the whole gradient", above=0)

    log_every: int = value(50, "steps between two lines of train.jsonl", at_least=1)
    checkpoint_every: int = value(500, "steps between two checkpoints; there is one at each end", at_least=1)
    keep_checkpoints: int = value(3, "checkpoints kept, the newest ones", at_least=1)
    keep_every_epochs: int = value(10, "besides, one checkpoint is kept every so many epochs; 0: none", at_least=0)
    probe_utterances: int = value(
        200, "training utterances whose halves are told from others' at the end of an epoch, to be plotted", at_least=0
    )
    min_effective_rank: float = value(2.0, "collapse: smaller effective rank of the embeddings", at_least=0)
    min_neighbour_distance: float = value(
        0.02, "collapse: smaller mean distance of an embedding to the nearest other one", at_least=0
    )
    abort_on_collapse: bool = value(False, "stop where training has collapsed, rather than warn")

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.batch_size % self.accumulate != 0 or self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"accumulate is {self.accumulate}; expected a number that divides batch_size ({self.batch_size}) "
                "into micro-batches of at least 2 utterances"
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}; expected at most epochs ({self.epochs})")

    @property
    def peak_lr(self) -> float:
        """The learning rate at the end of the warm-up."""
        return self.lr * self.batch_size / self.lr_batch_size


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """Stage 4: beside the optimizer the network, the views and the losses. Defaults are the paper's setting."""

    network: str = value("ecapa", "architecture of the encoder", one_of=tuple(USUAL_CHANNELS))
    channels: int | None = value(
        None, "channels of the encoder, a multiple of 8; null: ecapa 1024, resnet34 32, xvector 512", at_least=8
    )
    embedding_size: int = value(512, "dimensions of the x-vector", at_least=2)
    attention_channels: int = value(128, "hidden size of the pooling's attention", at_least=1)
    global_context: bool = value(True, "let the attention see the utterance's mean and deviation")
    pooling: str = value("attentive", "how frames are pooled: by attention, or by plain statistics", one_of=POOLINGS)
    padding: str = value(
        "zeros", "what convolutions see beyond an utterance: zeros, or its frames mirrored", one_of=PADDINGS
    )
    input_norm: str = value(
        "instance",
        "what is removed from a view: mean and deviation of each bin; its mean; the level; nothing",
        one_of=INPUT_NORMS,
    )
    input_mean_share: float = value(
        0.0, "share of each bin's own mean that `level` removes, too", at_least=0, at_most=1
    )
    head_hidden: int = value(2048, "size of the projection head's hidden layers", at_least=1)
    head_output: int = value(256, "dimensions in which embeddings meet prototypes", at_least=2)
    prototypes: int = value(1024, "number of prototypes", at_least=2)

    teacher_views: int = value(1, "clean global views of an utterance, for the teacher", at_least=1)
    teacher_frames: int = value(400, "length of a global view, frames", at_least=10)
    student_views: int = value(4, "augmented local views of an utterance, for the student", at_least=1)
    student_frames: int = value(200, "length of a local view, frames", at_least=10)

    teacher_momentum: float = value(
        0.996, "share of the teacher that stays at a step, at first; rises to 1", at_least=0, at_most=1
    )

    student_temperature: float = value(0.1, "tau: temperature of the student's assignments", above=0)
    teacher_sharpening: float = value(0.25, "T: the teacher's temperature is tau * T", above=0)
    sinkhorn_iterations: int = value(3, "0: the teacher's assignments are not balanced", at_least=0)
    mean_entropy_weight: float = value(
        1.0, "weight of the loss that spreads utterances over all prototypes", at_least=0
    )
    diversity_weight: float = value(0.1, "weight of the loss that keeps embeddings apart (KoLeo)", at_least=0)
    dimension_weight: float = value(0.0, "weight of the dimension regularization", at_least=0)
    dimension_norm: str = value("frobenius", "form of the dimension regularization", one_of=DIMENSION_NORMS)

    # What the public code does differently, see conf/sdpn/reference.yaml
    clip: str = value("global", "clip_norm is of the whole gradient, or of each tensor's", one_of=("global", "tensor"))
    prototype_gradients: str = value(
        "mean", "gradient of the prototypes over GPUs: the mean, or the sum", one_of=("mean", "sum")
    )
    diversity_over: str = value("step", "utterances among which KoLeo looks for neighbours", one_of=("step", "rank"))
    prototype_init: str = value(
        "sphere", "prototypes at first: of length 1, or with uniform coordinates", one_of=("sphere", "uniform")
    )

    average_checkpoints: int = value(1, "the model is the mean of the teachers of so many last checkpoints", at_least=1)
    min_prototypes_in_use: float = value(
        0.02, "collapse: smaller share of the prototypes in use, or a single one", at_least=0, at_most=1
    )
    max_target_entropy: float = value(
        0.95, "collapse: mean entropy of the teacher's targets above this share of log(prototypes)", at_least=0
    )

    def check(self) -> None:
        """Raise ValueError where settings do not fit together."""
        if self.width % 8 != 0:
            raise ValueError(f"channels is {self.channels}; expected a multiple of 8")
        if self.network == "resnet34" and self.padding != "zeros":
            raise ValueError(f"padding is {self.padding}; network resnet34 knows zeros only")
        if self.input_mean_share > 0 and self.input_norm != "level":
            raise ValueError(f"input_mean_share is {self.input_mean_share:g}; input_norm {self.input_norm} has none")
        if self.average_checkpoints > self.keep_checkpoints:
            raise ValueError(
                f"average_checkpoints is {self.average_checkpoints}; expected at most keep_checkpoints "
                f"({self.keep_checkpoints})"
            )
        super().check()

    @property
    def width(self) -> int:
        """The encoder's channels."""
        return USUAL_CHANNELS[self.network] if self.channels is None else self.channels

    def network_settings(self, num_bins: int) -> dict:
        """The arguments of `sdpn.models.registry.build_encoder`."""
        return {
            "network": self.network,
            "num_bins": num_bins,
            "channels": self.width,
            "embedding_size": self.embedding_size,
            "attention_channels": self.attention_channels,
            "global_context": self.global_context,
            "pooling": self.pooling,
            "padding": self.padding,
            "input_norm": self.input_norm,
            "input_mean_share": self.input_mean_share,
        }


RECORDED = ("augment", "inputs")  # what config.yaml holds beside the settings of TrainConfig


class Settings(NamedTuple):
    """What a file says of a training.

    Attributes:
        train: the settings themselves.
        augment: how views are augmented, settings of ViewConfig by name: all of them for an experiment; for a file of
            conf/sdpn/ those that it has below `augment`, which take the place of conf/augment.yaml's.
        inputs: the fingerprints of the features and banks that it was trained on; empty likewise.
        init: the model that it began with; None where it began from scratch.
    """

    train: TrainConfig
    augment: dict[str, Any]
    inputs: dict[str, Any]
    init: str | None = None


def read_settings(path: str | Path, given: dict[str, Any] | None = None) -> Settings:
    """Read `path` (YAML), with the settings `given` in the place of the file's.

    Raises:
        SdpnError: see `sdpn.config.read`.
    """
    tree = read_tree(path)
    augment, inputs = (tree.pop(name, {}) for name in RECORDED)
    init = tree.pop("init", None)
    for name, found in zip(RECORDED, (augment, inputs), strict=True):
        if not isinstance(found, dict):
            raise SdpnError(f"{path}: '{name}' is '{found}', where settings are expected below it")
    build(ViewConfig, augment, str(path), "augment.")
    if inputs:  # an older version did not equalize, and did not say so
        augment = {"p_equalize": 0.0, **augment}
    return Settings(build(TrainConfig, {**tree, **(given or {})}, str(path)), augment, inputs, init)
