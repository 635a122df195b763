import pytest
import torch

from sdpn.features.index import FeatureIndex
from sdpn.models.folder import write_model
from sdpn.models.registry import build_encoder
from tests.training.conftest import data, prepared_data  # noqa: F401  (fixtures)

NETWORK = {"network": "ecapa", "num_bins": 20, "channels": 8, "embedding_size": 6, "attention_channels": 4}


@pytest.fixture
def encoder():
    """A small encoder in evaluation mode, whose batch norms have seen something."""
    torch.manual_seed(0)
    encoder = build_encoder(**NETWORK)
    encoder(torch.randn(4, 40, 20))
    return encoder.eval()


@pytest.fixture
def index(prepared_data):  # noqa: F811
    return FeatureIndex.open(prepared_data / "train")


@pytest.fixture
def model(tmp_path, encoder, index):
    """The folder of a model trained on the features of `index`."""
    write_model(tmp_path / "model", encoder, NETWORK, index.config.spectral())
    return tmp_path / "model"
