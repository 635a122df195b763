"""Audio in the form of the feature cache: one row a sample, 16 bits on each utterance's own scale."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from sdpn.errors import SdpnError, UnusableError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import check_samples
from sdpn.features.frontend import Features
from sdpn.features.shard import Item, Shard, checked_blocks, write_shard
from sdpn.features.storage import Matrix


def audio_config(fbank: FbankConfig) -> FbankConfig:
    """The settings under which audio for views of `fbank` is cached; what they say of frames does not matter."""
    return dataclasses.replace(fbank, profile="waveform", num_mel_bins=1, vad="none", cmvn="none", compress="16bit")


def make_audio_shard(shard: Shard) -> int:
    """Make one file of audio, as `cache.make_shard` makes one of features; return the number of items dealt with."""
    return write_shard(shard, lambda num_samples: num_samples, _results(shard))


def _results(shard: Shard) -> Iterator[tuple[Item, Features | SdpnError]]:
    for item in shard.items:
        try:
            samples = np.concatenate(list(checked_blocks(shard.load(item), item)))
            check_samples(samples, shard.config)
            if not samples.any():
                raise UnusableError("it is silent", "all its samples are equal")
            yield item, Features(Matrix.of(samples[:, None]))
        except SdpnError as error:
            yield item, error
