"""Speed and memory of the evaluation beside the bare matrix product, full sorting, torchmetrics and scikit-learn.

    python -m tests.benchmarks.evaluation [--quick] [--threads 2] [--rounds 5]

Two tables: ranks in both directions with medians and 1K folds (5,000 images, 25,000 captions, 1,024 dimensions),
and mean average precision over the whole ranking (2,000 queries, 18,015 items, 24 labels, 1,024 dimensions).
Methods take turns, so that a busy machine slows all; those marked 1x run once. Ratios are of the best rounds to the
fastest matrix product. On a busy machine trust the CPU seconds of one thread: threads that wait for each other burn
time. Peak memory is what a method adds to the embeddings (Linux). No judgement is passed.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP

from lib.evaluation import evaluate, mean_average_precision
from tests.benchmarks.memory import reset_peak, status

BLOCK = 1_000_000  # scores that a peer handles at a time, where it can


@dataclass
class Method:
    name: str
    run: Callable[[], float | None]  # returns the score that all methods must agree on
    slow: bool = False
    share: int = 1  # runs on one query in so many, and its time is multiplied
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    score: float | None = None

    def measure(self) -> None:
        before = reset_peak()
        start, cpu_start = time.perf_counter(), time.process_time()
        self.score = self.run()
        self.seconds.append(self.share * (time.perf_counter() - start))
        self.cpu_seconds.append(self.share * (time.process_time() - cpu_start))
        self.peak = max(self.peak, status("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the items, 256 dimensions")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    part, dimensions = (5, 256) if arguments.quick else (1, 1024)
    ranking(5_000 // part, dimensions, arguments.rounds)
    labels(2_000 // part, 18_015 // part, dimensions, arguments.rounds)


def ranking(n: int, dimensions: int, rounds: int) -> None:
    owner = torch.arange(n).repeat_interleave(5)
    x = normalize(torch.randn(n, dimensions))
    y = normalize(x[owner] + 7 / dimensions**0.5 * torch.randn(len(owner), dimensions))
    protocol = "coco-5k" if n == 5_000 else "full"

    def argsort() -> float:
        """Both directions as the field's code does it, except that rows are sorted many at a time."""
        hits, step = 0, max(1, BLOCK // len(y))
        for start in range(0, n, step):
            order = np.argsort(-(x[start : start + step] @ y.T).numpy(), axis=1)
            (owner.numpy()[order] == np.arange(start, min(start + step, n))[:, None]).argmax(1)
        step = max(1, BLOCK // n)
        for start in range(0, len(y), step):
            order = np.argsort(-(y[start : start + step] @ x.T).numpy(), axis=1)
            hits += ((order == owner.numpy()[start : start + step, None]).argmax(1) < 10).sum()
        return 100 * hits / len(y)

    share = 100

    def torchmetrics() -> None:
        for queries, gallery, relevant in (
            (x[::share], y, torch.arange(n)[::share, None] == owner),
            (y[::share], x, owner[::share, None] == torch.arange(n)),
        ):
            scores = (1 + queries @ gallery.T) / 2  # a positive that scores below zero is not counted there
            query = torch.arange(len(queries))[:, None].expand_as(scores)
            for k in (1, 5, 10):
                RetrievalHitRate(top_k=k)(scores.flatten(), relevant.flatten(), query.flatten())

    methods = [
        Method("one matrix product", lambda: bare(x, y, n, len(y))),
        Method("matrix product in tiles", lambda: bare(x, y, 1000, 1000)),
        Method("lib.evaluation.evaluate", lambda: evaluate(x, y, owner, protocol).as_dict()["t2i_r10"]),
        Method("argsort of every row", argsort, slow=True),
        Method(f"torchmetrics, R@1, 5, 10, on 1/{share}", torchmetrics, slow=True, share=share),
    ]
    compare(f"ranks: {n:,} images, {len(y):,} captions, {dimensions:,} dimensions, {protocol}", methods, rounds, "R@10")


def labels(queries: int, items: int, dimensions: int, rounds: int) -> None:
    query_labels, gallery_labels = torch.rand(queries, 24) < 0.15, torch.rand(items, 24) < 0.15
    query_labels[:, 0] |= ~query_labels.any(1)
    directions = torch.randn(24, dimensions)
    x = normalize(query_labels.float() @ directions + 10 * torch.randn(queries, dimensions))
    y = normalize(gallery_labels.float() @ directions + 10 * torch.randn(items, dimensions))

    def similarity_and_relevance() -> tuple[torch.Tensor, torch.Tensor]:
        return (1 + x @ y.T) / 2, query_labels.float() @ gallery_labels.float().T > 0

    def scikit_learn() -> float:
        pairs = zip(*(matrix.numpy() for matrix in similarity_and_relevance()), strict=True)
        return 100 * float(np.mean([average_precision_score(relevant, scores) for scores, relevant in pairs]))

    def torchmetrics() -> float:
        scores, relevant = similarity_and_relevance()
        query = torch.arange(queries)[:, None].expand_as(scores)
        return 100 * RetrievalMAP()(scores.flatten(), relevant.flatten(), query.flatten()).item()

    ours = "lib.evaluation.mean_average_precision"
    methods = [
        Method("one matrix product", lambda: bare(x, y, queries, items)),
        Method("matrix product in tiles", lambda: bare(x, y, 1000, 1000)),
        Method(ours, lambda: 100 * mean_average_precision(x, y, query_labels, gallery_labels)),
        Method("scikit-learn", scikit_learn, slow=True),
        Method("torchmetrics", torchmetrics, slow=True),
    ]
    size = f"{queries:,} queries, {items:,} items, 24 labels, {dimensions:,} dimensions"
    compare(f"mean average precision: {size}", methods, rounds, "mAP")


def bare(x: torch.Tensor, y: torch.Tensor, rows: int, columns: int) -> None:
    """The product alone, into one buffer."""
    buffer = torch.empty(rows, columns)
    for top in range(0, len(x), rows):
        for left in range(0, len(y), columns):
            a, b = x[top : top + rows], y[left : left + columns]
            torch.mm(a, b.T, out=buffer[: len(a), : len(b)])


def compare(title: str, methods: list[Method], rounds: int, score: str) -> None:
    for method in methods[:3]:
        method.run()  # warm up
    for number in range(rounds):
        for method in methods:
            if number == 0 or not method.slow:
                method.measure()
    product = min(min(method.seconds) for method in methods[:2])
    cpu_product = min(min(method.cpu_seconds) for method in methods[:2])
    print(f"\n{title}; {torch.get_num_threads()} threads, best of {rounds}")
    print(f"{'':40s}{'seconds':>9s}{'ratio':>8s}{'CPU s':>9s}{'ratio':>8s}{'peak MB':>9s}{score:>8s}", flush=True)
    for method in methods:
        best, cpu_best = min(method.seconds), min(method.cpu_seconds)
        times = f"{best:9.2f}{best / product:8.2f}{cpu_best:9.2f}{cpu_best / cpu_product:8.2f}"
        value = "" if method.score is None else f"{method.score:8.2f}"
        print(f"{method.name + (' 1x' if method.slow else ''):40s}{times}{method.peak:9.0f}{value}", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
