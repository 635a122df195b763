"""The views of an utterance: clean global ones for the teacher, augmented local ones for the student.

Everything about a view (its crop, its copy, its noise) is a function of (seed, epoch, utterance id, view number), so
the views are the same for any number of workers and after any restart.
"""

from dataclasses import dataclass

import numpy as np

from sdpn.augment.banks import Banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.kernels import mask, mix
from sdpn.augment.random import NORMALS, uniforms, view_key
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import band_centres
from sdpn.features.index import FeatureIndex

# Where in a view's random stream each decision is drawn; the phase term of the noise begins at kernels.FIRST_NORMAL
_CROP, _CONDITION, _WHICH, _COPY, _KIND, _CLIP, _CLIP_START, _SNR, _MASK = range(9)
_MASK_WIDTH, _MASK_START, _MASK_HEIGHT, _MASK_LOW, _DRAWS = range(9, 14)


@dataclass(frozen=True)
class Views:
    """The views of a batch, in log-mel.

    Attributes:
        teacher: (teacher_views, batch, teacher_frames, bins) float32.
        student: (student_views, batch, student_frames, bins) float32.
    """

    teacher: np.ndarray
    student: np.ndarray


class ViewSampler:
    """Draws the views of utterances from the feature cache.

    Args:
        index: features of the training set.
        banks: what stage 3 made; a kind that is absent is never drawn.
        config: how the student's views are augmented.
        seed: of the run.
        teacher_views, teacher_frames: number and length of the clean global views.
        student_views, student_frames: number and length of the augmented local views.

    An utterance shorter than a view is repeated.
    """

    def __init__(
        self,
        index: FeatureIndex,
        banks: Banks,
        config: ViewConfig,
        seed: int,
        teacher_views: int = 1,
        teacher_frames: int = 400,
        student_views: int = 4,
        student_frames: int = 200,
    ):
        self.index, self.banks, self.config, self.seed = index, banks, config, seed
        self.teacher_views, self.teacher_frames = teacher_views, teacher_frames
        self.student_views, self.student_frames = student_views, student_frames
        self._weights = energy_weights(index.config)
        low, high = config.cross_term
        self._deviations = np.linspace(low, high, index.num_bins, dtype=np.float32)
        self._kinds = list(banks.noises)
        shares = np.cumsum([config.noise_weight(kind) for kind in self._kinds])
        self._kind_edges = shares / shares[-1] if len(shares) and shares[-1] > 0 else None

    def views(self, epoch: int, utterances: np.ndarray) -> Views:
        """The views of a batch.

        Args:
            epoch: counted from 0; each epoch has views of its own.
            utterances: (batch,) numbers of utterances in the index.
        """
        bins = self.index.num_bins
        teacher = np.empty((self.teacher_views, len(utterances), self.teacher_frames, bins), dtype=np.float32)
        student = np.empty((self.student_views, len(utterances), self.student_frames, bins), dtype=np.float32)
        for column, utterance in enumerate(utterances):
            for view in range(self.teacher_views):
                key = self._key(epoch, utterance, view)
                self._crop(self.index, utterance, uniforms(key, _DRAWS)[_CROP], teacher[view, column])
            for view in range(self.student_views):
                key = self._key(epoch, utterance, self.teacher_views + view)
                self._augmented(int(utterance), key, student[view, column])
        return Views(teacher, student)

    def _key(self, epoch: int, utterance: int, view: int) -> np.uint64:
        return np.uint64(view_key(self.seed, epoch, self.index.table["key"][utterance], view))

    def _crop(self, index: FeatureIndex, utterance: int, where: float, out: np.ndarray) -> None:
        """Write a crop that begins at the share `where` of what the utterance allows; a short one is repeated."""
        wanted, there = len(out), int(index.table["frames"][utterance])
        if there > wanted:
            start = int(where * (there - wanted + 1))
            out[:] = index.read(utterance, start, start + wanted)
        else:
            whole = index.read(utterance)
            start = int(where * there)
            out[:] = np.take(whole, np.arange(start, start + wanted), axis=0, mode="wrap")

    def _augmented(self, utterance: int, key: np.uint64, out: np.ndarray) -> None:
        """Write one student view: crop, copy, noise, masks."""
        config, drawn = self.config, uniforms(key, _DRAWS)
        both = config.p_clean <= drawn[_CONDITION] < config.p_clean + config.p_both
        one = drawn[_CONDITION] >= config.p_clean + config.p_both
        reverberated = both or (one and drawn[_WHICH] < config.p_reverb_of_one)
        noisy = both or (one and not reverberated)
        source = self.index
        if reverberated and self.banks.reverbs:
            copy = self.banks.reverbs[int(drawn[_COPY] * len(self.banks.reverbs))]
            row = copy.row_of(utterance)
            if row is not None:
                source, utterance = copy.index, row
        self._crop(source, utterance, drawn[_CROP], out)
        if noisy and self._kind_edges is not None:
            kind = self._kinds[int(np.searchsorted(self._kind_edges, drawn[_KIND], side="right"))]
            bank = self.banks.noises[kind]
            noise = np.empty_like(out)
            self._crop(bank, int(drawn[_CLIP] * len(bank)), drawn[_CLIP_START], noise)
            low, high = config.snr(kind)
            snr = low + drawn[_SNR] * (high - low)
            mix(out, noise, snr, self._weights, self._deviations, key, NORMALS, out)
        if drawn[_MASK] < config.p_mask:
            frames, bins = out.shape
            width = min(int(drawn[_MASK_WIDTH] * (config.mask_frames + 1)), frames)
            height = min(int(drawn[_MASK_HEIGHT] * (config.mask_bins + 1)), bins)
            first_frame = int(drawn[_MASK_START] * (frames - width + 1))
            first_bin = int(drawn[_MASK_LOW] * (bins - height + 1))
            mask(out, first_frame, width, first_bin, height)


def energy_weights(config: FbankConfig) -> np.ndarray:
    """Weights of the mel bands that turn their energies into the waveform's: the inverse of the pre-emphasis.

    Returns:
        (bins,) float32, 1 / |1 - c exp(-i 2 pi f / f_s)|^2 at each band's centre frequency f.
    """
    angle = 2 * np.pi * band_centres(config) / config.sampling_rate
    response = np.abs(1 - config.preemphasis_coefficient * np.exp(-1j * angle)) ** 2
    return (1 / response).astype(np.float32)
