"""The Triton kernels of the streaming losses against the dense losses: in Triton's interpreter, and on a GPU."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import lib.losses as dense
from lib.losses import positives_from_ids, streaming
from lib.losses.streaming import engines
from tests.test_losses_streaming import LEARNED, OPTIONS, problem, value_and_gradients

pytestmark = pytest.mark.slow
NAMES = ["max_of_hinges", "sum_of_hinges", "info_nce", "sigmoid_loss"]
HALF = "bfloat16"
ROOT = Path(__file__).resolve().parents[1]
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
    from lib.losses.streaming import blocks

    found, block_of_gpu = {}, dict(blocks.BLOCK)
    for name in NAMES:
        for case, (*sizes, options, block, tile) in CASES.items():
            small = {"M": block, "N": block, "K_BYTES": 64} if block and device == "cpu" else {}
            blocks.BLOCK.update(block_of_gpu | small)
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


def interpreter_or_skip():
    if find_spec("triton") is None:
        pytest.skip("triton is not installed; it comes with the CUDA builds of PyTorch")
    triton, numpy = (tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy"))
    if triton <= (3, 6) and numpy >= (2, 4):
        pytest.skip("Triton 3.6's interpreter makes array conversions that NumPy 2.4 refuses: install numpy<2.4")


@pytest.fixture(scope="module")
def interpreted():
    interpreter_or_skip()
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_losses_streaming_triton"],
        cwd=ROOT,
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
    monkeypatch.setattr(engines, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match="on cpu, not on an NVIDIA GPU"):
        of_kernels(name, *problem(3, 4, 5, seed=0))
    with pytest.raises(ValueError, match="not float32 or bfloat16"):
        of_kernels(name, *problem(3, 4, 5, seed=0, dtype=torch.float64))


def test_auto_takes_the_kernels_on_a_gpu_that_can_run_them(monkeypatch):
    class OnGPU(torch.Tensor):
        is_cuda = True

    x, y, *ids = problem(3, 4, 5, seed=0)
    x = x.as_subclass(OnGPU)
    monkeypatch.setattr(engines, "import_module", lambda name: name)
    for why, chosen in (("", "lib.losses.streaming.kernels"), ("the GPU is too old", engines.tiles)):
        monkeypatch.setattr(engines, "why_no_kernels", lambda images, why=why: why)
        assert engines.prepare(x, y, *ids, "auto", None, dense=0)[0] == chosen
        assert engines.prepare(x, y, *ids, "tiles", None)[0] == engines.tiles
        assert engines.prepare(x, y, *ids, "auto", None) is None  # small enough to hold the matrix


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_kernels_compile_for_gpus_that_are_not_here(capability, dtype, tmp_path, monkeypatch):
    """Down to machine code, without a GPU, and within the shared memory of every GPU since Ampere."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lib.losses.streaming import blocks, kernels

    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    found = [part for name, part in vars(kernels).items() if name.endswith("_kernel")]
    assert len(found) == 6
    width = {"fp32": 4, "bf16": 2}[dtype]
    constants = {"dim": 1024, "PRECISION": "tf32", "M": blocks.BLOCK["M"], "N": blocks.BLOCK["N"]}
    constants["K"] = blocks.BLOCK["K_BYTES"] // width
    for kernel in found:
        types = {name: "constexpr" if name in constants else type_of(name, kernel, dtype) for name in kernel.arg_names}
        aligned = [i for i, (name, kind) in enumerate(types.items()) if kind[0] == "*" or name == "n_texts"]
        source = ASTSource(kernel, types, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
        options = {"num_warps": blocks.WARPS, "num_stages": blocks.STAGES}
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert made.asm["cubin"]
        assert made.metadata.shared <= 99 * 1024


def type_of(argument, kernel, dtype):
    """What Triton calls the type of an argument of a kernel."""
    if argument in ("first", "stop", "n_texts", "image_lines", "text_lines"):
        return "i32"
    if argument in ("images", "texts", "weights"):
        return f"*{dtype}"
    packed = kernel.fn.__name__ == "_hardest_kernel" and argument in ("of_image", "of_text")
    return "*i64" if packed or argument.endswith("_ids") else "*fp32"


def test_the_gpu_benchmark_measures_the_kernels_in_small(tmp_path):
    interpreter_or_skip()
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--tiny", "--out", str(tmp_path / "gpu.json")]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]}
    losses = [f"{name}, {engine}" for engine in ("triton", "tiles") for name in NAMES]
    assert set(rows) == {*losses, "evaluate", "epoch of tiny"}
    assert all(row["seconds"] > 0 and row["over_floor"] > 0 for row in rows.values())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(report("cpu")))
