"""Log-mel filterbanks of samples that come in one piece or in many."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sdpn.errors import SdpnError, UnusableError
from sdpn.features.config import FbankConfig

ENERGY_FLOOR = float(np.finfo(np.float32).eps)
"""The floor under a band's energy before the logarithm, as in Kaldi."""

_OFFSET_3DSPEAKER = 1e-6  # log(x + this), in place of a floor
_LOUDEST = 4e6  # a sample at the configured scale; float32 holds the product of two energies of such up to here
_FRAMES_AT_ONCE = 128  # their windowed samples and spectra stay in the processor's second-level cache


class Frames(NamedTuple):
    """Consecutive frames of an utterance.

    Attributes:
        fbank: (n_frames, num_mel_bins) float32, natural logarithm.
        energy: (n_frames,) float32, sum of the squared samples of each frame, its mean removed where so configured.
        power: (n_frames,) float32, the mean square of the samples that the mel bands tell, the pre-emphasis taken out.
    """

    fbank: np.ndarray
    energy: np.ndarray
    power: np.ndarray


class Fbank:
    """Computes the fbank of one utterance at a time.

    The profile `kaldi` agrees with Kaldi's compute-fbank-feats (dither 0) and kaldi-native-fbank, for samples of the
    same scale (`sample_scale` 32768 is Kaldi's): within 1e-3 in the logarithm for all but a few dozen of a million
    values of real speech, which lie in bands almost without energy, where float32 rounds. `mel_3dspeaker` agrees
    with log(torchaudio.transforms.MelSpectrogram(n_fft=512, win_length=400, hop_length=160, n_mels=80) + 1e-6).

    Example::

        >>> fbank = Fbank(FbankConfig())
        >>> fbank(np.zeros(16000, dtype=np.float32)).shape
        (100, 80)
    """

    def __init__(self, config: FbankConfig):
        self.config = config
        # Whole samples as Kaldi counts them: what is left over is cut off
        self.length = int(config.sampling_rate * 0.001 * config.frame_length)
        self.shift = int(config.sampling_rate * 0.001 * config.frame_shift)
        self.fft_size = 1 << (self.length - 1).bit_length()
        self.window = window(config.window_type, self.length)
        self.edge = 1
        self.floor, self.offset = floor_of(config), 0.0
        if config.profile == "mel_3dspeaker":  # torch.stft centres a periodic window in its frame of fft_size samples
            periodic = window("hanning", self.length + 1)[:-1]
            before = (self.fft_size - self.length) // 2
            self.window = np.pad(periodic, (before, self.fft_size - self.length - before))
            self.edge = 0
            self.floor, self.offset = 0.0, floor_of(config)
        # Samples from the middle of a frame's window (its beginning with snip_edges) back to its beginning
        span = len(self.window)
        self.lead = 0 if config.snip_edges else span // 2 - (self.shift // 2 if config.profile == "kaldi" else 0)
        self.filters = mel_filters(config, self.fft_size)
        # The energies of the bands to expect of white noise whose samples have a mean square of 1
        angle = 2 * np.pi * np.arange(self.fft_size // 2 + 1) / self.fft_size
        emphasis = np.abs(1 - config.preemphasis_coefficient * np.exp(-1j * angle)) ** 2
        bands = self.filters.matrix(len(angle)) @ emphasis * np.square(self.window, dtype=np.float64).sum()
        weights = energy_weights(config)
        self.band_weights = weights / np.float32(bands @ weights * config.sample_scale**2)

    def num_frames(self, num_samples: int) -> int:
        """The number of frames of an utterance of `num_samples`."""
        if self.config.profile == "mel_3dspeaker":
            return 1 + num_samples // self.shift
        if self.config.snip_edges:
            return max(0, (num_samples - self.length) // self.shift + 1)
        return (num_samples + self.shift // 2) // self.shift

    def num_samples(self, num_frames: int) -> int:
        """The smallest number of samples that make up `num_frames` frames."""
        if self.config.profile == "mel_3dspeaker":
            return max(self.length, (num_frames - 1) * self.shift)
        if self.config.snip_edges:
            return (num_frames - 1) * self.shift + self.length
        return max(self.length, num_frames * self.shift - self.shift // 2)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Compute log-mel energies.

        Args:
            samples: (n_samples,) float, full scale at 1.

        Returns:
            (n_frames, num_mel_bins) float32, natural logarithm.

        Raises:
            SdpnError: samples are NaN, infinite or beyond all scale, or make up less than one frame.
        """
        return np.concatenate([frames.fbank for frames in self.stream([samples])])

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[Frames]:
        """Compute as samples come; how they are cut into blocks changes no bit of the result.

        Args:
            blocks: (n,) float arrays of consecutive samples, full scale at 1.

        Raises:
            SdpnError: samples are NaN, infinite or beyond all scale, or make up less than one frame.
        """
        held = np.empty(0, dtype=np.float32)  # samples from number `base` on, those that later frames need
        base, seen, done = 0, 0, 0
        span = len(self.window)
        for block in blocks:
            check_samples(block, self.config)
            scaled = np.asarray(block, dtype=np.float32)
            if self.config.sample_scale != 1:
                scaled = scaled * np.float32(self.config.sample_scale)
            held = np.concatenate([held, scaled]) if len(held) else scaled
            seen += len(block)
            # Frames that end within what has come, and whose mirrored beginning does too
            ready = (seen - span + self.lead) // self.shift + 1 if seen >= 2 * span else 0
            if ready > done:
                yield from self._frames(held, base, seen, done, ready)
                done = ready
                keep = max(0, done * self.shift - self.lead - 1)  # a mirror reaches one sample further back
                held, base = held[keep - base :], keep
        self.check_length(seen)
        yield from self._frames(held, base, seen, done, self.num_frames(seen))

    def check_length(self, num_samples: int) -> None:
        """Raise UnusableError where there are too few samples for a frame."""
        if num_samples < self.length:
            raise UnusableError("shorter than one frame", f"{num_samples} samples where a frame has {self.length}")

    def _frames(self, held: np.ndarray, base: int, total: int, first: int, last: int) -> Iterator[Frames]:
        """The frames [first, last) of an utterance of which `held` are the samples from `base` to `total`."""
        import scipy.fft

        from sdpn.features.kernels import cut_frames, log_mel

        settings = self.config
        held = np.ascontiguousarray(held)
        buffer = np.zeros((_FRAMES_AT_ONCE, self.fft_size), dtype=np.float32)
        fbank = np.empty((last - first, settings.num_mel_bins), dtype=np.float32)
        energy, power = np.empty((2, last - first), dtype=np.float32)
        for start in range(first, last, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, last)
            frames = buffer[: stop - start]
            cut_frames(
                held,
                base,
                total,
                start * self.shift - self.lead,
                self.shift,
                self.edge,
                self.window,
                np.float32(settings.preemphasis_coefficient),
                settings.remove_dc_offset,
                frames,
                energy[start - first : stop - first],
            )
            spectra = scipy.fft.rfft(frames, axis=1).view(np.float32)
            log_mel(
                spectra,
                self.filters.first_bins,
                self.filters.num_bins,
                self.filters.weights,
                np.float32(self.floor),
                np.float32(self.offset),
                self.band_weights,
                fbank[start - first : stop - first],
                power[start - first : stop - first],
            )
        if last > first:
            yield Frames(fbank, energy, power)


def floor_of(config: FbankConfig) -> float:
    """The energy that digital silence has in every band: Kaldi's floor, or what 3D-Speaker adds to each."""
    return _OFFSET_3DSPEAKER if config.profile == "mel_3dspeaker" else ENERGY_FLOOR


def check_samples(samples: np.ndarray, config: FbankConfig) -> None:
    """Raise UnusableError where samples (full scale at 1) are NaN, infinite, or too large for energies in float32."""
    peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))  # NaN where there is one
    if not np.isfinite(peak):
        raise UnusableError("samples are NaN or infinite")
    if peak * config.sample_scale > _LOUDEST:
        raise UnusableError("samples are far beyond full scale", f"they reach {peak:.3g} where it is 1")


def window(kind: str, length: int) -> np.ndarray:
    """A window of `length` samples, float32, by Kaldi's formulas (symmetric)."""
    angle = 2 * np.pi * np.arange(length) / (length - 1)
    hann = 0.5 - 0.5 * np.cos(angle)
    values = {
        "hanning": hann,
        "povey": hann**0.85,
        "hamming": 0.54 - 0.46 * np.cos(angle),
        "blackman": 0.42 - 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle),
        "rectangular": np.ones(length),
    }
    return values[kind].astype(np.float32)


class MelFilters(NamedTuple):
    """Triangular filters, each a run of FFT bins.

    Attributes:
        first_bins: (bands,) int64, the first FFT bin under each filter.
        num_bins: (bands,) int64, how many there are.
        weights: (bands, longest run) float32, their weights; zero beyond the run.
    """

    first_bins: np.ndarray
    num_bins: np.ndarray
    weights: np.ndarray

    def matrix(self, fft_bins: int) -> np.ndarray:
        """The same as one (bands, fft_bins) float32 matrix."""
        dense = np.zeros((len(self.weights), fft_bins), dtype=np.float32)
        for row, first, count, weights in zip(dense, self.first_bins, self.num_bins, self.weights, strict=True):
            row[first : first + count] = weights[:count]
        return dense


def mel(freq: np.ndarray | float) -> np.ndarray:
    """Hz to mel: 1127 ln(1 + f / 700), the scale of HTK and Kaldi."""
    return 1127 * np.log1p(np.asarray(freq, dtype=np.float64) / 700)


def _edges(config: FbankConfig) -> np.ndarray:
    """(num_mel_bins + 2,) mel: where the filters begin, peak and end, each at the peaks of its neighbours."""
    low, high = mel(config.low_freq), mel(config.highest_freq)
    return np.linspace(low, high, config.num_mel_bins + 2)


def band_centres(config: FbankConfig) -> np.ndarray:
    """Centre frequencies of the mel filters in Hz, (num_mel_bins,)."""
    return 700 * np.expm1(_edges(config)[1:-1] / 1127)


def energy_weights(config: FbankConfig) -> np.ndarray:
    """Weights of the mel bands that turn their energies into the waveform's: the inverse of the pre-emphasis.

    Returns:
        (bins,) float32, 1 / |1 - c exp(-i 2 pi f / f_s)|^2 at each band's centre frequency f.
    """
    angle = 2 * np.pi * band_centres(config) / config.sampling_rate
    response = np.abs(1 - config.preemphasis_coefficient * np.exp(-1j * angle)) ** 2
    return (1 / response).astype(np.float32)


def mel_filters(config: FbankConfig, fft_size: int) -> MelFilters:
    """The mel filters: triangles over mel in Kaldi's profile, over Hz in torchaudio's.

    Raises:
        SdpnError: a filter falls between two FFT bins, so its band would always be empty.
    """
    freqs = np.arange(fft_size // 2 + 1) * config.sampling_rate / fft_size
    edges = _edges(config)
    at = mel(freqs)
    if config.profile == "mel_3dspeaker":
        edges, at = 700 * np.expm1(edges / 1127), freqs
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    dense = np.maximum(0, np.minimum((at - left) / (peak - left), (right - at) / (right - peak)))
    if config.profile == "kaldi":
        dense[:, -1] = 0  # Kaldi leaves the bin at Nyquist out
    if (dense.max(axis=1) == 0).any() and config.profile == "kaldi":
        raise SdpnError(
            f"num_mel_bins is {config.num_mel_bins}: that many filters between {config.low_freq:g} and "
            f"{config.highest_freq:g} Hz leave some without any FFT bin; use fewer, or a longer frame_length"
        )
    first = (dense > 0).argmax(axis=1)
    count = (dense > 0).sum(axis=1)
    weights = np.zeros((len(dense), int(count.max())), dtype=np.float32)
    for row, start, run, filters in zip(weights, first, count, dense, strict=True):
        row[:run] = filters[start : start + run]
    return MelFilters(first, count, weights)
