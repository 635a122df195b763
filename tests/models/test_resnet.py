import torch
from torch.nn import functional as F

from sdpn.models.resnet import ResNet34


def reference(network, features):
    """ResNet34 on (batch, 1, bins, frames), torch's usual order of the plane."""

    def normalize(norm, x):
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)

    def convolve(conv, x, stride=1):
        return F.conv2d(x, conv.weight.transpose(2, 3), stride=stride, padding=conv.weight.shape[2] // 2)

    x = torch.nn.InstanceNorm1d(features.shape[2])(features.transpose(1, 2)).unsqueeze(1)
    x = F.relu(normalize(network.stem_norm, convolve(network.stem, x)))
    for stage, blocks in enumerate(network.stages):
        for i, block in enumerate(blocks):
            stride = 2 if stage > 0 and i == 0 else 1
            y = F.relu(normalize(block.norm1, convolve(block.conv1, x, stride)))
            y = normalize(block.norm2, convolve(block.conv2, y))
            if block.shortcut is not None:
                x = normalize(block.shortcut_norm, convolve(block.shortcut, x, stride))
            x = F.relu(x + y)
    x = x.transpose(1, 2).flatten(1, 2)  # (batch, bins * channels, frames)
    return network.embedding(torch.cat([x.mean(dim=2), x.std(dim=2, correction=0).clamp(1e-6)], dim=1))


def test_agrees_with_the_definition_written_in_torchs_usual_layout():
    torch.manual_seed(0)
    network = ResNet34(num_bins=20, channels=4, embedding_size=5)
    network(torch.randn(3, 40, 20))
    network = network.double().eval()
    features = torch.randn(3, 45, 20).double()
    with torch.inference_mode():
        torch.testing.assert_close(network(features), reference(network, features), atol=1e-8, rtol=0)


def test_has_the_published_depth():
    network = ResNet34()
    assert [len(blocks) for blocks in network.stages] == [3, 4, 6, 3]
    assert 1 + sum(2 for blocks in network.stages for _ in blocks) + 1 == 34
