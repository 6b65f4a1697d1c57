"""The GPU's half: losses, evaluation and an epoch of training on synthetic data, written as JSON.

    python -m tests.benchmarks.gpu [--out gpu.json] [--tiny]

Losses of 65,536 x 1,024 in bfloat16 by the Triton kernels and in tiles, evaluation of 5,000 x 25,000 in float32, an
epoch of 145,000 (Flickr30k) and of 566,000 (COCO) pairs with a GRU of 1,024 on resident features. Each row has seconds
(median), the peak of memory that is added, and the seconds of its matrix products alone: those of losses and evaluation
measured here, those of an epoch at the rate of the large bfloat16 product. No number has been measured on a GPU yet.
`--tiny` does all of it in small on any device, which is how the tests know that it runs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import normalize

from lib.evaluation import evaluate
from lib.losses import max_of_hinges, streaming
from lib.losses.streaming.engines import why_no_kernels
from lib.models import JointEmbedding
from lib.models.gru import GRUEncoder
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import last_pool
from lib.training import Pairs
from lib.training.throughput import ahead, fused_adamw, pad_to_multiple, resident, train_step
from tests.benchmarks.losses import PRODUCTS
from tests.benchmarks.training import WORD_DIM, WORDS, products

FULL = {"batch": 65_536, "dim": 1_024, "images": 5_000, "epochs": {"flickr30k": 145_000, "coco": 566_000},
        "train_batch": 1_024, "hidden": 1_024, "features": 2_048, "rounds": 5}  # fmt: skip
TINY = {"batch": 96, "dim": 16, "images": 50, "epochs": {"tiny": 64}, "train_batch": 16, "hidden": 8, "features": 12,
        "rounds": 1}  # fmt: skip


def measured(work: Callable[[], object], device: torch.device, rounds: int) -> dict:
    """Median seconds and, on a GPU, the peak that `work` adds to the memory in use, MB."""
    taken, peak = [], None
    for number in range(rounds + 1):  # the first one warms up
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
            peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        if number:
            taken.append(time.perf_counter() - start)
    return {"seconds": statistics.median(taken), "peak_mb": peak}


def losses(size: dict, device: torch.device) -> tuple[list[dict], float]:
    """Value and gradient of every streaming loss by every engine, and the rate of the bare product, FLOP/s."""
    x, y = (
        normalize(torch.randn(size["batch"], size["dim"], device=device), dim=1).bfloat16().requires_grad_()
        for _ in range(2)
    )
    ids = torch.arange(size["batch"], device=device)
    tall = min(len(x), 8_192)

    def step(name: str, engine: str) -> None:
        x.grad = y.grad = None
        getattr(streaming, name)(x, y, ids, ids, engine=engine).backward()

    with torch.no_grad():
        product = measured(lambda: [part @ y.T for part in x.split(tall)], device, size["rounds"])
    engines = ["tiles"] if why_no_kernels(x) else ["triton", "tiles"]
    rows = [
        {"name": f"{name}, {engine}",
         **measured(lambda name=name, engine=engine: step(name, engine), device, size["rounds"]),
         "floor_seconds": needed * product["seconds"]}
        for engine in engines for name, needed in PRODUCTS.items()
    ]  # fmt: skip
    return rows, 2 * len(x) * len(y) * size["dim"] / product["seconds"]


def ranking(size: dict, device: torch.device) -> list[dict]:
    """Both directions of retrieval, five captions an image."""
    owner = torch.arange(size["images"], device=device).repeat_interleave(5)
    x = normalize(torch.randn(size["images"], size["dim"], device=device), dim=1)
    y = normalize(x[owner] + torch.randn(len(owner), size["dim"], device=device), dim=1)
    product = measured(lambda: x @ y.T, device, size["rounds"])
    row = measured(lambda: evaluate(x, y, owner), device, size["rounds"])
    return [{"name": "evaluate", **row, "floor_seconds": product["seconds"]}]


def epochs(size: dict, device: torch.device, rate: float) -> list[dict]:
    """One pass over as many pairs as the corpora have."""
    rows = []
    for name, texts in size["epochs"].items():
        lengths = torch.randint(6, 20, (texts,))
        words = torch.randint(4, WORDS, (texts, 20)) * (torch.arange(20) < lengths[:, None])
        images = torch.randn(-(-texts // 5), size["features"], dtype=torch.float16 if texts > 1_000 else torch.float32)
        pairs = resident(Pairs(images, words, torch.arange(texts) // 5, lengths), device)
        sentence = PooledBranch(GRUEncoder(WORDS, WORD_DIM, size["hidden"]), last_pool)
        model = JointEmbedding(Projection(size["features"], size["hidden"]), sentence).to(device)
        optimiser = fused_adamw(model.parameters(), 2e-4)
        found: list[torch.Tensor] = []

        def epoch(pairs=pairs, model=model, optimiser=optimiser, found=found) -> None:
            batches = (pad_to_multiple(batch, 4) for batch in pairs.epoch(size["train_batch"], 0, 0))
            for batch in ahead(batches, device):
                found.append(train_step(model, batch, max_of_hinges, optimiser, bf16=device.type == "cuda"))

        row = measured(epoch, device, 1)
        needed = products(int(lengths.sum()), texts, size["train_batch"], size["hidden"], size["features"])
        rows.append({"name": f"epoch of {name}", **row, "floor_seconds": needed / rate,
                     "pairs_a_second": texts / row["seconds"], "last_loss": float(found[-1])})  # fmt: skip
    return rows


def main(arguments: list[str] | None = None) -> dict:
    """Measure, print and write; return what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        parser.error("torch.cuda.is_available() is False: this needs an NVIDIA GPU, or --tiny")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    size = TINY if options.tiny else FULL
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    rows, rate = losses(size, device)
    result = {"device": name, "torch": torch.__version__, "size": size, "tflops": rate / 1e12, "rows": []}
    print(f"{name}: bfloat16 product {rate / 1e12:.3g} TFLOP/s")
    for part in (lambda: rows, lambda: ranking(size, device), lambda: epochs(size, device, rate)):
        for row in part():
            row["over_floor"] = row["seconds"] / row["floor_seconds"]
            result["rows"].append(row)
            print(" ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                           for key, value in row.items()), flush=True)  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1))  # also if a later part fails
    return result


if __name__ == "__main__":
    main()
