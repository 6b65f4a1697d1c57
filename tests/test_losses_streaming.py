"""Losses from embeddings and ids: equal to the dense ones in value and gradient, in the memory of a tile."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lib.losses as dense
from lib.losses import positives_from_ids, streaming

NAMES = ["max_of_hinges", "sum_of_hinges", "info_nce", "sigmoid_loss"]
# No margin is a difference of `exact` scores: at the kink of a hinge versions of PyTorch take different gradients.
OPTIONS = {
    "max_of_hinges": [{}, {"margin": 0.45, "keep": 0.6}],
    "sum_of_hinges": [{}, {"margin": 0.45, "keep": 0.6}],
    "info_nce": [{}, {"temperature": 0.01}, {"temperature": 0.2, "smoothing": 0.1, "keep": 0.6}],
    "sigmoid_loss": [{}, {"scale": 30.0, "bias": -3.0}],
}
LEARNED = {
    "max_of_hinges": "margin",
    "sum_of_hinges": "margin",
    "info_nce": "temperature",
    "sigmoid_loss": "scale",
}


def problem(images, texts, dim, seed, dtype=torch.float32, exact=False):
    """Unit vectors with ids that repeat on both sides; `exact`: sums without rounding, with many equal scores."""
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(0, max(1, 2 * images // 3), (n,), generator=generator) for n in (images, texts)]
    ids[1][0] = ids[0][0]  # at least one pair
    if exact:
        x, y = (torch.randint(-2, 3, (n, dim), generator=generator).to(dtype) / 4 for n in (images, texts))
    else:
        x, y = (torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in (images, texts))
        x, y = (torch.nn.functional.normalize(part, dim=1).to(dtype) for part in (x, y))
    return x, y, *ids


def of_dense(name, x, y, image_ids, text_ids, **options):
    return getattr(dense, name)(x @ y.T, positives_from_ids(image_ids, text_ids), **options)


def of_tiles(name, *arguments, **options):
    return getattr(streaming, name)(*arguments, engine="tiles", **options)


def value_and_gradients(loss, name, x, y, image_ids, text_ids, **options):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    value = loss(name, x, y, image_ids, text_ids, **options)
    (3 * value).backward()
    return value.detach(), x.grad, y.grad


def assert_equal(found, expected, rtol):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert float((a - b).abs().max()) <= rtol * float(b.abs().max()) + 1e-12


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(
    images=st.integers(1, 25),
    texts=st.integers(1, 25),
    dim=st.integers(1, 24),
    tile=st.integers(20, 300),
    option=st.integers(0, 2),
    exact=st.booleans(),
    double=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_equals_the_dense_loss(name, images, texts, dim, tile, option, exact, double, seed):
    """Ragged tiles, several positives on either side, ties; in float64 the largest error is that of the method."""
    options = OPTIONS[name][option % len(OPTIONS[name])]
    dtype = torch.float64 if double or not exact else torch.float32
    arguments = problem(images, texts, dim, seed, dtype, exact)
    expected = value_and_gradients(of_dense, name, *arguments, **options)
    assert_equal(
        value_and_gradients(of_tiles, name, *arguments, tile=tile, **options),
        expected,
        1e-9 if double else 1e-5,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [64, 1024])
def test_equals_the_dense_loss_in_float32(name, dim):
    arguments = problem(300, 410, dim, seed=dim)
    expected = value_and_gradients(of_dense, name, *arguments)
    assert_equal(value_and_gradients(of_tiles, name, *arguments, tile=10_000), expected, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_learned_options(name):
    arguments, found = problem(30, 40, 8, seed=1, dtype=torch.float64), []
    for loss, options in ((of_dense, {}), (of_tiles, {"tile": 100})):
        learned = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        loss(name, *arguments, **{LEARNED[name]: learned}, **options).backward()
        found.append(float(learned.grad))
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[0] != 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    x, y, *ids = problem(50, 60, 32, seed=2)
    x, y = x.to(dtype), y.to(dtype)
    found = value_and_gradients(of_tiles, name, x, y, *ids, tile=500)
    expected = value_and_gradients(of_dense, name, x.float(), y.float(), *ids)
    assert found[0].dtype == torch.float32
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b.to(dtype))


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    arguments = problem(50, 60, 32, seed=3)
    expected = value_and_gradients(of_tiles, name, *arguments, tile=500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value_and_gradients(of_tiles, name, *arguments, tile=500)
    assert_equal(found, expected, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_collapse_and_a_batch_without_negatives(name):
    x = torch.zeros(9, 4, dtype=torch.float64)  # the gradients cancel to nothing, but for rounding
    x[:, 0] = 1
    ids = torch.arange(9)
    assert_equal(
        value_and_gradients(of_tiles, name, x, x, ids, ids, tile=20),
        value_and_gradients(of_dense, name, x, x, ids, ids),
        1e-9,
    )
    alone = value_and_gradients(of_tiles, name, x, x, ids * 0, ids * 0, tile=20)
    assert all(torch.isfinite(part).all() for part in alone)


@pytest.mark.parametrize("name", NAMES)
def test_one_side_can_be_frozen_and_a_second_backward_is_possible(name):
    x, y, *ids = problem(20, 30, 8, seed=4)
    y.requires_grad_()
    value = of_tiles(name, x, y, *ids, tile=50)
    value.backward(retain_graph=True)
    once = y.grad.clone()
    value.backward()
    assert x.grad is None
    torch.testing.assert_close(y.grad, 2 * once)


@pytest.mark.parametrize("name", NAMES)
def test_not_a_number_is_not_lost(name):
    x, y, *ids = problem(20, 30, 8, seed=5)
    x[3] = torch.nan
    ids[0][3] = ids[1][0]
    assert of_tiles(name, x, y, *ids, tile=50).isnan()


def test_auto_holds_the_matrix_of_a_small_batch_only_where_that_is_faster(monkeypatch):
    arguments, held = problem(10, 10, 4, seed=6), []
    monkeypatch.setattr(streaming, "_dense", lambda loss, *_, **__: held.append(loss.__name__) or torch.tensor(0.0))
    for name in NAMES:
        getattr(streaming, name)(*arguments)
    assert held == ["sum_of_hinges", "info_nce"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(3, 5)}, "of one type"),
        ({"images": torch.zeros(3, 4, dtype=torch.float64)}, "of one type"),
        ({"image_ids": torch.arange(2)}, "one id for each"),
        ({"image_ids": torch.arange(3) + 9}, "no text id equals"),
        ({"engine": "fast"}, "engine must be"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_named(name, change, message):
    good = {"images": torch.zeros(3, 4), "texts": torch.zeros(3, 4), "image_ids": torch.arange(3)}
    good |= {"text_ids": torch.arange(3), "engine": "tiles"}
    with pytest.raises(ValueError, match=message):
        getattr(streaming, name)(**good | change)


def test_a_matrix_of_margins_is_refused():
    with pytest.raises(ValueError, match="margin must be a number"):
        streaming.max_of_hinges(*problem(3, 3, 4, seed=0), margin=torch.zeros(3, 3))


MEMORY = """
import sys, torch
from pathlib import Path
from lib.losses import streaming
torch.set_num_threads(1)
name, tile, n = sys.argv[1], int(sys.argv[2]), 6_000
x, y = (torch.randn(n, 16, requires_grad=True) for _ in range(2))
ids = torch.arange(n)
def status(key):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if key in line)
loss = getattr(streaming, name)
loss(x[:64], y[:64], ids[:64], ids[:64], engine="tiles").backward()
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
loss(x, y, ids, ids, engine="tiles", tile=tile).backward()
print((status("VmHWM") - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a process from /proc")
@pytest.mark.parametrize("name", NAMES)
def test_peak_memory_is_that_of_a_tile(name):
    """The matrix would take 144 MB; with tiles of 1 MB a few of them and vectors, with larger ones more."""
    peaks = []
    for tile in (2**18, 2**22):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, name, str(tile)], capture_output=True, text=True, check=True
        )
        peaks.append(float(done.stdout))
    assert peaks[0] < 25
    assert peaks[1] > peaks[0]
