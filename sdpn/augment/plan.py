"""What happens to each view of a batch, decided by the random numbers of its key alone."""

from dataclasses import dataclass

import numpy as np

from sdpn.augment.banks import Banks, Copy
from sdpn.augment.config import ViewConfig
from sdpn.augment.kernels import EQUALIZER_COSINES, VIEW
from sdpn.augment.random import NORMALS, uniforms, view_keys
from sdpn.errors import SdpnError
from sdpn.features.fbank import band_centres
from sdpn.features.index import FeatureIndex

# Where in a view's random stream each decision is drawn; the phase term of the noise begins at kernels.FIRST_NORMAL
_CROP, _CONDITION, _WHICH, _COPY, _KIND, _CLIP, _CLIP_START, _SNR, _MASK = range(9)
_MASK_WIDTH, _MASK_START, _MASK_HEIGHT, _MASK_LOW, _LEVEL = range(9, 14)
_BAND, _BAND_LOW, _BAND_HIGH, _CODEC, _CODEC_SNR, _DRAWS = range(14, 20)
_EQUALIZER = 1 << 33  # from there on, far behind all else, so that an equalizer changes no other decision
_SPEED_VIEW = (1 << 32) - 1  # the number of no view: the speed is one for all views of an utterance

_NEPER = np.log(10) / 10  # what a decibel is in natural-log energies


@dataclass(frozen=True)
class Plan:
    """The plan of the views of a batch.

    Attributes:
        views: (n_views, batch) records of `kernels.VIEW`.
        noises: (n_views, batch) the kind of noise, a number of the sampler's kinds; -1 where there is none.
        reverbs: (n_views, batch) the number of the reverberated copy, from 1; 0 where there is none.
        rooms: (n_views, batch) the number of the room to reverberate audio in; -1 where there is none.
        speeds: (batch,) factors.
    """

    views: np.ndarray
    noises: np.ndarray
    reverbs: np.ndarray
    rooms: np.ndarray
    speeds: np.ndarray


class Planner:
    """Draws plans; see `ViewSampler` for the arguments.

    Raises:
        SdpnError: there are banks of noise, but the weights of all of them are 0.
    """

    def __init__(self, index: FeatureIndex, banks: Banks, config: ViewConfig, seed: int):
        self.index, self.banks, self.config, self.seed = index, banks, config, seed
        self.kinds = list(banks.noises)
        shares = np.cumsum([config.noise_weight(kind) for kind in self.kinds])
        if self.kinds and shares[-1] <= 0:
            raise SdpnError(
                f"noise_weights leave none of the banks there are ({', '.join(self.kinds)}): "
                "give one of them a weight above 0"
            )
        self._kind_edges = shares / shares[-1] if self.kinds else None
        self._snrs = np.array([config.snr(kind) for kind in self.kinds]).reshape(-1, 2)
        self._centres = band_centres(index.config)

    def plan(
        self, epoch: int, utterances: np.ndarray, views: range, frames: int, augmented: bool, length: int | None = None
    ) -> Plan:
        """The plan of some views of a batch.

        Args:
            epoch: counted from 0.
            utterances: (batch,) numbers in the index.
            views: the numbers of the views.
            frames: in a view.
            augmented: whether anything is done to them but cutting them out.
            length: rows of the banks that a view is cut from, where it is not `frames`.
        """
        keys = view_keys(self.seed, epoch, self.index.keys[utterances], views.start, len(views))
        config, shape, length = self.config, keys.shape, length or frames
        drawn = uniforms(keys.ravel(), _DRAWS).reshape(*shape, _DRAWS)
        views = np.zeros(shape, dtype=VIEW)
        views["key"] = keys
        views["codec_snr"], views["highest_bin"] = np.nan, self.index.num_bins
        condition = drawn[..., _CONDITION]
        both = (condition >= config.p_clean) & (condition < config.p_clean + config.p_both)
        one = condition >= config.p_clean + config.p_both
        speeds = self._speeds(epoch, utterances)
        # Where one of the two does not exist, a view that would get one gets the other
        rooms_there = np.array([bool(speed.reverbs) or self.banks.rooms is not None for speed in self.banks.speeds])
        asked = drawn[..., _WHICH] < config.p_reverb_of_one
        reverberated = (both | (one & (asked | (not self.kinds)))) & rooms_there[speeds] & augmented
        noisy = (both | (one & ~reverberated)) & augmented

        reverbs = self._speech(views, utterances, speeds, reverberated, drawn, length)
        noises = self._noise(views, noisy, drawn, length)
        rooms = np.full(shape, -1)
        if self.banks.rooms is not None:
            rooms[reverberated] = (drawn[..., _COPY] * len(self.banks.rooms)).astype(np.int64)[reverberated]
        if augmented:
            self._equalizers(views, keys)
            self._distortions(views, drawn)
            self._masks(views, drawn, frames)
        factors = np.array([speed.factor for speed in self.banks.speeds])
        return Plan(views, noises, reverbs, rooms, factors[speeds])

    def _speeds(self, epoch: int, utterances: np.ndarray) -> np.ndarray:
        """(batch,) the number of each utterance's speed in this epoch."""
        count = len(self.banks.speeds)
        if count == 1:
            return np.zeros(len(utterances), dtype=np.int64)
        keys = view_keys(self.seed, epoch, self.index.keys[utterances], _SPEED_VIEW, 1)
        return (uniforms(keys[0], 1)[:, 0] * count).astype(np.int64)

    def _speech(
        self,
        views: np.ndarray,
        utterances: np.ndarray,
        speeds: np.ndarray,
        reverberated: np.ndarray,
        drawn: np.ndarray,
        frames: int,
    ) -> np.ndarray:
        """Choose copy and crop; return the number of the reverberated copy, 0 for none."""
        reverbs = np.zeros(views.shape, dtype=np.int64)
        utterances = np.broadcast_to(utterances, views.shape)
        for number, speed in enumerate(self.banks.speeds):
            here = np.broadcast_to(speeds == number, views.shape)
            if speed.reverbs:
                wanted = 1 + (drawn[..., _COPY] * len(speed.reverbs)).astype(np.int64)
                reverbs[here & reverberated] = wanted[here & reverberated]
            for copy, cached in enumerate([speed.clean, *speed.reverbs]):
                self._take(views, here & (reverbs == copy), utterances, cached, drawn, frames)
        # an utterance that a copy lacks is taken as it was spoken
        absent = views["speech"] == 0
        reverbs[absent] = 0
        self._take(views, absent, utterances, None, drawn, frames)
        return reverbs

    def _take(
        self,
        views: np.ndarray,
        where: np.ndarray,
        utterances: np.ndarray,
        copy: Copy | None,
        drawn: np.ndarray,
        frames: int,
    ) -> None:
        """Let the views that are marked take their crop from a copy, but for those that it lacks."""
        if not where.any():
            return
        rows = utterances if copy is None else copy.rows[utterances]
        where = where & (rows >= 0)
        _place(views, "speech", where, self.index if copy is None else copy.index, rows, drawn[..., _CROP], frames)

    def _noise(self, views: np.ndarray, noisy: np.ndarray, drawn: np.ndarray, frames: int) -> np.ndarray:
        """Choose kind, clip, crop and SNR; return the kinds."""
        kinds = np.full(views.shape, -1)
        if self._kind_edges is None or not noisy.any():
            return kinds
        kinds[noisy] = np.searchsorted(self._kind_edges, drawn[..., _KIND][noisy], side="right")
        low, high = np.moveaxis(self._snrs[kinds], -1, 0)
        views["snr"] = low + drawn[..., _SNR] * (high - low)
        for number, kind in enumerate(self.kinds):
            bank = self.banks.noises[kind]
            clips = (drawn[..., _CLIP] * len(bank)).astype(np.int64)
            _place(views, "noise", kinds == number, bank, clips, drawn[..., _CLIP_START], frames)
        return kinds

    def _equalizers(self, views: np.ndarray, keys: np.ndarray) -> None:
        """Draw the cosines of each view's equalizer; the deviation of the k-th is the strength / sqrt(k)."""
        config = self.config
        if config.p_equalize == 0:
            return
        drawn = uniforms(keys.ravel(), 1 + EQUALIZER_COSINES, _EQUALIZER).reshape(*keys.shape, -1)
        normals = NORMALS[(drawn[..., 1:] * len(NORMALS)).astype(np.int64)]
        deviations = config.equalize_strength / np.sqrt(np.arange(1, EQUALIZER_COSINES + 1))
        views["equalizer"] = np.where(drawn[..., :1] < config.p_equalize, normals * deviations, 0)

    def _distortions(self, views: np.ndarray, drawn: np.ndarray) -> None:
        config = self.config
        views["level"] = _NEPER * _between(config.level, drawn[..., _LEVEL])
        limited = drawn[..., _BAND] < config.p_band_limit
        low = _between(config.band_limit_low, drawn[..., _BAND_LOW])
        high = _between(config.band_limit_high, drawn[..., _BAND_HIGH])
        views["lowest_bin"][limited] = np.searchsorted(self._centres, low[limited])
        views["highest_bin"][limited] = np.searchsorted(self._centres, high[limited])
        views["loss"] = _NEPER * config.band_limit_loss
        coded = drawn[..., _CODEC] < config.p_codec
        views["codec_snr"][coded] = _between(config.codec_snr, drawn[..., _CODEC_SNR])[coded]

    def _masks(self, views: np.ndarray, drawn: np.ndarray, frames: int) -> None:
        masked = drawn[..., _MASK] < self.config.p_mask
        for size, start, most, there, width, first in (
            ("mask_frames", "mask_frame", self.config.mask_frames, frames, _MASK_WIDTH, _MASK_START),
            ("mask_bins", "mask_bin", self.config.mask_bins, self.index.num_bins, _MASK_HEIGHT, _MASK_LOW),
        ):
            widths = np.minimum((drawn[..., width] * (most + 1)).astype(np.int64), there)
            starts = (drawn[..., first] * (there - widths + 1)).astype(np.int64)
            views[size][masked], views[start][masked] = widths[masked], starts[masked]


def _between(ends: tuple[float, float], share: np.ndarray) -> np.ndarray:
    return ends[0] + share * (ends[1] - ends[0])


def _place(
    views: np.ndarray,
    part: str,
    where: np.ndarray,
    index: FeatureIndex,
    rows: np.ndarray,
    share: np.ndarray,
    frames: int,
) -> None:
    """Write for the marked views where the crop `part` lies: it begins at the share of what the utterance allows.

    A crop of an utterance that is not longer than it begins anywhere in that and goes round at its end.
    """
    if not where.any():
        return
    places = index.places(rows[where])
    there = places.frames.astype(np.int64)
    room = np.where(there > frames, there - frames + 1, there)
    views[part][where] = places.addresses
    views[f"{part}_frames"][where] = there
    views[f"{part}_start"][where] = (share[where] * room).astype(np.int64)
    views[f"{part}_minimum"][where] = places.minima
    views[f"{part}_step"][where] = places.steps
    views[f"{part}_kind"][where] = places.kinds
    sign = 1 if part == "speech" else -1
    views["balance"][where] += sign * 10 * np.log10(places.power_ratios)
