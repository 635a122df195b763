"""3D-Speaker's ECAPA-TDNN in plain torch, with random weights, and a checkpoint of it as its training saves one."""

import torch
from torch.nn import functional as F

BINS, CHANNELS, EMBEDDING, ATTENTION = 20, 16, 12, 8


def state_dict(global_context=True):
    """A random network with the names and shapes of speakerlab/models/rdino/ECAPA_TDNN.py, batch norms included."""
    torch.manual_seed(0)
    tensors = {}

    def conv(name, inside, outside, kernel=1):
        tensors[f"{name}.weight"] = torch.randn(outside, inside, kernel) / (inside * kernel) ** 0.5
        tensors[f"{name}.bias"] = 0.1 * torch.randn(outside)

    def norm(name, channels):
        tensors[f"{name}.weight"] = 0.5 + torch.rand(channels)
        tensors[f"{name}.bias"] = 0.2 * torch.randn(channels)
        tensors[f"{name}.running_mean"] = 0.3 * torch.randn(channels)
        tensors[f"{name}.running_var"] = 0.5 + torch.rand(channels)
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def tdnn(name, inside, outside, kernel=1):
        conv(f"{name}.conv.conv", inside, outside, kernel)
        norm(f"{name}.norm.norm", outside)

    tdnn("blocks.0", BINS, CHANNELS, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        tdnn(f"{block}.tdnn1", CHANNELS, CHANNELS)
        for group in range(7):
            tdnn(f"{block}.res2net_block.blocks.{group}", CHANNELS // 8, CHANNELS // 8, 3)
        tdnn(f"{block}.tdnn2", CHANNELS, CHANNELS)
        conv(f"{block}.se_block.conv1.conv", CHANNELS, 128)
        conv(f"{block}.se_block.conv2.conv", 128, CHANNELS)
    tdnn("mfa", 3 * CHANNELS, 3 * CHANNELS)
    tdnn("asp.tdnn", (9 if global_context else 3) * CHANNELS, ATTENTION)
    conv("asp.conv.conv", ATTENTION, 3 * CHANNELS)
    norm("asp_bn.norm", 6 * CHANNELS)
    conv("fc.conv", 6 * CHANNELS, EMBEDDING)
    return tensors


def embed(tensors, mel, global_context=True):
    """The network's forward pass in evaluation mode on mel energies (batch, bins, frames), in plain torch."""

    def conv(name, x, dilation=1):
        weight = tensors[f"{name}.weight"]
        reach = dilation * (weight.shape[2] - 1) // 2
        if reach:
            x = F.pad(x, (reach, reach), mode="reflect")
        return F.conv1d(x, weight, tensors[f"{name}.bias"], dilation=dilation)

    def norm(name, x):
        return F.batch_norm(
            x, *(tensors[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
        )

    def tdnn(name, x, dilation=1):
        return norm(f"{name}.norm.norm", F.relu(conv(f"{name}.conv.conv", x, dilation)))

    def statistics(x, weights):
        mean = (weights * x).sum(dim=2, keepdim=True)
        return mean, (weights * (x - mean).square()).sum(dim=2, keepdim=True).clamp(1e-12).sqrt()

    x = F.instance_norm((mel + 1e-6).log())
    x = tdnn("blocks.0", x)
    outputs = []
    for number, dilation in ((1, 2), (2, 3), (3, 4)):
        name, shortcut = f"blocks.{number}", x
        groups = tdnn(f"{name}.tdnn1", x).chunk(8, dim=1)
        parts = [groups[0], tdnn(f"{name}.res2net_block.blocks.0", groups[1], dilation)]
        for group in range(2, 8):
            parts.append(tdnn(f"{name}.res2net_block.blocks.{group - 1}", groups[group] + parts[-1], dilation))
        x = tdnn(f"{name}.tdnn2", torch.cat(parts, dim=1))
        gate = F.relu(conv(f"{name}.se_block.conv1.conv", x.mean(dim=2, keepdim=True)))
        x = shortcut + x * torch.sigmoid(conv(f"{name}.se_block.conv2.conv", gate))
        outputs.append(x)
    x = tdnn("mfa", torch.cat(outputs, dim=1))
    context = x
    if global_context:
        mean, deviation = statistics(x, torch.full_like(x, 1 / x.shape[2]))
        context = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
    logits = conv("asp.conv.conv", torch.tanh(tdnn("asp.tdnn", context)))
    pooled = torch.cat(statistics(x, F.softmax(logits, dim=2)), dim=1)
    return conv("fc.conv", norm("asp_bn.norm", pooled)).squeeze(2)


def head():
    return {"module.head.mlp.0.weight": torch.randn(4, EMBEDDING), "module.head.mlp.1.running_mean": torch.zeros(4)}


def checkpoint(tensors, **more):
    """As train_sdpn.py saves it: DistributedDataParallel's `module.`, the Combiner's `backbone.` and `head.`."""
    teacher = {f"module.backbone.{name}": tensor for name, tensor in tensors.items()}
    student = {name: tensor + 1 for name, tensor in teacher.items()}
    return {"student": student | head(), "teacher": teacher | head(), "epoch": 150, **more}
