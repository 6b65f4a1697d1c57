"""The house style, and figures made of pictures: galleries, results beside their queries, maps of embeddings."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

# Okabe and Ito's colours without yellow (too pale on white): distinct under all common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#222222")
CHANCE_COLOUR = "#777777"
CORRECT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#bbbbbb"
WIDTH = 9.0  # inches, of every figure
DPI = 80  # 720 pixels wide: fits a notebook, keeps its file small


def style() -> None:
    """Set the house style for all following figures: palette, fonts, light grid, size and resolution.

    In a notebook it also stores the pictures as small PNGs (see `png`), so that the notebook stays small.
    """
    sns.set_theme(style="whitegrid", palette=list(PALETTE))
    plt.rcParams.update(
        {
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "figure.figsize": (WIDTH, 3.6),
            "font.family": "DejaVu Sans",
            "text.parse_math": False,  # a caption with two $ is text, and no formula
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "figure.titlesize": 13,
            "axes.edgecolor": "#999999",
            "grid.color": "#e6e6e6",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 2.0,
        }
    )
    shell = get_ipython()
    if hasattr(shell, "kernel") and "inline" in plt.get_backend():
        shell.run_line_magic("matplotlib", "inline")  # sets the formatter that the next line replaces
        shell.display_formatter.formatters["image/png"].for_type(Figure, png)


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 64 colours, 256 if it shows photographs: small, and the same bytes every time."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    image = Image.open(drawn).convert("RGB")
    # Lines and drawings have some thousand colours at their edges (getcolors gives None beyond 16,000).
    colours = 64 if image.getcolors(16_000) else 256
    image.quantize(colours, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def thumbnail(image, pixels: int) -> np.ndarray:
    """A picture (PIL image, path, array (H, W, 3) uint8 or float 0..1) as (h, w, 3) uint8, h and w at most `pixels`."""
    if isinstance(image, Path):
        image = Image.open(image)
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype.kind == "f":
            array = np.round(255 * array.clip(0, 1)).astype(np.uint8)
        image = Image.fromarray(array)
    image = image.convert("RGB")
    image.thumbnail((pixels, pixels), Image.Resampling.BILINEAR)  # no halo around flat colours, smaller PNG
    return np.asarray(image)


def _wrapped(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…"))


def _draw(axis, image, inches: float) -> None:
    """A picture without ticks, reduced to the pixels it will have on screen."""
    axis.imshow(thumbnail(image, round(1.5 * inches * DPI)))
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)


def _frame(axis, colour: str, width: float) -> None:
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=width)


def show_images(
    images: Sequence, titles: Sequence[str] | None = None, columns: int = 6, title: str | None = None
) -> Figure:
    """A gallery of pictures in rows of `columns`, each with its title below. Raises ValueError for unequal lengths."""
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
    if len(images) == 0:
        raise ValueError("no images to show")
    rows, side = -(-len(images) // columns), WIDTH / columns
    height = rows * (min(side, 1.5) + (0.5 if titles is not None else 0.1)) + (0.4 if title else 0)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= len(images):
            axis.set_axis_off()
            continue
        _draw(axis, images[index], min(side, 1.5))
        _frame(axis, NEUTRAL, 0.6)
        if titles is not None:
            axis.set_xlabel(_wrapped(str(titles[index]), round(side * 12), 2), fontsize=10)
    if title:
        figure.suptitle(title)
    return figure


def show_retrieval(queries, results, correct=None, titles=None, scores=None, title: str | None = None) -> Figure:
    """What a search found: a row a query, the query at the left, its results at the right, best first.

    queries: Q strings or pictures (one alone is taken as one row, then the other arguments are flat lists too).
    results: per query a list of pictures (text-to-image) or of strings (image-to-text). correct: per result a bool;
    draws a green frame and a tick, or a red frame and a cross. titles: per picture the text below it. scores: per
    result a number. Raises ValueError when the lengths do not agree.
    """
    if isinstance(queries, str | Image.Image | Path | np.ndarray):
        queries, results = [queries], [results]
        correct, titles, scores = ([g] if g is not None else None for g in (correct, titles, scores))
    for name, given in (("results", results), ("correct", correct), ("titles", titles), ("scores", scores)):
        lengths = None if given is None else [len(row) for row in given]
        if lengths is not None and lengths != [len(row) for row in results]:
            raise ValueError(f"{name} has {lengths} entries a query, results have {[len(row) for row in results]}")
    if len(queries) != len(results):
        raise ValueError(f"{len(queries)} queries but {len(results)} rows of results")
    if not all(len(row) for row in results):
        raise ValueError("a query has no results to show")
    textual = isinstance(results[0][0], str)
    most = max(len(row) for row in results)
    side = min(0.8, WIDTH / (most + 1.5))
    height = max(1.15, 0.25 * most + 0.15) if textual else side + (0.62 if titles or scores else 0.15)
    width = WIDTH if textual else (most + 1.5) * (side + 0.1)
    figure = plt.figure(figsize=(width, len(queries) * height + (0.4 if title else 0)), layout="constrained")
    grid = figure.add_gridspec(len(queries), most + 1, width_ratios=[1.5] + [1] * most)
    for row, query in enumerate(queries):
        _query(figure.add_subplot(grid[row, 0]), query, side)
        marks = correct[row] if correct is not None else [None] * len(results[row])
        numbers = scores[row] if scores is not None else [None] * len(results[row])
        if textual:
            _texts(figure.add_subplot(grid[row, 1:]), results[row], marks, numbers)
            continue
        names = titles[row] if titles is not None else [""] * len(results[row])
        for column, image in enumerate(results[row]):
            axis = figure.add_subplot(grid[row, column + 1])
            _draw(axis, image, side)
            colour, mark = _judged(marks[column])
            _frame(axis, colour, 0.6 if marks[column] is None else 3.0)
            first = " ".join(part for part in (mark, _number(numbers[column])) if part)
            axis.set_title(first, color=colour if mark else "#333333", fontsize=10, pad=3, fontweight="bold")
            axis.set_xlabel(_wrapped(str(names[column]), round(side * 11), 2), fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


def _judged(correct: bool | None) -> tuple[str, str]:
    """Colour and mark of a result; the mark says it to those who do not see the colour."""
    return (NEUTRAL, "") if correct is None else (CORRECT, "✓") if correct else (WRONG, "✗")


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _query(axis, query, side: float) -> None:
    if isinstance(query, str):
        axis.text(0.5, 0.5, _wrapped(query, 15, 5), ha="center", va="center", fontweight="bold", fontsize=11)
        axis.set(xticks=[], yticks=[], facecolor="#f2f2f2", xlim=(0, 1), ylim=(0, 1))
        axis.grid(visible=False)
        _frame(axis, "#f2f2f2", 0.6)
    else:
        _draw(axis, query, side)
        _frame(axis, NEUTRAL, 0.6)


def _texts(axis, texts: Sequence[str], marks: Sequence, numbers: Sequence) -> None:
    """Retrieved sentences as lines: mark, score, text."""
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(len(texts), 0))
    for line, (text, correct, number) in enumerate(zip(texts, marks, numbers, strict=True)):
        colour, mark = _judged(correct)
        axis.text(0.01, line + 0.5, mark, color=colour, va="center", fontweight="bold", fontsize=12)
        axis.text(0.05, line + 0.5, _number(number), color="#666666", va="center", fontsize=10)
        bold = "bold" if correct else "normal"
        start = 0.05 if number is None else 0.12
        axis.text(start, line + 0.5, _wrapped(text, 85, 1), color="#222222", va="center", fontweight=bold)


def embedding_map(points, images=None, labels=None, words=None, title: str | None = None, zoom: int = 30) -> Figure:
    """A map of 2-D points (N, 2), coloured by label, with as many thumbnails or words as fit without overlap.

    images: N pictures (opened lazily, only those drawn); words: N strings; labels: N strings, the seven most frequent
    get a colour and a legend entry, the rest are grey. zoom: thumbnail size in pixels. Raises ValueError when the
    lengths differ.
    """
    points = np.asarray(points, dtype=float)
    for name, given in (("images", images), ("labels", labels), ("words", words)):
        if given is not None and len(given) != len(points):
            raise ValueError(f"{len(points)} points but {len(given)} {name}")
    figure, axis = plt.subplots(figsize=(WIDTH, 6.2), layout="constrained")
    labels = np.full(len(points), "") if labels is None else np.asarray(labels)
    names, counts = np.unique(labels, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][: len(PALETTE)]
    colour_of = dict(zip(shown, PALETTE, strict=False))
    colours: Any = np.array([colour_of.get(label, "#c4c4c4") for label in labels])
    axis.set(xticks=[], yticks=[])
    axis.margins(0.05)
    axis.grid(visible=False)
    axis.set_frame_on(False)
    for name in [*shown, *(["other"] if len(shown) < len(names) else [])] if len(names) > 1 else []:
        axis.scatter([], [], s=30, color=colour_of.get(name, "#c4c4c4"), label=name)
    if len(names) > 1:
        figure.legend(loc="outside right upper", fontsize="small")
    if title:
        axis.set_title(title)
    dots = axis.scatter(points[:, 0], points[:, 1], s=16, color=colours, linewidth=0, alpha=0.85)
    if images is None and words is None:
        return figure
    figure.draw_without_rendering()  # fixes the layout, so that pixels can be counted
    sizes = [(zoom + 4, zoom + 4)] * len(points) if images is not None else [(7.2 * len(w), 15) for w in words]
    drawn, covered = _without_overlap(axis.transData.transform(points), sizes, axis.bbox, centred=images is not None)
    for index in drawn:
        if images is not None:
            picture = OffsetImage(thumbnail(images[index], zoom), zoom=72 / figure.dpi)
            frame = {"edgecolor": colours[index], "linewidth": 1.2}
            axis.add_artist(AnnotationBbox(picture, points[index], pad=0.08, bboxprops=frame))
        else:
            axis.annotate(words[index], points[index], xytext=(4, 3), textcoords="offset points", fontsize="small")
    dots.set_offsets(points[~covered] if images is not None else points)
    dots.set_color(colours[~covered] if images is not None else colours)
    return figure


def _without_overlap(where: np.ndarray, sizes: Any, frame, centred: bool) -> tuple[list[int], np.ndarray]:
    """Which boxes can be drawn, first come first served: none on another and none beyond the right edge.

    where: anchor (N, 2) in pixels, the box's centre or its lower left corner. Returns the chosen indices and for
    every point whether it lies under a chosen box, both for the caller to draw.
    """
    sizes = np.asarray(sizes, dtype=float)
    low = where - sizes / 2 if centred else where
    high = low + sizes
    chosen: list[int] = []
    covered = np.zeros(len(where), dtype=bool)
    for index in range(len(where)):
        apart = (low[chosen] >= high[index]) | (high[chosen] <= low[index])
        if high[index, 0] <= frame.x1 + sizes[index, 0] * centred and apart.any(axis=1).all():
            chosen.append(index)
            covered |= ((where > low[index]) & (where < high[index])).all(axis=1)
    return chosen, covered
