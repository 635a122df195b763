"""A picture of an utterance: its waveform, its cached fbank, and views of it as training sees them."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.augment.banks import Banks, open_banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.plan import Plan
from sdpn.augment.sampling import make_sampler
from sdpn.console import counted
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.index import FeatureIndex, open_features
from sdpn.features.sets import read_cuts
from sdpn.files import atomic_path

NUM_VIEWS = 3
_LISTED = 5  # utterances of a set that are named
_MOST_COMPARED = 50_000  # ids among which near ones are looked for, which takes a second
_MOST_SECONDS = 60  # of an utterance; what comes after is not drawn


def draw(data: Path, utterance: str, set_name: str | None, output: Path, config: ViewConfig, **views: int) -> str:
    """Draw an utterance of the recipe in `data`, and write the picture (PNG, SVG or PDF by its name) to `output`.

    Args:
        data: what stages 0 to 2 wrote; the views need stage 3, and are left out without it.
        utterance: its id.
        set_name: the set it is in; None for the first that has it.
        config: how views are augmented.
        views: seed, epoch, and student_frames, the length of a view.

    Returns:
        One sentence on what was drawn.

    Raises:
        SdpnError: there is no such utterance, or its stage has not been run.
    """
    corpus = Corpus.read(data)
    name, index, row = _find(data, corpus, utterance, set_name)
    cut = next((cut for cut in read_cuts(data / name) if cut.id == utterance), None)
    samples = load_samples(cut) if cut is not None else None
    epoch, frames = views.pop("epoch"), views["student_frames"]
    if config.augment == "waveform" and (name != corpus.train or not (data / "augment").exists()):
        config = dataclasses.replace(config, augment="off")  # there is no audio to cut views from
    sampler = make_sampler(
        index, _banks(data, corpus, index, name, config.augment), config, student_views=NUM_VIEWS, **views
    )
    plan = sampler.student_plan(epoch, np.array([row]))
    rendered = sampler.views(epoch, np.array([row])).student[:, 0]
    with atomic_path(output) as temporary:
        figure = _figure(f"{utterance}  ({name})", samples, index, row, plan, rendered, sampler.planner.kinds)
        figure.savefig(temporary, dpi=130)
    seconds = int(index.frames[row]) * index.config.frame_shift / 1000
    drawn = f"{seconds:.1f} s and {NUM_VIEWS} views of {frames} frames"
    return f"{output}: {utterance} of {data / name}, {drawn}"


def _find(data: Path, corpus: Corpus, utterance: str, set_name: str | None) -> tuple[str, FeatureIndex, int]:
    names, known = _sets(data, corpus, set_name), []
    for name in names:
        index = open_features(data / name)
        row = index.number_of(utterance)
        if row is not None:
            return name, index, row
        known += index.ids
    near = difflib.get_close_matches(utterance, dict.fromkeys(known), 3) if len(known) <= _MOST_COMPARED else []
    hint = f"did you mean {', '.join(near)}?" if near else f"`sdpn show --data {data}` lists some"
    raise SdpnError(f"there is no utterance {utterance} in {', '.join(str(data / name) for name in names)}: {hint}")


def list_utterances(data: Path, set_name: str | None) -> list[str]:
    """Return lines with the ids of a set's utterances; of every set the first few if none is named.

    Raises:
        SdpnError: there is no such set, or its features have not been made.
    """
    corpus = Corpus.read(data)
    if set_name:
        _sets(data, corpus, set_name)
        return list(open_features(data / set_name).ids)
    lines = []
    for name in [corpus.train, *corpus.evals]:
        ids = open_features(data / name).ids
        more = f", ... (`sdpn show --data {data} --set {name}` lists all)" if len(ids) > _LISTED else ""
        lines.append(f"{name}, {counted(len(ids), 'utterance')}: {', '.join(ids[:_LISTED])}{more}")
    return lines


def _sets(data: Path, corpus: Corpus, set_name: str | None) -> list[str]:
    known = [corpus.train, *corpus.evals]
    if set_name is not None and set_name not in known:
        raise SdpnError(f"{data} has no set '{set_name}' of speech; there are {', '.join(known)}")
    return [set_name] if set_name else known


def _banks(data: Path, corpus: Corpus, index: FeatureIndex, name: str, mode: str) -> Banks:
    """What the utterance's views are made with: copies are there of the training set alone."""
    if not (data / "augment").exists():
        return Banks([], {})
    banks = open_banks(data, index if name == corpus.train else open_features(data / corpus.train), mode)
    return banks if name == corpus.train or mode == "off" else Banks([], banks.noises)


def describe(plan: Plan, kinds: list[str], view: int) -> str:
    """What was done to a view, in words."""
    record = plan.views[view, 0]
    words = []
    if plan.speeds[0] != 1:
        words.append(f"speed {plan.speeds[0]:g}")
    if plan.reverbs[view, 0] or plan.rooms[view, 0] >= 0:
        words.append("reverberated")
    if plan.noises[view, 0] >= 0:
        words.append(f"{kinds[plan.noises[view, 0]]} at {record['snr']:.0f} dB SNR")
    if record["equalizer"].any():
        words.append("equalized")
    if np.isfinite(record["codec_snr"]):
        words.append("codec")
    if record["lowest_bin"] > 0:
        words.append("band-limited")
    if record["mask_frames"] or record["mask_bins"]:
        words.append("masked")
    return ", ".join(words) or "clean"


def cut_at(plan: Plan, view: int, length: float, whole: float) -> tuple[float, float]:
    """Where in an utterance of `whole` seconds a view of `length` seconds begins, and how much of it follows, in s."""
    record = plan.views[view, 0]
    begin = whole * float(record["speech_start"]) / float(record["speech_frames"])
    return begin, min(length * float(plan.speeds[0]), whole - begin)


def _figure(
    title: str,
    samples: np.ndarray | None,
    index: FeatureIndex,
    row: int,
    plan: Plan,
    rendered: np.ndarray,
    kinds: list[str],
) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    config = index.config
    shift = config.frame_shift / 1000
    features = index.read(row, 0, round(_MOST_SECONDS / shift))
    seconds = len(features) * shift
    low, high = np.quantile(features, [0.02, 0.995])
    image = {
        "origin": "lower",
        "aspect": "auto",
        "cmap": "magma",
        "vmin": low,
        "vmax": high,
        "interpolation": "nearest",
    }

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(3, NUM_VIEWS, height_ratios=[0.8, 1.2, 1.2])
    wave = figure.add_subplot(grid[0, :])
    title, there = "waveform", seconds
    if samples is not None:
        if config.vad != "none":
            title, there = "waveform; its pauses are not in the fbank", len(samples) / config.sampling_rate
        samples = samples[: round(min(there, _MOST_SECONDS) * config.sampling_rate)]
        wave.plot(np.arange(len(samples)) / config.sampling_rate, samples, linewidth=0.4, color="#30587f")
    wave.set(xlim=(0, min(there, _MOST_SECONDS)), ylabel="amplitude", title=title)

    whole = figure.add_subplot(grid[1, :])
    shown = whole.imshow(features.T, extent=(0, seconds, 0, index.num_bins), **image)
    whole.set(ylabel="mel bin", xlabel="s", title="cached fbank; the bars mark where each view is cut")
    whole.autoscale(False)
    figure.colorbar(shown, ax=whole, label="ln energy", pad=0.01)
    for view in range(NUM_VIEWS):
        colour = f"C{view}"
        begin, span = cut_at(plan, view, rendered.shape[1] * shift, int(index.frames[row]) * shift)
        whole.barh(index.num_bins - 2.5 - 4 * view, span, height=3, left=begin, color=colour, edgecolor="white")
        axes = figure.add_subplot(grid[2, view])
        axes.imshow(rendered[view].T, extent=(0, rendered.shape[1] * shift, 0, index.num_bins), **image)
        axes.set_title(f"view {view + 1}: {describe(plan, kinds, view)}", fontsize=8, color=colour)
        axes.set_xlabel("s")
        if view == 0:
            axes.set_ylabel("mel bin")
        else:
            axes.set_yticklabels([])
    return figure
