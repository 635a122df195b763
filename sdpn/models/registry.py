"""Encoders by name, so that a configuration or a model folder can ask for one."""

from collections.abc import Callable

from torch import nn

from sdpn.models.ecapa import ECAPA

ENCODERS: dict[str, Callable[..., nn.Module]] = {"ecapa": ECAPA}


def build_encoder(network: str, **settings) -> nn.Module:
    """The encoder called `network`, with random weights: (batch, frames, bins) -> (batch, embedding_size).

    Args:
        settings: the arguments of its class; `num_bins` and `embedding_size` are every encoder's.
    """
    return ENCODERS[network](**settings)
