"""Speed and memory of packed-code search beside exact float32 search, and what the corpora of the papers would take.

    python -m tests.benchmarks.hashing [--items 1000000] [--queries 64] [--rounds 3] [--estimate]

First table: the ten nearest of a million random 64-bit codes, against the exact float32 search that codes replace
(1,024 dimensions, the retrieval features of CRCGS) and against float32 of only 64 dimensions. Everything on one
thread; methods take turns; the best round counts, in CPU seconds, which a busy machine disturbs less. The
floor of a row is reading each vector once, or the matrix product, at the rates measured in the same run. All searches
of the codes must give the same distances. No judgement is passed.

`--estimate`: time and memory of notebook 09 on MIRFLICKR-25K, NUS-WIDE (TC21) and COCO with the published sizes of
networks, extrapolated from training steps and searches of those shapes that are timed here.
"""

import argparse
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch

from lib.evaluation.hashing import HammingRanking, hamming_search, pack
from lib.models.crcgs import CategoryNetwork
from lib.models.generators import FeatureGenerator, Generators
from lib.training.categories import LabelledItems
from lib.training.crcgs import PUBLISHED_RUNS, CrcgsObjective
from tests.benchmarks.floor import memory_rate, product_rate

K, BITS = 10, 64
FLOAT_TILE = 100_000  # items whose float scores are held at a time
# Items, training items, queries, labels, words of the text: papers and lib.data say where they come from.
CORPORA = {
    "mirflickr25k-dcmh": (20_015, 10_000, 2_000, 24, 1_386),
    "nuswide": (190_421, 10_500, 2_100, 21, 1_000),
    "coco": (123_287, 10_000, 5_000, 80, 2_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--estimate", action="store_true", help="the corpora of the papers instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.estimate:
        estimate()
    else:
        compare(arguments.items, arguments.queries, arguments.rounds)


def compare(items: int, queries: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.integers(0, 2**63, (items, 1), dtype=np.uint64)
    asked = gallery[rng.integers(items, size=queries)] ^ rng.integers(0, 2**20, (queries, 1), dtype=np.uint64)
    methods: dict[str, tuple[float, Callable[[], np.ndarray | None]]] = {}
    for dimensions in (1024, 64):
        methods[f"float32, {dimensions} dimensions"] = (
            items * dimensions * 4 / 1e6,
            float_search(items, queries, dimensions),
        )
    methods["packed codes (lib)"] = (gallery.nbytes / 1e6, lambda: hamming_search(asked, gallery, K)[0])
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(BITS)
    index.add(gallery.view(np.uint8))
    methods["packed codes (faiss)"] = (gallery.nbytes / 1e6, lambda: index.search(asked.view(np.uint8), K)[0])
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    answers = {}
    for _ in range(rounds):
        for name, (_, run) in methods.items():
            start = time.process_time()
            answers[name] = run()
            seconds[name].append(time.process_time() - start)
    packed = [answers[name] for name in methods if name.startswith("packed")]
    assert all((found == packed[0]).all() for found in packed), "the searches disagree"
    slowest = min(seconds["float32, 1024 dimensions"])
    memory, product = memory_rate(), product_rate()
    print(f"{items:,} items, {queries} queries, {K} nearest, one thread, {rounds} rounds, CPU time")
    for name, (megabytes, _) in methods.items():
        best = min(seconds[name])
        bound = 1e6 * megabytes / memory  # each vector is read once; those of float32 are multiplied, too
        if name.startswith("float32"):
            bound = max(bound, 2 * queries * 1e6 * megabytes / 4 / product)
        print(f"{name:<26} {1e3 * best / queries:9.3f} ms a query {queries / best:9,.0f} queries/s "
              f"{slowest / best:7.1f}x {megabytes:9,.0f} MB {best / bound:7.1f} times the floor")  # fmt: skip


def float_search(items: int, queries: int, dimensions: int) -> Callable[[], None]:
    """Exact search of dot products, a tile of the gallery at a time, keeping the best ten."""
    gallery, asked = torch.randn(items, dimensions), torch.randn(queries, dimensions)

    def run() -> None:
        best = torch.full((queries, K), -torch.inf)
        for tile in gallery.split(FLOAT_TILE):
            best = torch.cat([best, (asked @ tile.T).topk(K).values], 1).topk(K).values

    return run


def estimate() -> None:
    """Time a few training steps and searches of the published shapes and multiply."""
    image_dim = 1280
    print(f"one thread; pictures as {image_dim} frozen numbers, whose extraction is not counted")
    for name, (items, train, queries, labels, words) in CORPORA.items():
        run = PUBLISHED_RUNS[name]
        config = run.train
        torch.manual_seed(0)
        there, back = FeatureGenerator(image_dim, words), FeatureGenerator(words, image_dim)
        model = CategoryNetwork(image_dim, words, labels)
        objective = CrcgsObjective(Generators(there, back).freeze(), run.weights, train, config)
        optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, fused=True)
        known = torch.rand(config.batch_size, labels) < 0.1
        known[:, 0] = True
        batch = LabelledItems(torch.randn(len(known), image_dim), (torch.rand(len(known), words) < 0.01).float(), known)
        step = min(timed(lambda m=model, o=objective, b=batch, a=optimiser: one_step(m, o, b, a)) for _ in range(3))
        codes = pack(torch.randn(items, BITS)), torch.rand(items, labels).numpy() < 0.1
        part = queries // 20
        search = 20 * timed(
            lambda c=codes, p=part: HammingRanking.count(c[0][:p], c[0], c[1][:p], c[1]).average_precision()
        )
        training = step * config.epochs * -(-train // config.batch_size)
        weights = sum(p.numel() for p in [*model.parameters(), *objective.discriminators.parameters()]) * 16
        features = items * (image_dim + words) * 4
        print(f"{name}, {items:,} items: features {features / 1e9:.1f} GB, networks with Adam {weights / 1e9:.1f} GB,")
        print(
            f"  codes {codes[0].nbytes / 1e6:.1f} MB; training {training / 60:.0f} CPU minutes, {config.epochs} epochs,"
        )
        print(f"  hashed mAP in both directions {2 * search:.0f} CPU seconds")


def one_step(model, objective, batch, optimiser) -> None:
    optimiser.zero_grad(set_to_none=True)
    objective(model, batch).backward()
    optimiser.step()


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
