"""Encoders by name, so that a configuration or a model folder can ask for one."""

from collections.abc import Callable

from torch import nn

from sdpn.errors import refuse_unknown
from sdpn.models.ecapa import ECAPA
from sdpn.models.resnet import ResNet34
from sdpn.models.xvector import XVector

ENCODERS: dict[str, Callable[..., nn.Module]] = {"ecapa": ECAPA, "resnet34": ResNet34, "xvector": XVector}


def build_encoder(network: str, **settings) -> nn.Module:
    """The encoder called `network`, with random weights: (batch, frames, bins) -> (batch, embedding_size).

    Args:
        settings: the arguments of its class. Every encoder has `num_bins`, `channels`, `embedding_size`,
            `attention_channels`, `global_context`, `pooling`, `padding`, `input_norm` and `input_mean_share`.
    """
    refuse_unknown("network", network, ENCODERS)
    return ENCODERS[network](**settings)
