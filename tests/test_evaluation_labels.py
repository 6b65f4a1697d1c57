"""Average precision against enumeration of every tie order, scikit-learn, torchmetrics, and chance."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.evaluation import map_at_r, mean_average_precision, precision_at_k
from lib.evaluation.labels import _keys, _sort


def one_query(scores, relevant):
    """Inputs for one query whose dot products with the gallery are the scores."""
    gallery = torch.tensor(scores, dtype=torch.float32)[:, None]
    return torch.ones(1, 1), gallery, torch.ones(1, 1, dtype=torch.bool), torch.tensor(relevant)[:, None]


def naive_average_precision(ranked, k):
    """Precision at the places of relevant items among the first k, over min(k, relevant items)."""
    found, total = 0, 0.0
    for place, is_relevant in enumerate(ranked[:k], 1):
        found += is_relevant
        total += is_relevant * found / place
    return total / min(k, sum(ranked))


def all_rankings(scores, relevant):
    """Relevance down the ranking, for every order of the items in which scores do not rise."""
    orders = itertools.permutations(range(len(scores)))
    return [
        [relevant[item] for item in order]
        for order in orders
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


@st.composite
def tied_scores(draw):
    size = draw(st.integers(1, 6))
    scores = draw(st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0]), min_size=size, max_size=size))
    relevant = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    return scores, relevant, draw(st.integers(1, size))


@given(tied_scores())
def test_every_measure_is_the_mean_over_all_orders_of_the_ties(case):
    scores, relevant, k = case
    rankings, inputs = all_rankings(scores, relevant), one_query(scores, relevant)

    def mean(measure):
        return pytest.approx(np.mean([measure(ranked) for ranked in rankings]), rel=1e-5)

    size, total = len(scores), sum(relevant)
    whole = mean_average_precision(*inputs, cosine=False)
    assert whole == mean(lambda ranked: naive_average_precision(ranked, size))
    at_k = mean_average_precision(*inputs, k=k, cosine=False)
    assert at_k == mean(lambda ranked: naive_average_precision(ranked, k))
    assert map_at_r(*inputs, cosine=False) == mean(lambda ranked: naive_average_precision(ranked, total))
    assert precision_at_k(*inputs, k=k, cosine=False) == mean(lambda ranked: sum(ranked[:k]) / k)


def multi_label(queries=40, items=300, dimensions=12, labels=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query_labels = torch.rand(queries, labels, generator=generator) < 0.25
    gallery_labels = torch.rand(items, labels, generator=generator) < 0.25
    query_labels[:, 0] |= ~query_labels.any(1)
    directions = torch.randn(labels, dimensions, generator=generator)
    x = query_labels.float() @ directions + 2 * torch.randn(queries, dimensions, generator=generator)
    y = gallery_labels.float() @ directions + 2 * torch.randn(items, dimensions, generator=generator)
    return x, y, query_labels, gallery_labels


def cosine(x, y):
    return torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(y).T


def shares_label(query_labels, gallery_labels):
    return (query_labels[:, None] & gallery_labels).any(2)


@pytest.mark.slow
def test_agrees_with_scikit_learn_and_torchmetrics_where_nothing_ties():
    from sklearn.metrics import average_precision_score
    from torchmetrics.retrieval import RetrievalMAP, RetrievalPrecision

    inputs = multi_label()
    similarity, relevant = (1 + cosine(*inputs[:2])) / 2, shares_label(*inputs[2:])
    result = mean_average_precision(*inputs)
    theirs = [average_precision_score(r, s) for r, s in zip(relevant, similarity, strict=True)]
    np.testing.assert_allclose(result.per_query, theirs, rtol=1e-5)
    # torchmetrics 1.9 takes items whose score is not above zero for irrelevant, hence (1 + cosine) / 2
    query = torch.arange(len(relevant))[:, None].expand_as(relevant).flatten()
    flat = (similarity.flatten(), relevant.flatten(), query)
    assert result == pytest.approx(RetrievalMAP()(*flat).item(), rel=1e-5)
    at_10 = precision_at_k(*inputs, k=10)
    assert at_10 == pytest.approx(RetrievalPrecision(top_k=10)(*flat).item(), rel=1e-5)
    assert 0.2 < result < 0.9, "a case that is neither hopeless nor trivial"


def test_scikit_learn_differs_where_scores_tie():
    from sklearn.metrics import average_precision_score

    scores, relevant = [1.0, 1.0], [True, False]
    assert average_precision_score(relevant, scores) == 0.5  # both tied items come in one step
    assert mean_average_precision(*one_query(scores, relevant), cosine=False) == 0.75  # (1 + 1/2) / 2


def test_the_sign_of_the_scores_does_not_matter():
    scores, relevant = [0.5, 0.25, 0.125, -0.5], [False, True, False, True]
    below_zero = [score - 2 for score in scores]
    expected = (1 / 2 + 2 / 4) / 2
    for values in (scores, below_zero):
        assert mean_average_precision(*one_query(values, relevant), cosine=False) == pytest.approx(expected)


@pytest.mark.parametrize("tile", [1, 1000, 3001])
def test_tile_size_and_gallery_order_do_not_matter_even_with_ties(tile):
    x, y, query_labels, gallery_labels = multi_label()
    x, y = x.sign(), y.sign()  # codes: thirteen different scores
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(3))
    for measure in (mean_average_precision, map_at_r, lambda *a, **o: precision_at_k(*a, k=7, **o)):
        plain = measure(x, y, query_labels, gallery_labels, cosine=False)
        tiled = measure(x, y[order], query_labels, gallery_labels[order], cosine=False, tile=tile)
        np.testing.assert_allclose(tiled.per_query, plain.per_query, rtol=1e-6)


def test_constant_embeddings_score_what_random_ones_do():
    _, _, query_labels, gallery_labels = multi_label(queries=400, items=60)
    generator = torch.Generator().manual_seed(0)
    labels = (query_labels, gallery_labels)
    random = mean_average_precision(
        torch.randn(400, 64, generator=generator), torch.randn(60, 64, generator=generator), *labels
    )
    constant = mean_average_precision(torch.ones(400, 3), torch.ones(60, 3), *labels)
    assert random == pytest.approx(constant, abs=0.02)
    share = shares_label(*labels).float().mean().item()
    assert precision_at_k(torch.ones(400, 3), torch.ones(60, 3), *labels, k=5) == pytest.approx(share)


@given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=1, max_size=40), st.integers(0, 2**40))
def test_keys_sort_like_scores(scores, bits):
    scores = torch.tensor(scores)
    relevant = torch.tensor([bool(bits >> place & 1) for place in range(len(scores))])
    keys = _sort(_keys(scores[None], relevant[None]))[0]
    assert (keys & 1).sum() == relevant.sum()
    # undo the key: the scores come back in descending order, rounded to 23 bits
    bits = torch.where(keys < 0, keys ^ 0x7FFFFFFF, keys) & -2
    np.testing.assert_allclose(-bits.view(torch.float32), scores.sort(descending=True).values, rtol=2**-22)


def test_queries_without_a_relevant_item_are_left_out_and_counted():
    x, y, query_labels, gallery_labels = multi_label()
    query_labels[3] = False
    result = mean_average_precision(x, y, query_labels, gallery_labels)
    assert result.excluded == 1
    assert np.isnan(result.per_query[3])
    assert result == pytest.approx(np.nanmean(result.per_query))
    assert precision_at_k(x, y, query_labels, gallery_labels, k=5).excluded == 1
    assert map_at_r(x, y, query_labels, gallery_labels).excluded == 1
    with pytest.raises(ValueError, match="none of the 40 queries"):
        mean_average_precision(x, y, torch.zeros_like(query_labels), gallery_labels)


def test_numpy_and_half_precision_are_accepted():
    inputs = multi_label()
    x, y = inputs[0].bfloat16(), inputs[1].bfloat16()
    expected = mean_average_precision(x.float(), y.float(), *inputs[2:])
    assert mean_average_precision(x, y, *inputs[2:]) == expected
    assert mean_average_precision(x.float().numpy(), y.float().numpy(), *(v.numpy() for v in inputs[2:])) == expected


def test_bad_input_is_named():
    x, y, query_labels, gallery_labels = multi_label()
    with pytest.raises(ValueError, match="query_labels must be bool"):
        mean_average_precision(x, y, query_labels.float(), gallery_labels)
    with pytest.raises(ValueError, match=r"gallery_labels must be bool of shape \(300, labels\)"):
        mean_average_precision(x, y, query_labels, query_labels)
    with pytest.raises(ValueError, match="6 labels of queries, 5 of the gallery"):
        mean_average_precision(x, y, query_labels, gallery_labels[:, 1:])
    with pytest.raises(ValueError, match="k must be from 1 to the 300 items"):
        precision_at_k(x, y, query_labels, gallery_labels, k=301)
    y[5] = np.nan
    with pytest.raises(ValueError, match="row 5 of gallery holds NaN"):
        map_at_r(x, y, query_labels, gallery_labels)


@pytest.mark.gpu
def test_gpu_and_cpu_agree():
    inputs = multi_label(queries=100, items=2000, dimensions=64)
    on_gpu = mean_average_precision(*(value.cuda() for value in inputs))
    np.testing.assert_allclose(on_gpu.per_query, mean_average_precision(*inputs).per_query, rtol=1e-3)
