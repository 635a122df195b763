"""The plots of the report, as plotly figures: DET curves, densities of scores, the embedding map, training curves."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.special import ndtri

from sdpn.evaluation.figures import DET_EDGE
from sdpn.report.rows import ResultRow

# Colours that can be told apart on a light and on a dark page
COLOURS = ("#3b82c4", "#e07b39", "#3f9b5b", "#9a6cc8", "#d14b4b", "#1c9aa0", "#b0804f", "#d46fa8", "#8f8f1f")
GREY = "#8a8f98"
DASHES = {"none": "solid", "as": "dash", "s": "dashdot", "z": "dot", "t": "longdash", "as2": "longdashdot"}
# Open shapes, each larger than the one before, so that marks at one point are all seen
SYMBOLS = {
    "circle": ("circle-open", 7),
    "diamond": ("diamond-open", 11),
    "square": ("square-open", 14),
    "triangle": ("triangle-up-open", 19),
    "star": ("star-open", 23),
}
RATES = (0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.995, 0.999)  # ticks of DET axes
FARTHEST = 0.0002  # rate, and its distance from 1, up to which DET axes reach for a mark; nearer ones stand at the edge
MARGIN = {"l": 56, "r": 16, "t": 16, "b": 48}


def styles(rows: list[ResultRow]) -> list[dict[str, Any]]:
    """Colour, dash and width of the line of each row.

    A back-end has a colour (baselines are grey), a normalization a dash; with quality measures the line is thin.
    """
    kinds: dict[tuple, str] = {}
    greys: dict[tuple, str] = {}
    found: list[dict[str, Any]] = []
    for row in rows:
        kind = (row.experiment, row.system, row.backend)
        if row.baseline:
            dash = greys.setdefault(kind, ("dot", "dash", "solid", "dashdot")[len(greys) % 4])
            found.append({"color": GREY, "dash": dash, "width": 1.5})
        else:
            colour = kinds.setdefault(kind, COLOURS[len(kinds) % len(COLOURS)])
            found.append({"color": colour, "dash": DASHES[row.score_norm], "width": 1.25 if row.quality else 2.5})
    return found


def symbols(plots: list[dict[str, Any]]) -> dict[str, str]:
    """The shape of each operating point that is marked on some curve, as a word; the shapes are used again in turn."""
    names = dict.fromkeys(mark["name"] for plot in plots for mark in plot["marks"])
    return dict(zip(names, list(SYMBOLS) * len(names), strict=False))


def det_plot(
    rows: list[ResultRow], plots: list[dict[str, Any]], looks: list[dict[str, Any]], shapes: dict[str, str]
) -> go.Figure:
    """DET curves of one trial list on normal-deviate axes, with the EER and the minimum costs marked on each, on top.

    A mark that lies beyond the axes, as one at a rate of 0 or 1 does, stands at their edge; what it says is true.
    """
    figure = go.Figure()
    low, high = zip(*(_det_range(plots, side) for side in ("p_fa", "p_miss")), strict=True)
    across = up = [min(low), max(high)]  # square, so that both kinds of error are seen on one scale
    figure.add_scatter(x=[-4, 4], y=[-4, 4], mode="lines", hoverinfo="skip", line={"color": GREY, "width": 1})
    for row, plot, look in zip(rows, plots, looks, strict=True):
        name, det = row.label, plot["det"]
        figure.add_scatter(
            x=_deviates(det["p_fa"]),
            y=_deviates(det["p_miss"]),
            customdata=_percent(det["p_miss"], det["p_fa"], det["threshold"]),
            mode="lines",
            name=name,
            line=look,
            hovertemplate=f"{name}<br>{_HOVER}<extra></extra>",
        )
    for row, plot, look in zip(rows, plots, looks, strict=True):
        for mark in plot["marks"]:
            symbol, size = SYMBOLS[shapes[mark["name"]]]
            figure.add_scatter(
                x=np.clip(ndtri([mark["p_fa"]]), across[0], across[1]).round(4).tolist(),
                y=np.clip(ndtri([mark["p_miss"]]), up[0], up[1]).round(4).tolist(),
                customdata=_percent([mark["p_miss"]], [mark["p_fa"]], [mark["threshold"]]),
                mode="markers",
                marker={"color": look["color"], "symbol": symbol, "size": size, "line": {"width": 1.75}},
                cliponaxis=False,
                hovertemplate=f"{row.label}: {mark['name']}<br>{_HOVER}<extra></extra>",
            )
    ticks = {"tickvals": [float(ndtri(rate)) for rate in RATES], "ticktext": [f"{100 * rate:g}" for rate in RATES]}
    figure.update_xaxes(title="false alarms, %", range=across, zeroline=False, tickangle=0, **ticks)
    figure.update_yaxes(title="misses, %", range=up, zeroline=False, ticklabelstandoff=4, **ticks)
    figure.update_xaxes(constrain="domain")
    figure.update_yaxes(constrain="domain", scaleanchor="x")
    return _laid_out(figure, 620)


def density_plot(rows: list[ResultRow], plots: list[dict[str, Any]]) -> go.Figure:
    """Densities of the scores of target and non-target trials of one list; a menu chooses the row."""
    figure = go.Figure()
    buttons: list[dict[str, Any]] = []
    for place, (row, plot) in enumerate(zip(rows, plots, strict=True)):
        for kind, colour in (("nontarget", COLOURS[1]), ("target", COLOURS[0])):
            count = row.targets if kind == "target" else row.nontargets
            figure.add_scatter(
                x=plot["densities"]["score"],
                y=plot["densities"][kind],
                name=f"{kind} ({count})",
                mode="lines",
                line={"color": colour, "width": 2},
                fill="tozeroy",
                visible=place == 0,
                hovertemplate=f"{kind}, score %{{x:.3g}}<extra></extra>",
            )
        shown = [other // 2 == place for other in range(2 * len(rows))]
        threshold = plot["marks"][0]["threshold"]
        lines = [] if threshold is None else [_threshold(threshold)]
        buttons.append({"label": row.label, "method": "update", "args": [{"visible": shown}, {"shapes": lines}]})
    figure.update_layout(
        shapes=buttons[0]["args"][1]["shapes"],
        updatemenus=[{"buttons": buttons, "x": 0, "y": 1.14, "xanchor": "left", "yanchor": "bottom", "pad": {"b": 4}}],
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(title="score (dashed: threshold of the EER)", zeroline=False)
    figure.update_yaxes(title="density", zeroline=False, rangemode="tozero", showticklabels=False)
    return _laid_out(figure, 420, top=96)


def clusters_shown(points: dict[str, Any]) -> dict[int | None, tuple[str, str]]:
    """The colour of the clusters that the embedding map shows, the largest ones, and what they are called.

    The others, and points in no cluster, are None.
    """
    clusters = points["cluster"]
    sizes = {cluster: clusters.count(cluster) for cluster in set(clusters) if cluster >= 0}
    largest = sorted(sizes, key=lambda cluster: (-sizes[cluster], cluster))[: len(COLOURS)]
    shown: dict[int | None, tuple[str, str]] = {None: (GREY, "others" if largest else "training utterances")}
    return shown | {
        cluster: (colour, f"cluster {cluster} ({sizes[cluster]})")
        for cluster, colour in zip(largest, COLOURS, strict=False)
    }


def map_plot(points: dict[str, Any]) -> go.Figure:
    """The embedding map: training utterances in two dimensions, the largest clusters in colour."""
    figure = go.Figure()
    clusters, shown = points["cluster"], clusters_shown(points)
    for cluster, (colour, name) in shown.items():
        chosen = [place for place, own in enumerate(clusters) if (own if own in shown else None) == cluster]
        figure.add_scatter(
            x=[points["x"][place] for place in chosen],
            y=[points["y"][place] for place in chosen],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 5 if cluster is None else 7, "opacity": 0.5 if cluster is None else 0.9},
            customdata=[[points["id"][place], _cluster_name(clusters[place])] for place in chosen],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        )
    figure.update_xaxes(showticklabels=False, zeroline=False, showgrid=False)
    figure.update_yaxes(showticklabels=False, zeroline=False, showgrid=False)
    return _laid_out(figure, 480)


def colours(experiments: Iterable[str]) -> dict[str, str]:
    """The colour of each experiment, by its name."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(experiments)}


def training_plot(name: str, curves: dict[str, tuple[list[float], list[float]]], colours: dict[str, str]) -> go.Figure:
    """One figure of the training log over the steps, a line for each experiment in its colour."""
    figure = go.Figure()
    for experiment, (steps, values) in curves.items():
        figure.add_scatter(
            x=steps,
            y=values,
            mode="lines",
            name=experiment,
            line={"color": colours[experiment], "width": 2},
            hovertemplate=f"{experiment + ', ' if experiment else ''}step %{{x}}<br>{name} %{{y:.5g}}<extra></extra>",
        )
    figure.update_layout(title={"text": name.replace("_", " "), "font": {"size": 14}, "x": 0.02, "y": 0.97})
    figure.update_xaxes(zeroline=False, nticks=5)
    figure.update_yaxes(zeroline=False, nticks=5)
    return _laid_out(figure, 220, top=36, bottom=28)


_HOVER = "misses %{customdata[0]:.3g} %<br>false alarms %{customdata[1]:.3g} %<br>threshold %{customdata[2]:.4g}"


def _percent(p_miss: list[float], p_fa: list[float], thresholds: list[float | None]) -> list[list[float | None]]:
    rows = zip(p_miss, p_fa, thresholds, strict=True)
    return [[100 * miss, 100 * false_alarm, threshold] for miss, false_alarm, threshold in rows]


def _deviates(rates: list[float]) -> list[float]:
    return [round(float(ndtri(rate)), 4) for rate in rates]


def _det_range(plots: list[dict[str, Any]], side: str) -> list[float]:
    """What the axis of one kind of error spans, in deviates.

    These are the rates of both kinds on all the curves, but no more than from 0.05 % to 90 %, and the marks beyond.
    """
    seen = [rate for plot in plots for both in ("p_miss", "p_fa") for rate in plot["det"][both]]
    seen = [rate for rate in seen if DET_EDGE < rate < 1 - DET_EDGE] or [0.5]
    marks = [mark[side] for plot in plots for mark in plot["marks"] if FARTHEST <= mark[side] <= 1 - FARTHEST]
    low, high = max(0.0005, min(*seen, 0.02)), min(0.9, max(*seen, 0.5))
    return [round(float(ndtri(min(low, *marks, 1))) - 0.05, 4), round(float(ndtri(max(high, *marks, 0))) + 0.05, 4)]


def _threshold(score: float) -> dict[str, Any]:
    line = {"color": GREY, "width": 1.5, "dash": "dash"}
    return {"type": "line", "x0": score, "x1": score, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _cluster_name(cluster: int) -> str:
    return f"cluster {cluster}" if cluster >= 0 else "in no cluster"


def _laid_out(figure: go.Figure, height: int, top: int = MARGIN["t"], bottom: int = MARGIN["b"]) -> go.Figure:
    figure.update_layout(
        template="none",
        height=height,
        margin={**MARGIN, "t": top, "b": bottom},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        dragmode=False,
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    if not figure.layout.showlegend:
        figure.update_layout(showlegend=False)
    return figure
