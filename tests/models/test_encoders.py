"""What every encoder of the registry keeps to."""

import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.models.registry import ENCODERS, build_encoder

VARIANTS = [
    ("ecapa", {}),
    ("ecapa", {"padding": "reflect"}),
    ("ecapa", {"pooling": "statistics"}),
    ("ecapa", {"input_norm": "level", "input_mean_share": 0.3}),
    ("ecapa", {"input_norm": "mean"}),
    ("resnet34", {}),
    ("resnet34", {"pooling": "attentive"}),
    ("resnet34", {"input_norm": "level"}),
    ("xvector", {}),
    ("xvector", {"padding": "reflect", "pooling": "attentive"}),
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0], *map(str, variant[1].values())]))
def network(request):
    """A small one in evaluation mode, whose batch norms have seen something."""
    name, settings = request.param
    torch.manual_seed(0)
    network = build_encoder(name, num_bins=20, channels=8, embedding_size=12, attention_channels=4, **settings).train()
    for _ in range(3):
        network(2 * torch.randn(4, 50, 20) - 3)
    return network.eval()


def test_every_encoder_is_tried():
    assert {name for name, _ in VARIANTS} == set(ENCODERS)


def test_a_masked_batch_gives_what_the_utterances_give_one_by_one(network):
    lengths = [50, 23, 9, 37]
    features = torch.randn(4, 64, 20)
    with torch.inference_mode():
        together = network(features, torch.tensor(lengths))
        alone = [network(row[:length].unsqueeze(0)) for row, length in zip(features, lengths, strict=True)]
    assert torch.cat(alone).std() > 1e-3
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_what_stands_in_the_padding_does_not_matter(network):
    features, lengths = torch.randn(2, 40, 20), torch.tensor([40, 31])
    noisy = features.clone()
    noisy[1, 31:] = 100.0
    with torch.inference_mode():
        torch.testing.assert_close(network(noisy, lengths), network(features, lengths), atol=1e-5, rtol=0)


def test_lengths_are_refused_in_training_mode(network):
    with pytest.raises(ValueError, match="evaluation mode"):
        network.train()(torch.randn(2, 30, 20), torch.tensor([30, 20]))


def test_every_weight_gets_a_gradient(network):
    network.train()(torch.randn(3, 30, 20)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_half_precision_gives_nearly_the_same_embedding(network):
    features = torch.randn(3, 60, 20)
    with torch.inference_mode():
        full = network(features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(features)
    assert torch.nn.functional.cosine_similarity(half.float(), full).min() > 0.99


@pytest.mark.parametrize(
    ("name", "settings", "millions"), [("resnet34", {"embedding_size": 256}, 6.6), ("xvector", {}, 4.4)]
)
def test_sizes_are_the_usual_ones(name, settings, millions):
    count = sum(weight.numel() for weight in build_encoder(name, **settings).parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("network", "settings", "sentence"),
    [
        ("ecapa", {"pooling": "statistic"}, "pooling is 'statistic'; allowed: attentive, statistics"),
        ("xvector", {"padding": "zeroes"}, "padding is 'zeroes'; allowed: zeros, reflect"),
        ("resnet34", {"padding": "reflect"}, "padding of ResNet34 is 'reflect'; allowed: zeros"),
        ("xvector", {"input_norm": "sliding"}, "input_norm is 'sliding'; allowed: instance, mean, level, none"),
        ("ecapa-tdnn", {}, "network is 'ecapa-tdnn'; allowed: ecapa, resnet34, xvector"),
    ],
)
def test_an_unknown_choice_builds_nothing(network, settings, sentence):
    with pytest.raises(SdpnError, match=sentence):
        build_encoder(network, **settings)
