import numpy as np
import pytest
import torch

from sdpn.augment.views import Views
from sdpn.config import read
from sdpn.features.index import FeatureIndex
from sdpn.finetune.config import FineTuneConfig
from sdpn.finetune.labels import Labels
from sdpn.models.registry import build_encoder
from sdpn.training.warm_start import WarmStart
from tests.training.conftest import RandomCrops, data, one_thread, prepared_data  # noqa: F401  (fixtures)

NETWORK = {
    "network": "ecapa",
    "num_bins": 20,
    "channels": 8,
    "embedding_size": 8,
    "attention_channels": 4,
    "global_context": True,
    "pooling": "attentive",
    "padding": "zeros",
}
TINY = {
    "batch_size": 6,
    "lr_batch_size": 6,
    "lr": 0.05,
    "epochs": 4,
    "warmup_epochs": 1,
    "frames": 12,
    "margin_warmup_epochs": 2,
    "gate_from": 2,
    "correction_from": 3,
    "correction_frames": 24,
    "large_margin_epochs": 1,
    "large_margin_frames": 24,
    "log_every": 4,
    "checkpoint_every": 2,
}
"""A fine-tuning of 4 + 1 epochs of 3 steps on the 20 utterances of `prepared_data`, of which 18 have a class."""


class RandomCropsOfPhases:
    """Stands for `Crops`: views that are a function of (epoch, utterance) and need no kernels."""

    def __init__(self, index, config, before=lambda epoch, utterances: None):
        self.index, self.config, self.before = index, config, before
        self._crops = RandomCrops(index, None)._crops

    def views(self, epoch, utterances):
        self.before(epoch, utterances)
        frames = self.config.frames if epoch < self.config.epochs else self.config.large_margin_frames
        crops = self._crops(epoch, utterances, range(1, 2), frames)
        return Views(np.empty((0, *crops.shape[1:]), dtype=np.float32), crops)

    def clean(self, epoch, utterances):
        return self._crops(epoch, utterances, range(1), self.config.correction_frames)[0]


@pytest.fixture
def tiny():
    """tiny(**overrides) -> the FineTuneConfig of a fine-tuning of a few steps."""
    return lambda **overrides: read(None, FineTuneConfig, {**TINY, **overrides})


@pytest.fixture
def crops(prepared_data):  # noqa: F811
    """crops(config, **settings) -> RandomCropsOfPhases of the prepared training set."""
    return lambda config, **settings: RandomCropsOfPhases(
        FeatureIndex.open(prepared_data / "train"), config, **settings
    )


@pytest.fixture
def labels():
    """Three classes of 6 of the 20 utterances each; the first two have none."""
    classes = np.array([-1, -1, *(number % 3 for number in range(18))])
    return Labels(classes, "digest", {"source": "clusters", "experiment": "exp"})


@pytest.fixture
def start(tmp_path):
    """start() -> a WarmStart with a random encoder, the same each time."""

    def make():
        torch.manual_seed(11)
        return WarmStart(tmp_path / "start", build_encoder(**NETWORK), NETWORK, "digest")

    return make
