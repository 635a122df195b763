import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sdpn.models.ecapa import ECAPA


@pytest.fixture
def network():
    """A small one in evaluation mode, whose batch norms have seen something."""
    torch.manual_seed(0)
    network = ECAPA(num_bins=20, channels=16, embedding_size=12, attention_channels=8).train()
    for _ in range(3):
        network(2 * torch.randn(4, 50, 20) - 3)
    return network.eval()


def test_has_the_published_number_of_parameters_at_the_papers_size():
    count = sum(weight.numel() for weight in ECAPA(num_bins=80, channels=1024, embedding_size=512).parameters())
    assert round(count / 1e6, 1) == 22.7


def test_agrees_with_the_definition_written_in_torchs_usual_layout(network):
    features = torch.randn(3, 61, 20).double()
    with torch.inference_mode():
        found = network.double()(features).numpy()
        expected = reference(network.double(), features).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def reference(network, features):
    """ECAPA-TDNN on (batch, channels, frames), with the pooling's context [x; mean; std] formed in full."""

    def block(module, x):
        kernel, dilation = module.conv.weight.shape[2], module.conv.dilation[0]
        x = F.conv1d(x, module.conv.weight, module.conv.bias, padding=dilation * (kernel // 2), dilation=dilation)
        return normalize(module.norm, F.relu(x))

    def normalize(norm, x):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - norm.running_mean.view(shape)) / torch.sqrt(norm.running_var.view(shape) + norm.eps)
        return x * norm.weight.view(shape) + norm.bias.view(shape)

    x = block(network.stem, torch.nn.InstanceNorm1d(features.shape[2])(features.transpose(1, 2)))
    outputs = []
    for module in network.blocks:
        groups = block(module.tdnn1, x).chunk(8, dim=1)
        kept = [groups[0], block(module.res2.blocks[0], groups[1])]
        for part, group in zip(module.res2.blocks[1:], groups[2:], strict=True):
            kept.append(block(part, group + kept[-1]))
        y = block(module.tdnn2, torch.cat(kept, dim=1))
        gate = module.excitation.up(F.relu(module.excitation.down(y.mean(dim=2)))).sigmoid()
        x = x + y * gate.unsqueeze(2)
        outputs.append(x)
    x = block(network.aggregation, torch.cat(outputs, dim=1))
    frames = x.shape[2]
    mean, deviation = x.mean(dim=2, keepdim=True), x.std(dim=2, correction=0, keepdim=True)
    context = torch.cat([x, mean.expand(-1, -1, frames), deviation.expand(-1, -1, frames)], dim=1)
    pooling = network.pooling
    hidden = F.relu(F.conv1d(context, pooling.hidden.weight, pooling.hidden.bias))
    hidden = torch.tanh(normalize(pooling.norm, hidden))
    weights = F.conv1d(hidden, pooling.weights.weight, pooling.weights.bias).softmax(dim=2)
    mean = (weights * x).sum(dim=2)
    deviation = ((weights * x.square()).sum(dim=2) - mean.square()).clamp(1e-12).sqrt()
    return network.embedding(normalize(network.pooling_norm, torch.cat([mean, deviation], dim=1)))


def test_a_masked_batch_gives_what_the_utterances_give_one_by_one(network):
    lengths = [50, 23, 8, 37]
    features = torch.randn(4, 64, 20)
    with torch.inference_mode():
        together = network(features, torch.tensor(lengths))
        alone = [network(row[:length].unsqueeze(0)) for row, length in zip(features, lengths, strict=True)]
    assert torch.cat(alone).std() > 1e-3
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_lengths_are_refused_in_training_mode(network):
    with pytest.raises(ValueError, match="evaluation mode"):
        network.train()(torch.randn(2, 30, 20), torch.tensor([30, 20]))


def test_a_constant_gain_of_a_bin_does_not_change_the_embedding(network):
    features = torch.randn(2, 40, 20)
    with torch.inference_mode():
        torch.testing.assert_close(network(features + torch.linspace(-9, 9, 20)), network(features), atol=1e-4, rtol=0)


def test_the_gradient_of_the_whole_network_is_that_of_autograd():
    torch.manual_seed(1)
    network = ECAPA(num_bins=4, channels=8, embedding_size=3, attention_channels=2).double().eval()
    weights = dict(network.named_parameters())
    features = torch.randn(2, 9, 4).double()
    embeddings = network(features)
    pull = torch.randn_like(embeddings)
    embeddings.backward(pull)
    expected = torch.autograd.grad((reference(network, features) * pull).sum(), weights.values())
    for (name, weight), gradient in zip(weights.items(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_any_batch_size_gives_the_same_embedding(network, batch):
    features = torch.randn(16, 32, 20)
    with torch.inference_mode():
        torch.testing.assert_close(network(features[:batch]), network(features)[:batch], atol=1e-5, rtol=0)


def test_works_without_global_context():
    network = ECAPA(num_bins=20, channels=8, embedding_size=5, attention_channels=4, global_context=False)
    assert network.pooling.hidden.weight.shape[1] == 24
    assert network(torch.randn(2, 30, 20)).shape == (2, 5)


def test_channels_that_do_not_divide_by_the_scale_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        ECAPA(channels=20)
