"""Views rendered from memory-mapped features: crop, decode, mix with noise, and mask, in one pass over each view."""

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sdpn.augment.random import bits
from sdpn.features.logarithm import exp, log

FIRST_NORMAL = 64
"""Position in a view's random stream from which the phase term is drawn; what lies before serves its other draws."""

FIRST_CODEC_NORMAL = 1 << 32
"""The same for the noise of a codec."""

EQUALIZER_COSINES = 5
"""Terms of the curve by which a view is equalized."""

VIEW = np.dtype(
    [
        ("speech", "<u8"),  # address of the utterance's first stored byte
        ("noise", "<u8"),  # that of the noise clip; 0: no noise
        ("key", "<u8"),  # of the view's random stream
        ("speech_frames", "<i4"),  # in the whole utterance
        ("speech_start", "<i4"),  # first frame of the crop; a crop goes round at the end
        ("speech_minimum", "<f4"),  # a stored integer q stands for minimum + q * step
        ("speech_step", "<f4"),
        ("speech_kind", "<i4"),  # storage.KINDS
        ("noise_frames", "<i4"),
        ("noise_start", "<i4"),
        ("noise_minimum", "<f4"),
        ("noise_step", "<f4"),
        ("noise_kind", "<i4"),
        ("snr", "<f4"),  # dB
        (
            "balance",
            "<f4",
        ),  # dB; the mel bands underestimate the power of the speech by this much more than that of the noise
        ("codec_snr", "<f4"),  # dB; not a number: no codec
        ("equalizer", "<f4", (EQUALIZER_COSINES,)),  # the weight of each cosine over the bins; all 0: no equalizer
        ("level", "<f4"),  # added to every value
        ("lowest_bin", "<i4"),  # bins below this and from `highest_bin` on are attenuated
        ("highest_bin", "<i4"),
        ("loss", "<f4"),  # by how much, in the unit of the features
        ("mask_frame", "<i4"),
        ("mask_frames", "<i4"),
        ("mask_bin", "<i4"),
        ("mask_bins", "<i4"),
    ],
    align=True,
)
"""What is decided about one view before it is rendered."""

FLOORS_OF_SILENCE = 1.5
"""A bin of noise is heard by what it has above so many floors: rounding lifts silence above one."""

_LEAST = np.float32(np.finfo(np.float32).eps)  # of a power over another, before the logarithm
_TO_HALF = np.float32(2.0**112)  # between the exponents of float16 and float32
_fast = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


@intrinsic
def _pointer(typing_context, address):
    """A number as a pointer, for numba.carray."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@_fast
def read_crop(address, kind, frames, start, minimum, step, out):
    """Write the rows start, start + 1, ... of a stored utterance, going round at its end.

    Args:
        address: of its first byte.
        kind: form of its values, a number of storage.KINDS or storage.BY_COLUMNS.
        frames: rows in the utterance.
        start: the first row wanted.
        minimum, step: float32, what its integers stand for.
        out: (rows, bins) float32, written.
    """
    rows, bins = out.shape
    if kind == 4:
        _read_by_columns(address, frames, start, minimum, step, out)
        return
    whole32 = numba.carray(_pointer(address), (frames, bins), np.float32)
    whole16 = numba.carray(_pointer(address), (frames, bins), np.uint16)
    whole8 = numba.carray(_pointer(address), (frames, bins), np.uint8)
    whole64 = numba.carray(_pointer(address), (frames, bins), np.float64)
    at = start
    for i in range(rows):
        if at >= frames:
            at -= frames
        target = out[i]
        if kind == 1:
            for j in range(bins):
                target[j] = np.float32(whole16[at, j]) * step + minimum
        elif kind == 2:
            for j in range(bins):
                target[j] = np.float32(whole8[at, j]) * step + minimum
        elif kind == 0:
            for j in range(bins):
                target[j] = whole32[at, j]
        elif kind == 3:
            for j in range(bins):
                target[j] = _half(whole16[at, j])
        else:
            for j in range(bins):
                target[j] = np.float32(whole64[at, j])
        at += 1


@_fast
def _half(stored):
    """The float32 value of the bits of a finite float16."""
    magnitude = np.int32((np.int32(stored) & np.int32(0x7FFF)) << np.int32(13)).view(np.float32) * _TO_HALF
    return -magnitude if stored & np.uint16(0x8000) else magnitude


@_fast
def _read_by_columns(address, frames, start, minimum, step, out):
    """`read_crop` of Kaldi's CM, see storage.decode_columns."""
    rows, bins = out.shape
    percentiles = numba.carray(_pointer(address), (bins, 4), np.uint16)
    stored = numba.carray(_pointer(address + np.uint64(8 * bins)), (bins, frames), np.uint8)
    for j in range(bins):
        p0 = np.float32(percentiles[j, 0]) * step + minimum
        p25 = np.float32(percentiles[j, 1]) * step + minimum
        p75 = np.float32(percentiles[j, 2]) * step + minimum
        p100 = np.float32(percentiles[j, 3]) * step + minimum
        at = start
        for i in range(rows):
            if at >= frames:
                at -= frames
            q = np.float32(stored[j, at])
            if q <= 64:
                out[i, j] = p0 + (p25 - p0) * q * np.float32(1 / 64)
            elif q <= 192:
                out[i, j] = p25 + (p75 - p25) * (q - np.float32(64)) * np.float32(1 / 128)
            else:
                out[i, j] = p75 + (p100 - p75) * (q - np.float32(192)) * np.float32(1 / 63)
            at += 1


@_fast
def _to_power(crop, weights, floor):
    """Exponentiate a log-mel crop in place, less `floor`; return its energy, each band weighted."""
    frames, bins = crop.shape
    energy = 0.0
    for i in range(frames):
        row = crop[i]
        total = np.float32(0)
        for j in range(bins):
            power = max(exp(row[j]) - floor, np.float32(0))
            row[j] = power
            total += weights[j] * power
        energy += total
    return energy


@_fast
def _draw_phases(key, position, deviations, normals, phases):
    """Write one row of the phase term, a clipped normal variable in each band; return the position behind it."""
    bins = len(phases)
    for first in range(0, bins, 4):
        word = bits(key, position)
        position += np.uint64(1)
        for lane in range(min(4, bins - first)):
            phases[first + lane] = normals[(word >> np.uint64(16 * lane + 4)) & np.uint64(0xFFF)]
    for j in range(bins):
        phases[j] = min(np.float32(1), max(np.float32(-1), phases[j] * deviations[j]))
    return position


@_fast
def mix(speech, noise, snr, weights, deviations, key, normals, floor):
    """Add noise to speech at an SNR, as power spectra with a random phase term, in place.

    Per band m: E = Ex + g En + 2 alpha sqrt(Ex g En), alpha ~ N(0, deviations[m]^2) clipped to [-1, 1]
    (Deng, Droppo and Acero, "Enhancement of log mel power spectra of speech using a phase-sensitive model of the
    acoustic environment", IEEE Trans. SAP 12(2), 2004). The gain g gives the crops the SNR asked for, with energies
    summed over frames and bands, each band weighted by `weights` (which takes the pre-emphasis out again).

    Args:
        speech: (frames, bins) float32 natural-log mel energies; the mix when done.
        noise: the same of the noise; overwritten, as scratch.
        snr: dB.
        weights: (bins,) float32 weights of the bands in the energies.
        deviations: (bins,) float32.
        key: uint64 key of the view's random stream.
        normals: the table `random.NORMALS`.
        floor: float32 energy of silence in a bin, see `fbank.floor_of`; noise that does not rise above it is none.
    """
    frames, bins = speech.shape
    signal = _to_power(speech, weights, np.float32(0))
    # a gain must not turn up the floor where there is no sound
    disturbance = _to_power(noise, weights, np.float32(FLOORS_OF_SILENCE) * floor)
    gain = np.float32(0)
    if disturbance > 0:
        gain = np.float32(signal / disturbance * exp(np.float32(-snr * np.log(10.0) / 10)))
    phases = np.empty(bins, dtype=np.float32)
    position = np.uint64(FIRST_NORMAL)
    for i in range(frames):
        position = _draw_phases(key, position, deviations, normals, phases)
        row, noise_row = speech[i], noise[i]
        for j in range(bins):
            clean, added = row[j], gain * noise_row[j]
            total = clean + added + np.float32(2) * phases[j] * np.sqrt(clean * added)
            # opposite phases cancel at most down to the floor that fbank itself has
            row[j] = log(max(total, floor))


@_fast
def add_codec_noise(crop, snr, deviations, key, normals):
    """Add the noise that coding leaves: shaped like the signal, at the same SNR in every bin, with random phases.

    Args:
        crop: (frames, bins) float32 natural-log mel energies, changed in place.
        snr: dB.
        deviations, key, normals: as for `mix`.
    """
    bins = crop.shape[1]
    gain = exp(np.float32(-snr * np.log(10.0) / 10))
    root = np.sqrt(gain)
    phases = np.empty(bins, dtype=np.float32)
    position = np.uint64(FIRST_CODEC_NORMAL)
    for i in range(len(crop)):
        position = _draw_phases(key, position, deviations, normals, phases)
        row = crop[i]
        for j in range(bins):
            row[j] += log(max(np.float32(1) + gain + np.float32(2) * phases[j] * root, _LEAST))


@_fast
def equalize(crop, weights):
    """Add one smooth curve over the bins to every frame, in place, as a microphone or a room's colour does.

    In bin j of n the curve is the sum over k = 1, 2, ... of weights[k - 1] cos(pi k (j + 1/2) / n).

    Args:
        crop: (frames, bins) float32 natural-log mel energies.
        weights: (EQUALIZER_COSINES,) float32.
    """
    frames, bins = crop.shape
    curve = np.empty(bins, dtype=np.float32)
    for j in range(bins):
        # Clenshaw's recurrence: one cosine a bin instead of one for each term
        cosine = np.cos(np.pi * (j + 0.5) / bins)
        one, two = 0.0, 0.0
        for k in range(len(weights) - 1, -1, -1):
            one, two = 2 * cosine * one - two + weights[k], one
        curve[j] = cosine * one - two
    for i in range(frames):
        row = crop[i]
        for j in range(bins):
            row[j] += curve[j]


@_fast
def limit_band(crop, lowest_bin, highest_bin, loss, floor):
    """Attenuate the bins below `lowest_bin` and from `highest_bin` on by `loss`, down to `floor` at most, in place."""
    frames, bins = crop.shape
    for i in range(frames):
        for j in range(bins):
            if j < lowest_bin or j >= highest_bin:
                crop[i, j] = max(crop[i, j] - loss, min(crop[i, j], floor))


@_fast
def mask(crop, first_frame, num_frames, first_bin, num_bins):
    """Replace a run of frames and a run of bins by each bin's mean over the crop, in place.

    Args:
        crop: (frames, bins) float32.
        first_frame, num_frames: the frames masked, over all bins.
        first_bin, num_bins: the bins masked, over all frames.
    """
    frames, bins = crop.shape
    means = np.zeros(bins, dtype=np.float32)
    for i in range(frames):
        for j in range(bins):
            means[j] += crop[i, j]
    for j in range(bins):
        means[j] /= np.float32(frames)
    for i in range(first_frame, first_frame + num_frames):
        for j in range(bins):
            crop[i, j] = means[j]
    for i in range(frames):
        for j in range(first_bin, first_bin + num_bins):
            crop[i, j] = means[j]


@_fast
def finish(view, crop, deviations, normals, floor):
    """Do to a crop, in place, all that its plan says but noise: equalizer, codec, band, level, masks.

    Args:
        view: record of `VIEW`.
        crop: (frames, bins) float32 natural-log mel energies.
        deviations, normals, floor: as for `mix`.
    """
    if view.equalizer[0] != 0:
        equalize(crop, view.equalizer)
    if view.codec_snr == view.codec_snr:
        add_codec_noise(crop, view.codec_snr, deviations, view.key, normals)
    if view.lowest_bin > 0 or view.highest_bin < crop.shape[1]:
        limit_band(crop, view.lowest_bin, view.highest_bin, view.loss, log(floor))
    if view.level != 0:
        for i in range(crop.shape[0]):
            for j in range(crop.shape[1]):
                crop[i, j] += view.level
    if view.mask_frames > 0 or view.mask_bins > 0:
        mask(crop, view.mask_frame, view.mask_frames, view.mask_bin, view.mask_bins)


@_fast
def finish_all(views, deviations, normals, floor, out):
    """`finish` each of the crops (n, frames, bins) by its record of `views`."""
    for number in range(len(views)):
        finish(views[number], out[number], deviations, normals, floor)


@_fast
def render(views, weights, deviations, normals, floor, out):
    """Render planned views.

    It holds no lock of the interpreter, and a view depends on its plan alone: any number of threads may share a batch.

    Args:
        views: (n,) records of `VIEW`.
        weights: (bins,) float32, see `mix`.
        deviations: (bins,) float32 deviation of the phase term.
        normals: the table `random.NORMALS`.
        floor: float32, see `mix`.
        out: (n, frames, bins) float32, written: log-mel.
    """
    noise = np.empty(out.shape[1:], dtype=np.float32)
    for number in range(len(views)):
        view, crop = views[number], out[number]
        read_crop(
            view.speech,
            view.speech_kind,
            view.speech_frames,
            view.speech_start,
            view.speech_minimum,
            view.speech_step,
            crop,
        )
        if view.noise != 0:
            read_crop(
                view.noise,
                view.noise_kind,
                view.noise_frames,
                view.noise_start,
                view.noise_minimum,
                view.noise_step,
                noise,
            )
            mix(crop, noise, view.snr - view.balance, weights, deviations, view.key, normals, floor)
        finish(view, crop, deviations, normals, floor)
