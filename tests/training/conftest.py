import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sdpn.augment.views import Views
from sdpn.config import read
from sdpn.corpus.layout import Corpus
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.shards import Work
from sdpn.training.config import TrainConfig
from tests.features.conftest import Tone, load_tone, run_here

TINY = {
    "channels": 8,
    "embedding_size": 8,
    "attention_channels": 4,
    "head_hidden": 16,
    "head_output": 6,
    "prototypes": 12,
    "teacher_frames": 24,
    "student_views": 2,
    "student_frames": 12,
    "batch_size": 6,
    "epochs": 4,
    "warmup_epochs": 1,
    "lr": 0.1,
    "lr_batch_size": 6,
    "teacher_momentum": 0.9,
    "log_every": 4,
    "checkpoint_every": 3,
}
"""A training of 4 epochs of 3 steps on the 20 utterances of `tiny_data`."""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny networks lose more by sharing work than they gain."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny(tmp_path):
    """tiny(**overrides) -> the TrainConfig of a training of a few steps."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return lambda **overrides: read(path, TrainConfig, overrides)


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory):
    """A data folder as stages 0 to 3 leave it: `train` and `eval`, no augmentation."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    config = FbankConfig(num_mel_bins=20)
    tones = [Tone(f"utt{i:02d}", 4800 + 1600 * (i % 7)) for i in range(20)]
    fill(data / "train", tones, load_tone, config, {}, run_here)
    fill(data / "eval", [Tone(f"eval{i}", 8000 + 4000 * i) for i in range(4)], load_tone, config, {}, run_here)
    stage_3 = Work(data / "augment", "augment", {"train": FeatureIndex.open(data / "train").fingerprint})
    stage_3.finish([], mode="mel", noises=[], copies=[[1.0, [""]]], rooms=False, max_taps=0)
    Corpus("tiny", "train", ["eval"], {}).write(data)
    return data


@pytest.fixture
def data(prepared_data, tmp_path):
    """A copy of the prepared data that a test may change."""
    return Path(shutil.copytree(prepared_data, tmp_path / "data"))


class RandomCrops:
    """Stands for ViewSampler: crops that are a function of (epoch, utterance, view) and need no kernels.

    Attributes:
        before: called with (epoch, utterances) before the views of a batch are drawn.
    """

    def __init__(self, index, config, before=lambda epoch, utterances: None):
        self.index, self.config, self.before = index, config, before

    def views(self, epoch, utterances):
        self.before(epoch, utterances)
        config = self.config
        return Views(
            self._crops(epoch, utterances, range(config.teacher_views), config.teacher_frames),
            self._crops(epoch, utterances, range(10, 10 + config.student_views), config.student_frames),
        )

    def _crops(self, epoch, utterances, views, frames):
        crops = np.empty((len(views), len(utterances), frames, self.index.num_bins), dtype=np.float32)
        for row, view in enumerate(views):
            for column, utterance in enumerate(utterances):
                random = np.random.default_rng([epoch, int(utterance), view])
                start = random.integers(int(self.index.frames[utterance]) - frames + 1)
                crops[row, column] = self.index.read(int(utterance), start, start + frames)
                crops[row, column] += 0.1 * random.standard_normal(crops.shape[2:])
        return crops


@pytest.fixture
def crops(prepared_data):
    """crops(config, **settings) -> RandomCrops of the prepared training set."""
    return lambda config, **settings: RandomCrops(FeatureIndex.open(prepared_data / "train"), config, **settings)
