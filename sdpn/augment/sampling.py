"""The sampler of views that a configuration asks for."""

from sdpn.augment.banks import Banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.views import ViewSampler
from sdpn.features.index import FeatureIndex


def make_sampler(index: FeatureIndex, banks: Banks, config: ViewConfig, seed: int, **views: int) -> ViewSampler:
    """A sampler by `config.augment`; see ViewSampler for the arguments, and `banks.open_banks` for the banks.

    Raises:
        SdpnError: the weights of noises leave none of those that there are.
    """
    if config.augment == "waveform":
        from sdpn.augment.waveform import WaveformViewSampler

        return WaveformViewSampler(index, banks, config, seed, **views)
    return ViewSampler(index, banks, config, seed, **views)
