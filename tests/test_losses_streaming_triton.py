"""The Triton kernels of the streaming losses against the dense losses: in Triton's interpreter, and on a GPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import lib.losses as dense
from lib.losses import positives_from_ids, streaming
from tests.test_losses_streaming import LEARNED, OPTIONS, problem, value_and_gradients

NAMES = ["max_of_hinges", "info_nce", "sigmoid_loss"]
HALF = "bfloat16"
# images, texts, dimensions, options for `problem`, block, tile. Blocks: 16 wide, or 0 as on a GPU.
CASES = {
    "ragged": (37, 50, 19, {}, 16, 300),
    "one pair": (1, 1, 1, {}, 16, None),
    "few images": (3, 40, 8, {}, 16, 10),
    "ties": (40, 35, 3, {"exact": True}, 16, 100),
    "blocks of a GPU": (130, 150, 40, {}, 0, None),
    "bfloat16": (40, 35, 24, {"dtype": HALF}, 16, 300),
}


def of_kernels(name, *arguments, **options):
    return getattr(streaming, name)(*arguments, engine="triton", **options)


def of_dense(name, x, y, image_ids, text_ids, **options):
    return getattr(dense, name)(x.float() @ y.float().T, positives_from_ids(image_ids, text_ids), **options)


def errors(name, images, texts, dim, options, tile, device):
    """The largest errors of value and gradients for each set of options, as shares of the largest entry."""
    options = options | {"dtype": getattr(torch, options.get("dtype", "float32"))}
    arguments = [part.to(device) for part in problem(images, texts, dim, 0, **options)]
    for of_loss in OPTIONS[name]:
        found = value_and_gradients(of_kernels, name, *arguments, tile=tile, **of_loss)
        expected = value_and_gradients(of_dense, name, *arguments, **of_loss)
        assert [part.dtype for part in found] == [part.dtype for part in expected]
        yield [float((a - b).abs().max() / b.abs().max().clamp(min=1e-2)) for a, b in zip(found, expected, strict=True)]


def gradients_of_options(name, device):
    """Of the option that can be learned: by the kernels, by the dense loss."""
    arguments, found = [part.to(device) for part in problem(30, 40, 8, seed=1)], []
    for loss in (of_kernels, of_dense):
        learned = torch.tensor(0.3, device=device, requires_grad=True)
        loss(name, *arguments, **{LEARNED[name]: learned}).backward()
        found.append(float(learned.grad))
    return found


def second_backward(name, device):
    """How far the gradient of a second backward is from that of the first, with images frozen."""
    x, y, *ids = (part.to(device) for part in problem(20, 30, 8, seed=4))
    y.requires_grad_()
    value = of_kernels(name, x, y, *ids)
    value.backward(retain_graph=True)
    once = y.grad.clone()
    value.backward()
    return float((y.grad - 2 * once).abs().max())


def special(name, device):
    """Whether one that is not a number is kept, and whether all is finite without negatives."""
    x, y, *ids = (part.to(device) for part in problem(20, 30, 8, seed=5))
    alone = value_and_gradients(of_kernels, name, x, y, ids[0] * 0, ids[1] * 0)
    x[3], ids[0][3] = torch.nan, ids[1][0]
    return bool(of_kernels(name, x, y, *ids).isnan()), all(bool(part.isfinite().all()) for part in alone)


def report(device):
    """Everything that the tests look at, for one device."""
    from lib.losses.streaming import kernels

    found, blocks = {}, dict(kernels.BLOCK)
    for name in NAMES:
        for case, (*sizes, options, block, tile) in CASES.items():
            small = {"M": block, "N": block, "K_BYTES": 64} if block and device == "cpu" else {}
            kernels.BLOCK.update(blocks | small)
            found[f"{name} {case}"] = list(errors(name, *sizes, options, tile, device))
        found[f"{name} option"] = gradients_of_options(name, device)
        found[f"{name} twice"] = second_backward(name, device)
        found[f"{name} special"] = special(name, device)
    return found


def check(found, name):
    for case, (*_, options, _, _) in CASES.items():
        for value, *gradients in found[f"{name} {case}"]:
            assert value < 1e-5, case
            assert max(gradients) < (1e-2 if options.get("dtype") == HALF else 1e-5), case
    by_kernels, by_dense = found[f"{name} option"]
    assert by_kernels == pytest.approx(by_dense, rel=1e-4)
    assert by_dense != 0
    assert found[f"{name} twice"] < 1e-6
    assert list(found[f"{name} special"]) == [True, True]


@pytest.fixture(scope="module")
def interpreted():
    if find_spec("triton") is None:
        pytest.skip("triton is not installed; it comes with the CUDA builds of PyTorch")
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_losses_streaming_triton"],
        cwd=root,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_equal_the_dense_loss_in_the_interpreter(interpreted, name):
    """Ragged blocks and strips, ties, several positives, options that are learned, no negatives, not a number."""
    check(interpreted, name)


@pytest.mark.gpu
def test_kernels_equal_the_dense_loss_on_a_gpu():
    found = report("cuda")
    for name in NAMES:
        check(found, name)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_refuse_what_they_cannot_do(name, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match=r"'triton' cannot run here: .* (triton is missing|on cpu)"):
        of_kernels(name, *problem(3, 4, 5, seed=0))
    monkeypatch.setattr(streaming, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match="on cpu, not on an NVIDIA GPU"):
        of_kernels(name, *problem(3, 4, 5, seed=0))
    with pytest.raises(ValueError, match="not float32 or bfloat16"):
        of_kernels(name, *problem(3, 4, 5, seed=0, dtype=torch.float64))


def test_sum_of_hinges_has_no_kernel():
    with pytest.raises(ValueError, match="no Triton kernel"):
        of_kernels("sum_of_hinges", *problem(3, 4, 5, seed=0))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(report("cpu")))
