"""Speed and memory of packed-code search beside exact float32 search, and what the corpora of the papers would take.

    python -m tests.benchmarks.hashing [--items 1000000] [--queries 64] [--rounds 3] [--estimate]

First table: the ten nearest of a million random 64-bit codes, against the exact float32 search that codes replace
(1,024 dimensions, the retrieval features of CRCGS) and against float32 of only 64 dimensions. Everything on one
thread; methods take turns; the best round counts, in CPU seconds, which a busy machine disturbs less. The
floor of a row is reading each vector once, or the matrix product, at the rates measured in the same run. `lib` searches
by faiss's counting, which keeps the order of ties; its index of heaps stands beside it. Both must give the same
distances. No judgement is passed.

`--estimate`: time and memory of notebook 09 in the profiles mirflickr, nuswide (TC21) and coco, added up from training
steps and searches of those shapes that are timed here, in about two minutes.
"""

import argparse
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from PIL import Image

from lib.base.files import ROOT
from lib.evaluation.hashing import HammingRanking, hamming_search, pack
from lib.evaluation.labels import mean_average_precision
from lib.run.profile import load_profile
from lib.systems.crcgs import (
    CategoryNetwork,
    CrcgsObjective,
    CrcgsWeights,
    FeatureGenerator,
    FeaturePairs,
    Generators,
    HashedNetwork,
    HashLayer,
    LabelledItems,
    category_config,
    discriminative,
    generation,
    generation_config,
    hashing,
)
from lib.training import fit
from lib.vision import extract_features
from tests.benchmarks.floor import memory_rate, product_rate

K, BITS = 10, 64
FLOAT_TILE = 100_000  # items whose float scores are held at a time
PICTURE = 1280  # numbers of a picture
CORPORA = {"mirflickr": (20_015, 24), "nuswide": (190_421, 21), "coco": (123_287, 80)}  # profile: items, labels
# What notebook 09 trains for one seed: networks by labels or pairs alone (the base, that again for twice the
# passes, CMPM, DSCMR, contrast, DCMH at four lengths), and with teachers (four rows of the ablation); and the lengths
# of its codes.
PLAIN, TAUGHT, LENGTHS = 10, 4, (16, 32, 64, 128)


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
    methods["packed codes (heaps)"] = (gallery.nbytes / 1e6, lambda: index.search(asked.view(np.uint8), K)[0])
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
    """Time the parts of notebook 09 at the sizes of its profiles for the papers' corpora, and add them up."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)) for _ in range(32)]
    arguments = {"device": "cpu", "cache": False, "progress": False, "threads": 1}
    extract_features(pictures[:4], **arguments)
    encoding = timed(lambda: extract_features(pictures, **arguments)) / len(pictures)
    print("notebook 09 with one seed: hours of one CPU core, gigabytes of memory")
    print(f"{'profile':<10}{'items':>8}  pictures  generators  training  hash layers  evaluation     all   memory")
    for name, (items, labels) in CORPORA.items():
        profile = load_profile(ROOT / "notebooks" / "profiles", name)["09"]
        hours, memory = parts(profile, items, labels, items * encoding)
        print(f"{name:<10}{items:>8,}  {'  '.join(f'{h / 3600:>8.1f}' for h in hours)}  {sum(hours) / 3600:6.1f}"
              f"  {memory / 1e9:4.0f} GB", flush=True)  # fmt: skip


def parts(profile: dict, items: int, labels: int, encoding: float) -> tuple[list[float], float]:
    """CPU seconds of encoding, generators, training, hash layers and evaluation with one seed, and bytes of memory."""
    words, hidden, dim, batch = (
        profile[f] for f in ("bag_of_words", "category_hidden", "category_dim", "category_batch")
    )
    train, _, queries = (n * (labels if profile.get("split_per_label") else 1) for n in profile["split_counts"])
    steps, config = -(-train // batch), category_config(1, batch)
    torch.manual_seed(0)
    known = torch.rand(batch, labels) < 0.1
    known[:, 0] = True
    of_batch = LabelledItems(torch.randn(batch, PICTURE), (torch.rand(batch, words) < 0.01).float(), known)
    there, back = FeatureGenerator(PICTURE, words, hidden, dim), FeatureGenerator(words, PICTURE, hidden, dim)
    ten = LabelledItems(*(part.repeat(10, 1) for part in (of_batch.images, of_batch.texts, of_batch.labels)))
    quiet = {"device": "cpu", "progress": False}
    generator = 0.0
    for model, pairs in ((there, FeaturePairs(ten.images, ten.texts)), (back, FeaturePairs(ten.texts, ten.images))):
        again = {"val": FeaturePairs(pairs.sources[:2], pairs.targets[:2]), "objective": generation} | quiet
        generator += timed(lambda m=model, p=pairs, a=again: fit(m, p, generation_config(1, batch), **a)) / 10
    objective = CrcgsObjective(
        Generators(there, back).freeze(), CrcgsWeights(), train, config, True, profile["discriminator_width"]
    )
    base, full = (
        timed(lambda o=chosen: fit(network(profile, labels), ten, config, objective=o, **quiet)) / 10
        for chosen in (discriminative(), objective)
    )
    layers = HashedNetwork(HashLayer(dim, BITS, min(hidden, 512)))
    features = LabelledItems(torch.randn(10 * batch, dim), torch.randn(10 * batch, dim), ten.labels)
    layer = timed(lambda: fit(layers, features, config, objective=hashing(), **quiet)) / 10
    share = queries // 20
    sides, known = torch.randn(items, dim), torch.rand(items, labels).numpy() < 0.1
    codes = pack(sides[:, :BITS])
    ranked = timed(lambda: mean_average_precision(sides[:share], sides, known[:share], known))
    counted = timed(lambda: HammingRanking.count(codes[:share], codes, known[:share], known).average_precision())
    epochs = profile["category_epochs"] * steps
    hours = [
        encoding,
        profile["generator_epochs"] * steps * generator,
        epochs * (PLAIN * base + TAUGHT * full),
        profile["code_epochs"] * steps * len(LENGTHS) * layer,
        20 * 2 * ((PLAIN - len(LENGTHS) + TAUGHT) * ranked + 3 * len(LENGTHS) * counted),
    ]
    kept = 2 * (PICTURE + words) + 2 * dim * (PLAIN - len(LENGTHS) + TAUGHT) + 2 * 3 * sum(LENGTHS)
    return hours, 4 * items * kept


def network(profile: dict, labels: int) -> CategoryNetwork:
    """The network of a profile."""
    hidden, dim, layers = (profile[f"category_{field}"] for field in ("hidden", "dim", "layers"))
    return CategoryNetwork(PICTURE, profile["bag_of_words"], labels, hidden, dim, dim, layers)


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
