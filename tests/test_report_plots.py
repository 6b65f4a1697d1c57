"""The figures say what the numbers say: what is drawn is read back from the axes."""

import base64
import io
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

mpl.use("agg")

import matplotlib.pyplot as plt

from lib.report import plots
from lib.report.pictures import CORRECT, WRONG, png, thumbnail
from lib.report.rows import row


@pytest.fixture(autouse=True)
def _style():
    plots.style()
    yield
    plt.close("all")


def pictures(n, size=64):
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(n)]


def history(losses, chance=0.4, collapse=0.2):
    rows = [
        {"epoch": e, "loss": loss, "chance": chance, "collapse": collapse, "val_rsum": 10.0 * e}
        for e, loss in enumerate(losses, start=1)
    ]
    return SimpleNamespace(rows=rows)


def texts(figure):
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()]


def colour(line):
    return mpl.colors.to_hex(line.get_color())


def lab(colours):
    """CIE Lab (N, 3) of linear RGB (N, 3), white point D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = colours @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


# Machado, Oliveira, Fernandes 2009, full severity, on linear RGB.
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


@pytest.mark.parametrize("seen", [np.eye(3), np.array(PROTANOPIA), np.array(DEUTERANOPIA)])
@pytest.mark.parametrize("palette", [plots.PALETTE, (CORRECT, WRONG)])
def test_colours_can_be_told_apart_by_the_colour_blind(seen, palette):
    rgb = np.array([mpl.colors.to_rgb(c) for c in palette])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    points = lab((linear @ seen.T).clip(0, 1))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distance[~np.eye(len(palette), dtype=bool)].min() > 15


@pytest.mark.parametrize("make", [lambda a: a, lambda a: Image.fromarray(a), lambda a: (a / 255).astype(np.float32)])
def test_thumbnail_takes_arrays_and_pictures(make):
    array = np.zeros((60, 120, 3), dtype=np.uint8)
    array[:, 60:] = [255, 0, 0]
    small = thumbnail(make(array), 40)
    assert small.shape == (20, 40, 3)
    assert small.dtype == np.uint8
    assert small[10, 5].tolist() == [0, 0, 0]
    assert small[10, 35].tolist() == [255, 0, 0]


def test_thumbnail_takes_a_path(tmp_path):
    Image.new("RGB", (90, 90), (0, 0, 255)).save(tmp_path / "x.png")
    assert thumbnail(tmp_path / "x.png", 30)[3, 3].tolist() == [0, 0, 255]


def test_png_is_small_and_reproducible():
    figure = plots.show_images(pictures(6))
    stored = png(figure)
    with Image.open(io.BytesIO(stored)) as image:
        assert image.mode == "P"
        assert 600 <= image.width <= 800
    assert stored == png(figure)
    full = io.BytesIO()
    figure.savefig(full, format="png", bbox_inches="tight")
    assert len(stored) < 0.5 * len(full.getvalue())


def test_png_keeps_the_colours_of_photographs_and_saves_those_of_drawings():
    noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    photographs = [Image.fromarray(array).resize((224, 224), Image.Resampling.BICUBIC) for array in noise]
    drawings = [Image.fromarray(array).resize((224, 224), Image.Resampling.NEAREST) for array in noise // 128 * 255]
    colours = []
    for shown in (drawings, photographs):
        with Image.open(io.BytesIO(png(plots.show_images(shown)))) as image:
            colours.append(len(image.getcolors()))
    assert colours[0] <= 64 < colours[1] <= 256


def test_show_images():
    figure = plots.show_images(pictures(8), [f"picture {i}" for i in range(8)], columns=3, title="All")
    assert len(figure.axes) == 9
    assert sum(len(axis.images) for axis in figure.axes) == 8
    assert {"All", "picture 0", "picture 7"} <= set(texts(figure))
    with pytest.raises(ValueError, match="8 images but 2 titles"):
        plots.show_images(pictures(8), ["a", "b"])
    with pytest.raises(ValueError, match="no images"):
        plots.show_images([])


def frames(figure):
    """Frame colour of every axis with a picture, in the order they were drawn."""
    return [mpl.colors.to_hex(a.spines["left"].get_edgecolor()).upper() for a in figure.axes if a.images]


def test_show_retrieval_text_to_image():
    figure = plots.show_retrieval(
        ["a cat", "a dog"],
        [pictures(3), pictures(3)],
        correct=[[True, False, False], [False, False, True]],
        titles=[["cat", "cow", "hat"], ["log", "fog", "dog"]],
        scores=[[0.9, 0.5, 0.1], [0.8, 0.7, 0.6]],
    )
    assert frames(figure) == [CORRECT, WRONG, WRONG, WRONG, WRONG, CORRECT]
    shown = texts(figure)
    assert {"a cat", "a dog", "cow", "✓ 0.90", "✗ 0.50", "✓ 0.60"} <= set(shown)
    assert sum(t.startswith("✓") for t in shown) == 2


def test_show_retrieval_image_to_text():
    figure = plots.show_retrieval(pictures(2), [["a cat", "a cow"], ["a log", "a dog"]], [[True, False], [False, True]])
    assert len(frames(figure)) == 2
    assert sum(t == "✓" for t in texts(figure)) == 2
    bold = {t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_fontweight() == "bold"}
    assert {"a cat", "a dog"} <= bold
    assert not {"a cow", "a log"} & bold


def test_show_retrieval_of_one_query():
    single = plots.show_retrieval("a cat", pictures(3), [False, True, False], ["x", "y", "z"], [0.3, 0.2, 0.1])
    assert frames(single) == [WRONG, CORRECT, WRONG]
    unjudged = plots.show_retrieval("a cat", pictures(3))
    assert not {CORRECT, WRONG} & set(frames(unjudged))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"correct": [[True]]}, "correct has .*1.*results have .*2"),
        ({"scores": [[0.1, 0.2, 0.3]]}, "scores has .*3.*results have .*2"),
        ({"titles": []}, "titles has"),
        ({"queries": ["a", "b"]}, "2 queries but 1 rows"),
        ({"results": [[]]}, "no results"),
    ],
)
def test_show_retrieval_refuses_unequal_lengths(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.show_retrieval(**({"queries": ["a cat"], "results": [pictures(2)]} | arguments))


def test_plot_curves_draws_mean_band_and_shared_lines():
    seeds = [history([0.6, 0.3, 0.2]), history([0.4, 0.1, 0.0])]
    axis = plots.plot_curves({"sum of hinges": seeds}).axes[0]
    lines = {tuple(np.round(line.get_ydata(), 6)) for line in axis.lines}
    assert lines == {(0.5, 0.2, 0.1), (0.4, 0.4), (0.2, 0.2)}
    assert {t.get_text() for t in axis.texts} == {"chance", "collapse"}
    assert len(axis.collections) == 1
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.0, 0.6)


def test_plot_curves_gives_each_loss_its_own_chance_line():
    axis = plots.plot_curves({"a": history([1.0, 0.5], chance=0.4), "b": history([2.0, 1.0], chance=0.7)}).axes[0]
    level = {colour(line): line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == ":"}
    assert level == {plots.PALETTE[0].lower(): 0.4, plots.PALETTE[1].lower(): 0.7}


def test_plot_curves_shows_the_step_of_a_warm_start():
    run = history([1.0, 0.5, 0.4])
    run.rows[2]["chance"] = 0.3
    axis = plots.plot_curves({"a": run}).axes[0]
    dotted = [line.get_ydata().tolist() for line in axis.lines if line.get_linestyle() == ":"]
    assert dotted == [[0.4, 0.4, 0.3]]


def test_plot_curves_panels_and_given_chance():
    figure = plots.plot_curves({"a": history([1.0, 0.5])}, y=("loss", "val_rsum"), chance={"val_rsum": 3.4})
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "validation recall sum"]
    assert [3.4, 3.4] in [list(line.get_ydata()) for line in figure.axes[1].lines]
    with pytest.raises(ValueError, match="chance: with several panels"):
        plots.plot_curves({"a": history([1.0])}, y=("loss", "val_rsum"), chance=3.4)


def test_plot_curves_names_what_is_missing():
    with pytest.raises(ValueError, match=r"'a' has no 'val_map'.*val_rsum"):
        plots.plot_curves({"a": history([1.0])}, y="val_map")
    with pytest.raises(ValueError, match=r"'a' has no 'loss'.*no epoch"):
        plots.plot_curves({"a": history([])})


RECALLS = [
    row("CCA", "x", "test", "i2t_r1", [10.0, 12.0, 14.0]),
    row("CCA", "x", "test", "t2i_r1", [11.0], interval=(9.0, 14.0)),
    row("InfoNCE", "x", "test", "i2t_r1", [20.0, 20.0, 23.0]),
    row("InfoNCE", "x", "test", "rsum", [99.0]),
]


def test_plot_recall_bars_draws_means_seeds_and_spread():
    figure = plots.plot_recall_bars(RECALLS, chance={"i2t_r1": 0.2})
    left, right = figure.axes
    assert [axis.get_title() for axis in (left, right)] == ["image to text", "text to image"]
    assert [bar.get_height() for bar in left.patches] == [12.0, 21.0]
    dots = [list(line.get_ydata()) for line in left.lines if line.get_marker() == "o"]
    assert dots == [[10.0, 12.0, 14.0], [20.0, 20.0, 23.0]]
    segments = [c.get_segments()[0][:, 1].tolist() for c in left.collections]
    assert [10.0, 14.0] in segments
    assert [0.2, 0.2] in segments
    assert [9.0, 14.0] in [c.get_segments()[0][:, 1].tolist() for c in right.collections]


def test_plot_recall_bars_takes_any_metric_and_refuses_none():
    axis = plots.plot_recall_bars(RECALLS, metrics=["rsum"]).axes[0]
    assert [bar.get_height() for bar in axis.patches] == [99.0]
    with pytest.raises(ValueError, match=r"'i2t_r5'.*the rows have.*rsum"):
        plots.plot_recall_bars(RECALLS, metrics=["i2t_r5"])


def test_plot_ranks_draws_recall_and_chance():
    figure = plots.plot_ranks({"a": [1, 2.5, 3, 10]}, gallery=10, positives=2)
    curve, chance = [dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in figure.axes[0].lines[:2]]
    assert [curve[k] for k in (1, 2, 3, 9, 10)] == [25.0, 25.0, 75.0, 75.0, 100.0]
    assert chance[1] == pytest.approx(20.0)
    assert chance[2] == pytest.approx(100 * (1 - 8 / 10 * 7 / 9))
    assert chance[9] == pytest.approx(100.0)
    with pytest.raises(ValueError, match=r"'a' must lie in 1..5"):
        plots.plot_ranks({"a": [1, 6]}, gallery=5)
    with pytest.raises(ValueError, match=r"'a' must lie in 1..5"):
        plots.plot_ranks({"a": []}, gallery=5)
    assert len(plt.get_fignums()) == 1, "a refused call must not leave an empty figure to be shown"


def boxes(axis):
    return [a for a in axis.artists if isinstance(a, mpl.offsetbox.AnnotationBbox)]


def test_embedding_map_draws_thumbnails_that_do_not_overlap():
    points = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0], [0.5, 0.2]])
    axis = plots.embedding_map(points, images=pictures(4), labels=["a", "a", "b", "b"]).axes[0]
    assert [tuple(box.xy) for box in boxes(axis)] == [(0.0, 0.0), (1.0, 1.0), (0.5, 0.2)]
    assert len(axis.collections[-1].get_offsets()) == 0  # the second point lies under the first picture


def test_embedding_map_words_and_labels():
    points = np.random.default_rng(0).normal(size=(90, 2))
    labels = [f"group {min(i // 10, 8)}" for i in range(90)]
    figure = plots.embedding_map(points, labels=labels, words=[f"word {i}" for i in range(90)])
    assert len(figure.axes[0].collections[-1].get_offsets()) == 90
    drawn = [t for t in texts(figure) if t.startswith("word")]
    assert 3 < len(drawn) < 90
    assert "word 0" in drawn
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert len(legend) == len(plots.PALETTE) + 1
    assert legend[-1] == "other"
    with pytest.raises(ValueError, match="90 points but 3 words"):
        plots.embedding_map(points, words=["a", "b", "c"])


def test_similarity_heatmap():
    similarity = np.array([[0.9, -0.1, 0.2], [0.0, 0.8, 0.3]])
    positives = np.array([[True, False, False], [False, True, False]])
    figure = plots.similarity_heatmap(similarity, ["x", "y"], ["a", "b", "c"], positives, row_images=pictures(2))
    axis = figure.axes[0]
    assert np.array_equal(axis.images[0].get_array(), similarity)
    assert axis.images[0].get_clim() == (-0.9, 0.9)
    assert {"0.90", "-0.10", "a", "y"} <= set(texts(figure))
    corners = [np.round(patch.get_xy()).astype(int).tolist() for patch in axis.patches]
    assert corners == [[0, 0], [1, 1]]
    assert len(boxes(axis)) == 2
    with pytest.raises(ValueError, match=r"similarity is \(2, 3\)"):
        plots.similarity_heatmap(similarity, ["x", "y"], ["a", "b"])


@pytest.mark.notebooks
def test_a_notebook_stores_small_pictures():
    """In a kernel, after style(), every figure is stored through `png`, also one made with pyplot."""
    import nbclient
    import nbformat

    code = [
        "from lib.report import plots\nplots.style()",
        "import numpy as np\nnoise = np.random.default_rng(0).random((4, 64, 64, 3))\nplots.show_images(noise);",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    for cell in notebook.cells[1:]:
        (output,) = cell.outputs
        image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        assert image.mode == "P"
