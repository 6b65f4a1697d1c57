"""Time and memory of the losses beside the bare matrix product, VSE++'s, pytorch-metric-learning's and open_clip's.

    python -m tests.benchmarks.losses [--batch 4096] [--dim 1024] [--rounds 3] [--peers-up-to 4096] [--only info_nce]

Value and gradient of unit vectors in float32 on one thread, one text for each image. Methods take turns and times are
medians of processor seconds, so that a busy machine slows all; a single round has no warm-up. `products` is how many
matrix products of the batch the value and its gradient need at least; the last column is the time over that of so many
bare products measured in the same run, and 1.00 is the floor. Peak memory is what a method adds to embeddings and
gradients (Linux). A peer that is not installed is named. No judgement is passed.
"""

import argparse
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lib.losses import streaming
from tests.benchmarks.memory import reset_peak, status

PRODUCTS = {"max_of_hinges": 1, "sum_of_hinges": 4, "info_nce": 4, "sigmoid_loss": 3}
TEMPERATURE = 0.05


def vse_hardest(x: Tensor, y: Tensor) -> Tensor:
    """The max of hinges as the field writes it: whole matrices of costs, then the maximum."""
    scores = x @ y.T
    own = scores.diag()[:, None]
    same = torch.eye(len(x), dtype=torch.bool)
    of_image = (0.2 + scores - own).clamp(min=0).masked_fill(same, 0)
    of_text = (0.2 + scores - own.T).clamp(min=0).masked_fill(same, 0)
    return of_image.max(1)[0].sum() + of_text.max(0)[0].sum()


def peers() -> dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    """Name -> (the loss of ours it is to be compared with, value from embeddings)."""
    found = {"VSE++ style, dense": ("max_of_hinges", vse_hardest)}
    if importlib.util.find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.distances import CosineSimilarity
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import BatchHardMiner

        mine, triplet = BatchHardMiner(distance=CosineSimilarity()), TripletMarginLoss(0.2, distance=CosineSimilarity())

        def hardest(x: Tensor, y: Tensor) -> Tensor:
            a, b = torch.arange(len(x)), torch.arange(len(x))  # one object would drop the diagonal
            there, back = triplet(x, a, mine(x, a, y, b), y, b), triplet(y, b, mine(y, b, x, a), x, a)
            return there + back

        found["pytorch-metric-learning, hardest triplet"] = ("max_of_hinges", hardest)
        print("pytorch-metric-learning's NTXentLoss is left out: it needs batch ** 3 bytes, 69 GB at 4,096")
    else:
        print("pytorch-metric-learning is not installed: pip install -e .[test]")
    if importlib.util.find_spec("open_clip"):
        peer = importlib.import_module("open_clip.loss")  # optional: no dependency of the project
        clip, siglip = peer.ClipLoss(), peer.SigLipLoss()
        scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
        found["open_clip, ClipLoss"] = ("info_nce", lambda x, y: clip(x, y, torch.tensor(1 / TEMPERATURE)))
        found["open_clip, SigLipLoss"] = ("sigmoid_loss", lambda x, y: siglip(x, y, scale, bias))
    else:
        print("open_clip is not installed: pip install open_clip_torch")
    return found


def main(arguments: list[str] | None = None) -> list[dict]:
    """Measure, print the table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4_096)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-up-to", type=int, default=4_096, help="largest batch that peers get; they are dense")
    parser.add_argument(
        "--only", nargs="+", choices=PRODUCTS, default=PRODUCTS, help="losses to measure, with their peers"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = options.batch
    x, y = (normalize(torch.randn(n, options.dim), dim=1).requires_grad_() for _ in range(2))
    ids = torch.arange(n)
    methods = {
        f"lib.losses.streaming.{name}": (name, lambda x, y, name=name: getattr(streaming, name)(x, y, ids, ids))
        for name in PRODUCTS
    }
    if n <= options.peers_up_to:
        methods |= peers()
    else:
        print(f"no peers: they would hold several matrices of {n * n * 4 / 2**30:.1f} GB")
    methods = {name: (kind, loss) for name, (kind, loss) in methods.items() if kind in options.only}
    rows = measure(x, y, methods, options.rounds)
    print(f"\nlosses: batch {n:,}, {options.dim:,} dimensions, float32, one thread, median of {options.rounds}")
    print(f"{'':44s}{'CPU s':>8s}{'/ product':>10s}{'products':>10s}{'/ floor':>9s}{'peak MB':>9s}")
    for row in rows:
        print(
            f"{row['method']:44s}{row['seconds']:8.3f}{row['ratio']:10.2f}{row['products']:10d}"
            f"{row['ratio'] / row['products']:9.2f}{row['peak_mb']:9.0f}",
            flush=True,
        )
    return rows


def measure(x: Tensor, y: Tensor, methods: dict, rounds: int) -> list[dict]:
    tall = max(1, min(len(x), 2**24 // len(y)))  # a bare product that does not hold the matrix either
    buffer = torch.empty(tall, len(y))

    @torch.no_grad()
    def product() -> None:
        for start in range(0, len(x), tall):
            block = x[start : start + tall]
            torch.mm(block, y.T, out=buffer[: len(block)])

    def step(loss: Callable) -> None:
        x.grad = y.grad = None
        loss(x, y).backward()

    runs = {"one matrix product": (1, product)}
    runs |= {name: (PRODUCTS[kind], lambda loss=loss: step(loss)) for name, (kind, loss) in methods.items()}
    seconds, peak = {name: [] for name in runs}, dict.fromkeys(runs, 0.0)
    for _, run in runs.values() if rounds > 1 else ():
        run()
    for _ in range(rounds):
        for name, (_, run) in runs.items():
            x.grad = y.grad = None
            before = reset_peak()
            start = time.thread_time()
            run()
            seconds[name].append(time.thread_time() - start)
            gradients = 0.0 if x.grad is None else 2 * x.numel() * x.element_size() / 2**20
            peak[name] = max(peak[name], status("VmHWM") - before - gradients)
    bare = statistics.median(seconds["one matrix product"])
    return [
        {"method": name, "products": products, "seconds": (taken := statistics.median(seconds[name])),
         "ratio": taken / bare, "peak_mb": peak[name]}
        for name, (products, _) in runs.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
