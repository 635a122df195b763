"""Fbank on a GPU: a shard's audio is decoded by threads, and its frames are computed many at a time by torch."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank, Frames, check_samples
from sdpn.features.frontend import Features, Samples, assemble
from sdpn.features.shard import Item, Shard, checked_blocks, make_shard, write_shard

_SECONDS_AT_ONCE = 600
_LONGEST_SECONDS = 1200  # a longer utterance goes block by block, on the CPU


class TorchFbank(torch.nn.Module):
    """The computation of `Fbank`, in torch: utterances in, frames out, equal to 1e-3 in the logarithm.

    Args:
        config: as for `Fbank`.
    """

    def __init__(self, config: FbankConfig):
        super().__init__()
        self.fbank = Fbank(config)
        matrix = self.fbank.filters.matrix(self.fbank.fft_size // 2 + 1)
        self.register_buffer("window", torch.from_numpy(self.fbank.window))
        self.register_buffer("filters", torch.from_numpy(matrix.T.copy()))
        self.register_buffer("band_weights", torch.from_numpy(self.fbank.band_weights))

    @torch.inference_mode()
    def forward(self, utterances: Sequence[np.ndarray]) -> list[Frames]:
        """The frames of each of the utterances, (n_samples,) float32 at full scale 1, at least one frame long."""
        padded, starts, counts = [], [], []
        at = 0
        for samples in utterances:
            mirrored, count = self._mirrored(samples)
            padded.append(mirrored)
            starts.append(at + self.fbank.shift * np.arange(count))
            counts.append(count)
            at += len(mirrored)
        device = self.window.device
        samples = torch.from_numpy(np.concatenate(padded)).to(device, non_blocking=True)
        first = torch.from_numpy(np.concatenate(starts)).to(device, non_blocking=True)
        computed = self._compute(samples, first)
        ends = np.cumsum(counts)[:-1]
        return [Frames(*parts) for parts in zip(*(np.split(array, ends) for array in computed), strict=True)]

    def _mirrored(self, samples: np.ndarray) -> tuple[np.ndarray, int]:
        """Samples with what its first and last frames reach beyond them, and the number of frames."""
        fbank = self.fbank
        count = fbank.num_frames(len(samples))
        before = fbank.lead
        after = max(0, (count - 1) * fbank.shift - before + len(fbank.window) - len(samples))
        mode = "symmetric" if fbank.edge else "reflect"
        scaled = np.asarray(samples, dtype=np.float32) * np.float32(fbank.config.sample_scale)
        return np.pad(scaled, (before, after), mode=mode), count

    def _compute(self, samples: Tensor, first: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        config = self.fbank.config
        frames = samples[first[:, None] + torch.arange(len(self.window), device=samples.device)]
        if config.remove_dc_offset:
            frames = frames - frames.mean(dim=1, keepdim=True)
        energy = frames.square().sum(dim=1)
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        frames = (frames - config.preemphasis_coefficient * before) * self.window
        power = torch.fft.rfft(frames, n=self.fbank.fft_size).abs().square()
        bands = power @ self.filters
        told = bands @ self.band_weights
        bands = bands.clamp_min(self.fbank.floor) + self.fbank.offset
        return bands.log().cpu().numpy(), energy.cpu().numpy(), told.cpu().numpy()


def make_shard_on(shard: Shard, device: str, threads: int) -> int:
    """Make one feature file as `cache.make_shard` does, computing on `device`; return the number of items dealt with.

    A shard with an utterance too long to be held is made by the CPU.
    """
    rate = shard.config.sampling_rate
    if max(item.num_samples for item in shard.items) > _LONGEST_SECONDS * rate:
        return make_shard(shard)
    compute = TorchFbank(shard.config).to(device)
    return write_shard(shard, compute.fbank.num_frames, _results(shard, compute, threads))


def _results(shard: Shard, compute: TorchFbank, threads: int) -> Iterator[tuple[Item, Features | SdpnError]]:
    """The features of the items in their order; the next group is decoded while one is computed."""
    groups = _groups(shard)
    with ThreadPoolExecutor(threads) as pool:

        def begin(group: list[Item]) -> list[Future]:
            return [pool.submit(_decode, shard, item, compute) for item in group]

        decoding = begin(groups[0])
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            decoded = [future.result() for future in decoding]
            decoding = begin(following)
            yield from _computed(shard, compute, group, decoded)


def _groups(shard: Shard) -> list[list[Item]]:
    """The items in runs of ten minutes or little more."""
    groups: list[list[Item]] = [[]]
    held = 0
    for item in shard.items:
        if held >= _SECONDS_AT_ONCE * shard.config.sampling_rate:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += item.num_samples
    return groups


def _decode(shard: Shard, item: Item, compute: TorchFbank) -> tuple[np.ndarray | SdpnError, Samples]:
    samples_seen = Samples()
    try:
        samples = np.concatenate(list(samples_seen.watch(checked_blocks(shard.load(item), item))))
        check_samples(samples, compute.fbank.config)
        compute.fbank.check_length(len(samples))
        return samples, samples_seen
    except SdpnError as error:
        return error, samples_seen


def _computed(
    shard: Shard, compute: TorchFbank, group: list[Item], decoded: list[tuple[np.ndarray | SdpnError, Samples]]
) -> Iterator[tuple[Item, Features | SdpnError]]:
    usable = [samples for samples, _ in decoded if not isinstance(samples, SdpnError)]
    frames = iter(compute(usable) if usable else [])
    for item, (samples, samples_seen) in zip(group, decoded, strict=True):
        if isinstance(samples, SdpnError):
            yield item, samples
            continue
        try:
            yield item, assemble([next(frames)], samples_seen, shard.config, shard.path.parent)
        except SdpnError as error:
            yield item, error
