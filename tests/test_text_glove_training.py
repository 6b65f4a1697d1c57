"""Co-occurrence counts and GloVe against loops, a float64 solver and a bound on memory."""

import tracemalloc

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.text.cooccurrence import count_cooccurrences
from lib.text.glove_training import Glove, NonZeros, value_and_gradient


def counts_by_loops(texts, vocabulary, window):
    counts = np.zeros((vocabulary, vocabulary))
    for text in texts:
        for i, word in enumerate(text):
            for j, other in enumerate(text):
                if i != j and abs(i - j) <= window:
                    counts[word, other] += 1 / abs(i - j)
    return counts


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=8),
    st.integers(1, 6),
    st.sampled_from([1, 7, 30, 1_000]),
)
def test_counts_are_those_of_loops(texts, window, chunk):
    flat = [word for text in texts for word in text]
    counts = count_cooccurrences(flat, [len(text) for text in texts], 6, window, chunk)
    np.testing.assert_allclose(counts.toarray(), counts_by_loops(texts, 6, window), atol=1e-12)
    assert (counts != counts.T).nnz == 0
    assert counts.has_canonical_format


def test_counts_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="word ids from 0 to 6, not from 0 to 5"):
        count_cooccurrences([0, 6], [2], 6)
    with pytest.raises(ValueError, match="2 word ids for texts of 3 words"):
        count_cooccurrences([0, 1], [1, 2], 6)


def zipf(words, vocabulary, seed=0):
    return (np.random.default_rng(seed).zipf(1.3, words) % vocabulary).astype(np.int32)


def test_memory_of_counting_is_bounded_by_the_chunk():
    """Ten times the text with the same result takes no more memory; the dense matrix would take 3.2 GB."""

    def peak(words, chunk, vocabulary=20_000):
        ids = np.tile(zipf(20_000, vocabulary), words // 20_000)
        lengths = np.full(words // 20, 20)
        tracemalloc.start()
        result = count_cooccurrences(ids, lengths, vocabulary, 10, chunk)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most, result.data.nbytes + result.indices.nbytes + result.indptr.nbytes

    chunk = 100_000
    short, size = peak(20_000, chunk)
    long, same = peak(200_000, chunk)
    assert same == size
    inputs = 200_000 * 4 + 10_000 * 8
    assert long < 5 * size + 100 * chunk + inputs
    assert long < 1.5 * short + inputs
    large, _ = peak(200_000, 10 * chunk)
    assert large > long  # the chunk is what bounds it


def small_problem(words=12, dim=3, seed=0):
    texts = zipf(400, words, seed)
    counts = count_cooccurrences(texts, [40] * 10, words, 4)
    generator = torch.Generator().manual_seed(seed)
    sides = [torch.randn(words, dim + 2, generator=generator, dtype=torch.float64) * 0.3 for _ in range(2)]
    sides[0][:, -1] = sides[1][:, -2] = 1
    return counts, sides


def objective_by_loops(counts, words, contexts, x_max, alpha):
    total = 0.0
    for i in range(len(words)):
        for j in range(len(words)):
            x = counts[i, j]
            if x > 0:
                w, b, c, d = words[i, :-2], words[i, -2], contexts[j, :-2], contexts[j, -1]
                weight = (x / x_max) ** alpha if x < x_max else 1.0
                total = total + weight * ((w * c).sum() + b + d - np.log(x)) ** 2
    return total


@pytest.mark.parametrize(("x_max", "alpha"), [(100.0, 0.75), (5.0, 0.5)])
def test_value_and_gradient_are_those_of_loops(x_max, alpha):
    counts, (words, contexts) = small_problem()
    value, *gradients = value_and_gradient(NonZeros.of(counts, x_max, alpha, torch.float64), words, contexts)
    leaves = [side.clone().requires_grad_() for side in (words, contexts)]
    expected = objective_by_loops(counts.toarray(), *leaves, x_max, alpha)
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=0)
    leaves[0].grad[:, -1] = leaves[1].grad[:, -2] = 0  # the ones are no parameters
    for gradient, leaf in zip(gradients, leaves, strict=True):
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-9, atol=1e-10)


def test_parts_of_the_entries_sum_to_the_whole():
    counts, sides = small_problem()
    entries = NonZeros.of(counts, 100.0, 0.75, torch.float64)
    whole = value_and_gradient(entries, *sides)
    parts = torch.randperm(len(entries), generator=torch.Generator().manual_seed(0)).split(17)
    sums = [
        sum(x) for x in zip(*(value_and_gradient(entries.take(p.sort().values), *sides) for p in parts), strict=True)
    ]
    for one, other in zip(whole, sums, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def reference(counts, dim, x_max=100.0, alpha=0.75, starts=3):
    """The lowest objective that L-BFGS finds from several starts, in float64."""
    entries, size = NonZeros.of(counts, x_max, alpha, torch.float64), counts.shape[0]

    def evaluate(flat):
        sides = [torch.ones(size, dim + 2, dtype=torch.float64) for _ in range(2)]
        parameters = torch.from_numpy(flat).view(2, size, dim + 1)
        sides[0][:, :-1], sides[1][:, :-2], sides[1][:, -1] = parameters[0], parameters[1, :, :-1], parameters[1, :, -1]
        value, of_words, of_contexts = value_and_gradient(entries, *sides)
        gradient = torch.cat([of_words[:, :-1], torch.cat([of_contexts[:, :-2], of_contexts[:, -1:]], 1)])
        return float(value), gradient.flatten().numpy()

    random = np.random.default_rng(0)
    start = [random.normal(size=2 * size * (dim + 1)) * 0.3 for _ in range(starts)]
    return min(
        scipy.optimize.minimize(evaluate, s, jac=True, method="L-BFGS-B", options={"maxiter": 1_000}).fun for s in start
    )


def test_objective_reaches_that_of_a_reference_solver():
    counts, _ = small_problem(words=40, dim=2)
    glove = Glove(dim=2, epochs=800, steps=5, device="cpu", learning_rate=0.5)
    sides = glove.optimise(counts)
    reached = float(value_and_gradient(NonZeros.of(counts, 100.0, 0.75), *sides)[0])
    best = reference(counts, 2)
    assert best > 0.1  # two dimensions cannot fit the counts: there is an objective left to compare
    assert reached < 1.01 * best
    assert glove.losses[0] > 5 * glove.losses[-1]


def test_planted_cooccurrence_decides_who_is_near():
    """Words of one half stand only beside words of the same half; the two halves are of equal frequency."""
    random = np.random.default_rng(0)
    texts = [[f"{'ab'[half]}{i}" for i in random.integers(10, size=8)] for half in random.integers(2, size=400)]
    glove = Glove(dim=8, window=5, min_count=1, epochs=40, device="cpu").fit(texts)
    vectors = glove.matrix([f"a{i}" for i in range(10)] + [f"b{i}" for i in range(10)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    within = (cosines[:10, :10].sum() - 10 + cosines[10:, 10:].sum() - 10) / 180
    assert within > cosines[:10, 10:].mean() + 0.3


def test_no_two_words_together_is_an_error():
    with pytest.raises(ValueError, match="no two frequent words"):
        Glove(min_count=1, device="cpu").fit([["a"], ["b"]])


@pytest.mark.gpu
def test_the_gpu_gives_the_objective_of_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    counts, sides = small_problem(words=40, dim=2)
    on_cpu = value_and_gradient(NonZeros.of(counts, 100.0, 0.75, torch.float64), *sides)
    entries = NonZeros.of(counts, 100.0, 0.75, torch.float64, device="cuda")
    on_gpu = value_and_gradient(entries, *(side.cuda() for side in sides))
    for one, other in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-9, atol=1e-9)
    losses = [Glove(dim=4, epochs=20, device=device) for device in ("cpu", "cuda")]
    for glove in losses:
        glove.optimise(counts)
    assert losses[1].losses[-1] == pytest.approx(losses[0].losses[-1], rel=0.05)
