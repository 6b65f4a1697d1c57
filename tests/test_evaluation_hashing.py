"""Codes: packing, search, and measures against all orders of tied items and against float32 scores."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lib.evaluation import mean_average_precision, precision_at_k
from lib.evaluation.categories import CLEAN, PUBLISHED, evaluate_categories, paired_map_difference
from lib.evaluation.hashing import HammingRanking, hamming_distances, hamming_search, pack


def random_codes(seed, n, bits):
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, bits)).astype(np.float32)


@pytest.mark.parametrize(("bits", "bytes_"), [(16, 2), (32, 4), (64, 8), (128, 16), (48, 6), (320, 40)])
def test_packed_distances_are_those_of_floats(bits, bytes_):
    a, b = random_codes(0, 9, bits), random_codes(1, 21, bits)
    assert pack(a).nbytes == 9 * bytes_
    assert (hamming_distances(pack(a), pack(b)) == (bits - a @ b.T) / 2).all()
    assert (pack(torch.from_numpy(a)) == pack(a > 0)).all()


def test_codes_that_cannot_be_packed_or_compared():
    for bad, message in ((np.ones((2, 10)), "multiple of 16"), (np.full((2, 16), np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            pack(bad)
    with pytest.raises(ValueError, match="different lengths"):
        hamming_distances(pack(np.ones((1, 16))), pack(np.ones((1, 32))))
    with pytest.raises(ValueError, match="k must be"):
        hamming_search(pack(np.ones((1, 16))), pack(np.ones((3, 16))), 4)


@pytest.mark.parametrize("bits", [16, 32, 48, 64, 128, 320])
@pytest.mark.parametrize(("items", "k"), [(40, 6), (40, 40), (9_000, 300)])
def test_search_equals_a_stable_sort_of_float_scores(bits, items, k):
    a, b = random_codes(2, 5, bits), random_codes(3, items, bits)
    b[items // 4 :: 3] = a[0]  # more codes of one distance than are asked for
    distances, rows = hamming_search(pack(a), pack(b), k)
    expected = np.argsort(-(a @ b.T), axis=1, kind="stable")[:, :k]
    assert (rows == expected).all()
    assert (distances == (bits - np.take_along_axis(a @ b.T, expected, 1)) / 2).all()


def test_search_takes_every_second_row_of_packed_codes():
    codes = pack(random_codes(2, 80, 64))
    assert (hamming_search(codes[:9:2], codes[::2], 1)[1] == np.arange(5)[:, None]).all()


def by_all_orders(distances, relevant, k, measure):
    """Mean of a measure over all orders of items with equal distance."""
    groups = [np.flatnonzero(distances == level) for level in np.unique(distances)]
    values = []
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        values.append(measure(relevant[list(itertools.chain(*orders))], k, relevant.sum()))
    return np.mean(values)


def average_precision(ranked, k, total):
    precisions = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return (precisions * ranked)[:k].sum() / min(k, total)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=7), st.integers(1, 7))
def test_measures_equal_the_mean_over_all_orders_of_tied_items(drawn, k):
    distances, relevant = (np.array(values) for values in zip(*drawn, strict=True))
    k = min(k, len(drawn))
    codes = np.tile(np.arange(16)[None] < distances[:, None], (1, 1))  # distance d from a code of zeros: d bits
    ranking = HammingRanking.count(pack(np.zeros((1, 16))), pack(codes), np.ones((1, 1), bool), relevant[:, None])
    if not relevant.any():
        assert np.isnan(ranking.average_precision(k)).all()
        return
    assert_allclose(ranking.average_precision(k)[0], by_all_orders(distances, relevant, k, average_precision))
    hits = by_all_orders(distances, relevant, k, lambda ranked, k, _: ranked[:k].mean())
    assert_allclose(ranking.precision_at(k)[0], hits)


@pytest.mark.parametrize("k", [None, 50])
def test_counting_agrees_with_ranking_float_scores(k):
    a, b = random_codes(4, 30, 16), random_codes(5, 400, 16)
    rng = np.random.default_rng(6)
    labels = rng.random((30, 5)) < 0.3, rng.random((400, 5)) < 0.3
    ranking = HammingRanking.count(pack(a), pack(b), *labels)
    expected = mean_average_precision(a, b, *labels, k=k, cosine=False).per_query
    assert_allclose(ranking.average_precision(k), expected, atol=1e-6)
    assert_allclose(ranking.precision_at(50), precision_at_k(a, b, *labels, k=50, cosine=False).per_query, atol=1e-6)


def test_precision_and_recall_within_a_radius():
    a, b = random_codes(7, 6, 16), random_codes(8, 50, 16)
    labels = np.ones((6, 1), bool), np.arange(50)[:, None] % 3 == 0
    precision, recall = HammingRanking.count(pack(a), pack(b), *labels).precision_recall()
    distances = hamming_distances(pack(a), pack(b))
    for radius in (5, 8, 16):
        inside = distances <= radius
        found = inside.any(1)
        share = (inside & labels[1].T).sum(1)[found] / inside.sum(1)[found]
        assert_allclose(precision[radius], share.mean() if found.any() else 0)
        assert_allclose(recall[radius], ((inside & labels[1].T).sum(1) / labels[1].sum()).mean())


SPLIT = np.array(["train"] * 20 + ["val"] * 4 + ["test"] * 10 + ["web"] * 6)


def test_protocols_say_who_is_in_the_database():
    ((queries, database),) = PUBLISHED.rounds(SPLIT)
    assert set(SPLIT[queries]) == {"test"}
    assert set(SPLIT[database]) == {"train", "val", "web"}
    first, second = CLEAN.rounds(SPLIT)
    assert sorted([*first[0], *second[0]]) == np.flatnonzero(SPLIT == "test").tolist()
    for queries, database in (first, second):
        assert set(SPLIT[database]) == {"test"}
        assert not set(queries) & set(database)
    with pytest.raises(ValueError, match="0 items"):
        CLEAN.rounds(SPLIT[:20])


@pytest.mark.parametrize("protocol", [CLEAN, PUBLISHED], ids=lambda p: p.name)
def test_scores_of_codes_are_those_of_their_floats(protocol):
    images, texts = torch.from_numpy(random_codes(9, 40, 32)), torch.from_numpy(random_codes(10, 40, 32))
    labels = np.eye(4, dtype=bool)[np.arange(40) % 4]
    packed = evaluate_categories(images, texts, labels, SPLIT, protocol, codes=True)
    floats = evaluate_categories(images, texts, labels, SPLIT, protocol)
    assert_allclose(packed.i2t, floats.i2t, atol=1e-6)
    assert_allclose(packed.t2i, floats.t2i, atol=1e-6)
    assert len(packed.i2t) == 10
    assert packed.as_dict()["map_avg"] == pytest.approx((np.nanmean(packed.i2t) + np.nanmean(packed.t2i)) / 2)


def test_paired_interval_of_a_known_difference():
    labels = np.eye(4, dtype=bool)[np.arange(40) % 4]
    right = torch.eye(4)[torch.arange(40) % 4]
    luck = torch.from_numpy(random_codes(11, 40, 32))
    split = np.full(40, "test")
    good, bad = (evaluate_categories(x, x, labels, split, CLEAN) for x in (right, luck))
    assert good.as_dict()["map_avg"] == 1
    found = paired_map_difference([good], [bad], n=2000)
    assert found.difference == pytest.approx(100 * (1 - bad.as_dict()["map_avg"]))
    assert found.low < found.difference < found.high
    assert found.low > 0
    assert found.p < 0.01
    with pytest.raises(ValueError, match="different tests"):
        paired_map_difference([good], [evaluate_categories(luck, luck, labels, SPLIT, PUBLISHED)])
