"""Approximate against exact search at a million vectors on one thread, in one run: recall at 10, speed, memory.

    python -m tests.benchmarks.search [--vectors 1000000] [--queries 1000]

The vectors are those of the OpenMoji pictures in the space of the search page, filled up with synthetic ones: a mixture
of three real vectors with random shares, plus Gaussian noise of the covariance of the real ones. The queries are real,
and of the kind that is harder for an index: texts (names and tag lists of the val and test split), which lie beside the
pictures and not among them; and pictures. Times are processor seconds. Prints numbers and passes no judgement.
"""

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from lib.data import load
from lib.search import Engine, Index
from tests.benchmarks.floor import memory_rate, product_rate

K, NOISE = 10, 0.5


def fill_up(real: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """(count, D) float32: the real vectors, then synthetic ones around them."""
    vectors = np.empty((count, real.shape[1]), dtype=np.float32)
    vectors[: len(real)] = real[:count]
    spread = NOISE * np.linalg.cholesky(np.cov(real.T) + 1e-9 * np.eye(real.shape[1])).T.astype(np.float32)
    for start in range(len(real), count, 50_000):
        part = vectors[start : start + 50_000]
        shares = random.dirichlet((0.5, 0.5, 0.5), len(part)).astype(np.float32)
        part[:] = random.standard_normal(part.shape, dtype=np.float32) @ spread
        for corner in range(3):
            part += shares[:, corner : corner + 1] * real[random.integers(0, len(real), len(part))]
    return vectors


def milliseconds(index: Index, queries: np.ndarray, at_once: int) -> float:
    """Processor time of one query, asked `at_once` together."""
    start = time.process_time()
    for first in range(0, len(queries), at_once):
        index.search(queries[first : first + at_once], K)
    return 1000 * (time.process_time() - start) / len(queries)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean share of the true K nearest that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(0)

    engine = Engine.of(load("openmoji"), say=print)
    corpus, dim = engine.corpus, engine.index.dim
    real = np.stack([engine.index.vector(id_) for id_ in corpus.image_ids])
    held_out = corpus.take(np.isin(corpus.split, ["val", "test"]))
    texts = [*held_out.texts()[0], *held_out.tag_texts()[0]][: options.queries]
    queries = {"texts": engine.encode(texts), "pictures": real[random.permutation(len(real))[: options.queries]]}
    vectors = fill_up(real, options.vectors, random)
    print(f"{len(vectors):,} vectors of {dim} numbers, {min(len(real), len(vectors)):,} of them real; one thread")

    start = time.process_time()
    exact = Index(vectors)
    print(f"exact        built in {time.process_time() - start:6.1f} s, {4 * dim} bytes a vector")
    start = time.process_time()
    approximate = Index(vectors, approximate=True)
    taken = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        approximate.save(folder)
        size = (Path(folder) / "vectors.faiss").stat().st_size / len(vectors)
    print(f"approximate  built in {taken:6.1f} s, {size:.0f} bytes a vector, {approximate.cells:,} cells")

    few = {kind: some[: max(10, options.queries // 20)] for kind, some in queries.items()}
    alone, together = milliseconds(exact, few["texts"], 1), milliseconds(exact, queries["texts"], 1_000)
    print(f"exact        {alone:8.2f} ms a query alone, {together:6.2f} ms among 1,000")
    read, multiplied = 4e3 * vectors.size / memory_rate(), 2e3 * vectors.size / product_rate()
    print(
        f"floor        {read:8.2f} ms to read all vectors, {multiplied:6.2f} ms to multiply them with a query: ", end=""
    )
    print(f"exact takes {alone / read:.1f} and {together / multiplied:.1f} times that")
    truth = {kind: exact.search(some, K)[1] for kind, some in queries.items()}
    shipped = approximate.probes
    for probes in (shipped // 4, shipped // 2, shipped, 2 * shipped):
        approximate.probes = max(1, probes)
        found = {kind: recall(approximate.search(some, K)[1], truth[kind]) for kind, some in queries.items()}
        mine = milliseconds(approximate, queries["texts"], 1), milliseconds(approximate, queries["texts"], 1_000)
        print(
            f"{approximate.probes:4} probes{' (shipped)' if probes == shipped else '':10} recall@{K}: "
            f"texts {found['texts']:.3f}, pictures {found['pictures']:.3f}; "
            f"{mine[0]:6.2f} ms alone ({alone / mine[0]:.0f} times as fast as exact), "
            f"{mine[1]:.2f} ms among 1,000 ({together / mine[1]:.0f} times)",
            flush=True,
        )


if __name__ == "__main__":
    main()
