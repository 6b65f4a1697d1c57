"""Charts: training curves, recall bars, recall at K, similarity matrices.

The house style, galleries, retrieved results and embedding maps are in `lib.report.pictures`; they are offered
here too, so that a notebook needs one name:

    from lib.report import plots
    plots.style()
    plots.plot_curves({"sum of hinges": history});

Every function returns a matplotlib Figure. End the line with a semicolon when it is the last of a cell, otherwise
Jupyter shows (and stores) the picture twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle

from lib.report.names import DIRECTIONS, metric_name
from lib.report.pictures import (  # re-exported: see the docstring above
    CHANCE_COLOUR,
    PALETTE,
    WIDTH,
    embedding_map,
    show_images,
    show_retrieval,
    style,
    thumbnail,
)

__all__ = [
    "CHANCE_COLOUR",
    "PALETTE",
    "WIDTH",
    "embedding_map",
    "plot_curves",
    "plot_ranks",
    "plot_recall_bars",
    "show_images",
    "show_retrieval",
    "similarity_heatmap",
    "style",
]

_LINE_STYLES = ("-", "--", "-.", ":")


def _colour_and_line(number: int) -> dict:
    """Colour and line style of the n-th curve: colours first, then the same colours with another line style."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "linestyle": _LINE_STYLES[number // len(PALETTE) % len(_LINE_STYLES)],
    }


def plot_curves(histories: Mapping, y="loss", chance=None, collapse=None, title: str | None = None) -> Figure:
    """Training curves, one panel a quantity, with the lines a reader needs to judge them.

    histories: name -> history, or name -> list of histories (one a seed: mean line and min-max band). A history has
    `.rows`, one dict an epoch with `epoch` and the quantities. y: one quantity (`"loss"`, `"val_rsum"`, ...) or
    several, a panel each. chance, collapse: value of an untrained and of a collapsed model, a number (one panel) or
    a mapping quantity -> number; for `"loss"` they are read from the rows when not given, and drawn in the colour of
    the curve when the losses differ. Raises ValueError when a quantity is in no row.
    """
    panels = [y] if isinstance(y, str) else list(y)
    runs = {n: list(h) if isinstance(h, Sequence) else [h] for n, h in histories.items()}
    for which, value in (("chance", chance), ("collapse", collapse)):
        if len(panels) > 1 and value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{which}: with several panels give a mapping quantity -> value, e.g. {{'loss': 1.2}}")
    series = {q: {name: _series(name, seeds, q) for name, seeds in runs.items()} for q in panels}
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.6), layout="constrained", squeeze=False, gridspec_kw={"wspace": 0.05}
    )
    for axis, quantity in zip(axes[0], panels, strict=True):
        for number, (name, (epochs, values)) in enumerate(series[quantity].items()):
            look = _colour_and_line(number)
            axis.plot(epochs, values.mean(axis=0), label=name, **look)
            if len(values) > 1:
                band = {"alpha": 0.18, "color": look["color"], "linewidth": 0}
                axis.fill_between(epochs, values.min(axis=0), values.max(axis=0), **band)
        for which, value in (("chance", chance), ("collapse", collapse)):
            level = value.get(quantity) if isinstance(value, Mapping) else value
            _reference_line(axis, runs, quantity, which, level)
        axis.set(xlabel="epoch", ylabel=metric_name(quantity) + (" (%)" if "_r1" in quantity else ""))
        axis.xaxis.get_major_locator().set_params(integer=True)
    if len(runs) > 1 or len(panels) == 1:
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    if title:
        figure.suptitle(title)
    return figure


def _series(name: str, seeds: Sequence, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs (E,) and values (seeds, E) of one quantity; seeds that stopped early are cut to the shortest."""
    length = min(len(seed.rows) for seed in seeds)
    missing = [key for seed in seeds for key in ("epoch", quantity) if not all(key in row for row in seed.rows)]
    if missing or length == 0:
        known = sorted(seeds[0].rows[0]) if length else "no epoch at all"
        raise ValueError(f"history {name!r} has no {quantity!r} in every epoch; it has {known}")
    values = [[row[quantity] for row in seed.rows[:length]] for seed in seeds]
    return np.array([row["epoch"] for row in seeds[0].rows[:length]]), np.array(values, dtype=float)


def _reference_line(axis, runs: Mapping, quantity: str, which: str, value: float | None) -> None:
    """Draw the chance or collapse line: one in grey if all curves share it, else one a curve in its colour.

    A line read from the rows has a step where a warm start changes the loss.
    """
    levels = {}
    for name, seeds in runs.items():
        rows = seeds[0].rows
        level: list[Any] = [value if value is not None or quantity != "loss" else row.get(which) for row in rows]
        if all(entry is not None and np.isfinite(entry) for entry in level):
            levels[name] = ([row["epoch"] for row in rows], level)
    forms = [np.round(level, 6) for _, level in levels.values()]
    shared = len({tuple(np.unique(form)) if np.ptp(form) == 0 else tuple(form) for form in forms}) == 1
    if shared:
        levels = dict([max(levels.items(), key=lambda item: len(item[1][0]))])
    for name, (epochs, level) in levels.items():
        colour = CHANCE_COLOUR if shared else PALETTE[list(runs).index(name) % len(PALETTE)]
        dashes = {"chance": ":", "collapse": (0, (5, 4))}[which]
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.3, "zorder": 1}
        if len(set(level)) == 1:
            axis.axhline(level[0], **look)
        else:
            axis.plot(epochs, level, drawstyle="steps-mid", **look)
        place = {"xycoords": ("axes fraction", "data"), "xytext": (-3, 2), "textcoords": "offset points"}
        axis.annotate(which, (1, level[-1]), ha="right", va="bottom", color=colour, fontsize="small", **place)


def plot_recall_bars(rows: Sequence[Mapping], metrics=None, chance=None, title: str | None = None) -> Figure:
    """Bars of the mean over seeds, a dot for every seed, an error bar of one standard deviation (or the interval).

    rows: metric rows as in `metrics.json` (method, metric, mean, std, values, interval). metrics: which to draw, in
    order; default: the recalls found. The two directions get a panel each. chance: metric -> expected value of a
    random ranking. Values as stored (recalls in percent). Raises ValueError when none of the metrics is there.
    """
    found = list(dict.fromkeys(row["metric"] for row in rows))
    metrics = list(metrics) if metrics else [m for m in found if "_r1" in m or m.endswith("_r5")]
    rows = [row for row in rows if row["metric"] in metrics]
    if not rows:
        raise ValueError(f"no rows for the metrics {metrics}; the rows have {found}")
    panels: dict[str, list[str]] = {}
    for metric in metrics:
        panels.setdefault(metric.split("_")[0] if metric[:3] in DIRECTIONS else "", []).append(metric)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.6), sharey=True, layout="constrained", squeeze=False)
    width = 0.82 / len(methods)
    for axis, (direction, names) in zip(axes[0], panels.items(), strict=True):
        for row in rows:
            if row["metric"] in names:
                slot = methods.index(row["method"])
                centre = names.index(row["metric"]) + (slot - (len(methods) - 1) / 2) * width
                _bar(axis, row, centre, width, PALETTE[slot % len(PALETTE)])
        for position, name in enumerate(names):
            if chance and name in chance:
                axis.hlines(chance[name], position - 0.46, position + 0.46, color="black", linestyle=":", zorder=4)
        short = [metric_name(m).removeprefix(DIRECTIONS.get(direction, "")).strip() for m in names]
        axis.set_xticks(range(len(names)), short)
        axis.grid(axis="x", visible=False)
        axis.set_title(DIRECTIONS.get(direction, ""))
    axes[0][0].set_ylabel("recall (%)" if "" not in panels else "value")
    handles: list[Any] = [
        Rectangle((0, 0), 1, 1, color=PALETTE[i % len(PALETTE)], alpha=0.85) for i in range(len(methods))
    ]
    if chance:
        handles.append(plt.Line2D([], [], color="black", linestyle=":"))
    labels = methods + (["chance"] if chance else [])
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    if title:
        figure.suptitle(title)
    return figure


def _bar(axis, row: Mapping, centre: float, width: float, colour: str) -> None:
    """One bar with its error bar, its seeds as dots and the mean written above."""
    mean, values = row["mean"], np.asarray(row.get("values") or [], dtype=float)
    axis.bar(centre, mean, width * 0.92, color=colour, alpha=0.85, zorder=2)
    low = high = row.get("std") or 0.0
    if row.get("interval"):
        low, high = mean - row["interval"][0], row["interval"][1] - mean
    if low or high:
        axis.errorbar(centre, mean, [[low], [high]], color="#333333", capsize=3, linewidth=1.2, zorder=3)
    if len(values) > 1:
        offsets = np.linspace(-0.22, 0.22, len(values)) * width
        axis.plot(centre + offsets, values, "o", color="white", markeredgecolor="#333333", markersize=4, zorder=5)
    top = max([mean + high, *values])
    axis.annotate(
        f"{mean:.1f}", (centre, top), xytext=(0, 3), textcoords="offset points", ha="center", fontsize="x-small"
    )


def plot_ranks(ranks: Mapping, gallery: int, positives: int = 1, title: str | None = None) -> Figure:
    """Recall at every K: the share of queries whose first correct item is among the first K, with the chance curve.

    ranks: name -> ranks (Q,), 1-based (as `Scores.i2t_ranks`). gallery: number of items that were ranked. positives:
    correct items a query has, for the chance curve 1 - C(gallery - positives, K) / C(gallery, K). Raises ValueError
    for a rank outside 1..gallery.
    """
    ranks = {name: np.sort(np.asarray(values, dtype=float)) for name, values in ranks.items()}
    for name, values in ranks.items():
        if not (len(values) and values[0] >= 1 and values[-1] <= gallery):
            raise ValueError(f"the {len(values)} ranks of {name!r} must lie in 1..{gallery}: {values}")
    k = np.unique(np.round(np.geomspace(1, gallery, 200)).astype(int))
    figure, axis = plt.subplots(figsize=(WIDTH * 0.75, 4.0), layout="constrained")
    for number, (name, values) in enumerate(ranks.items()):
        recall = 100 * np.searchsorted(values, k, side="right") / len(values)
        label = f"{name} (median rank {np.median(values):g})"
        axis.plot(k, recall, label=label, drawstyle="steps-post", **_colour_and_line(number))
    steps = np.arange(gallery)
    miss = np.cumprod(np.clip((gallery - positives - steps) / (gallery - steps), 0, 1))
    axis.plot(k, 100 * (1 - miss[k - 1]), color=CHANCE_COLOUR, linestyle=":", label="chance")
    axis.set(
        xscale="log", xlim=(1, gallery), ylim=(0, 102), xlabel=f"K (of {gallery:,} items)", ylabel="recall at K (%)"
    )
    for mark in (1, 5, 10):
        if mark < gallery:
            axis.axvline(mark, color="#cccccc", linewidth=0.8, zorder=0)
    ticks = [t for t in (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 25_000) if t <= gallery]
    axis.set_xticks(ticks, [f"{t:,}" for t in ticks])
    axis.minorticks_off()
    axis.legend(loc="upper left")
    if title:
        axis.set_title(title)
    return figure


def similarity_heatmap(
    similarity, row_labels, col_labels, positives=None, row_images=None, title: str | None = None
) -> Figure:
    """A small similarity matrix (I, T) with its labels; a frame marks the positives (I, T) bool.

    row_images: pictures (I,) drawn left of the rows. Values are written in the cells up to 12 columns. Raises
    ValueError when the labels do not fit the matrix.
    """
    similarity = np.asarray(similarity, dtype=float)
    if similarity.shape != (len(row_labels), len(col_labels)):
        raise ValueError(f"similarity is {similarity.shape}, labels are {(len(row_labels), len(col_labels))}")
    rows, columns = similarity.shape
    figure, axis = plt.subplots(figsize=(WIDTH, min(9.0, 1.9 + 0.46 * rows)), layout="constrained")
    bound = np.abs(similarity).max() or 1.0
    signed = similarity.min() < 0
    look: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": bound}
    if signed:
        look = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    drawn = axis.imshow(similarity, aspect="auto", **look)
    figure.colorbar(drawn, ax=axis, label="similarity", fraction=0.03, pad=0.02)
    axis.set_xticks(range(columns), col_labels, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(rows), row_labels)
    axis.grid(visible=False)
    if columns <= 12:
        for (i, j), value in np.ndenumerate(similarity):
            dark = abs(value) > 0.6 * bound
            axis.text(
                j, i, f"{value:.2f}", ha="center", va="center", color="white" if dark else "#333333", fontsize="small"
            )
    if positives is not None:
        for i, j in np.argwhere(np.asarray(positives)):
            axis.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor="black", linewidth=2))
    if row_images is not None:
        axis.tick_params(axis="y", length=0, pad=30)
        for i in range(rows):
            picture = OffsetImage(thumbnail(row_images[i], 26), zoom=72 / figure.dpi)
            place: dict[str, Any] = {
                "xycoords": ("axes fraction", "data"),
                "xybox": (-15, 0),
                "boxcoords": "offset points",
            }
            axis.add_artist(AnnotationBbox(picture, (0, i), frameon=False, pad=0, **place))
    if title:
        axis.set_title(title)
    return figure
