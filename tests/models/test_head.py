import numpy as np
import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.models.head import ProjectedEncoder, ProjectionHead, Prototypes


def test_the_heads_outputs_have_length_one():
    head = ProjectionHead(12, hidden=32, output=6)
    np.testing.assert_allclose(head(torch.randn(5, 12)).norm(dim=1).detach(), 1, rtol=1e-6)


def test_the_head_is_two_hidden_layers_with_batch_norm_and_gelu():
    head = ProjectionHead(512, 2048, 256)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm", "GELU", "Linear", "BatchNorm", "GELU", "Linear"]
    assert [layer.out_features for layer in head if isinstance(layer, torch.nn.Linear)] == [2048, 2048, 256]


def test_scores_are_cosines_with_the_prototypes_whatever_their_lengths():
    prototypes = Prototypes(7, 4)
    with torch.no_grad():
        prototypes.weight *= torch.linspace(0.5, 3, 7).unsqueeze(1)
    points = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=2)
    C = prototypes.weight.detach().numpy()
    expected = points.numpy() @ (C / np.linalg.norm(C, axis=1, keepdims=True)).T
    np.testing.assert_allclose(prototypes(points).detach(), expected, atol=1e-6)


def test_a_projected_encoder_gives_the_embedding_and_its_point():
    both = ProjectedEncoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 5)), ProjectionHead(5, 8, 3))
    embeddings, points = both(torch.randn(4, 2, 3))
    assert embeddings.shape == (4, 5)
    assert points.shape == (4, 3)


def test_prototypes_of_an_unknown_init_are_refused():
    with pytest.raises(SdpnError, match="init is 'normal'; allowed: sphere, uniform"):
        Prototypes(4, 3, "normal")
