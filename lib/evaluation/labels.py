"""Retrieval by shared labels: average precision and precision at K, exact and fair to ties.

Cross-modal hashing and web-image papers call a gallery item relevant when it shares at least one label with
the query. The order of equal scores is arbitrary, so every measure is its expectation over all orders of
the tied items (McSherry and Najork, ECIR 2008), which neither rewards nor punishes coarse scores such as
Hamming distances. Where nothing ties, mean average precision agrees with scikit-learn and torchmetrics;
where scores tie, scikit-learn takes the tied items as one step of the precision-recall curve and torchmetrics
an arbitrary order.

Two scores tie if they agree in their first 23 significant bits (float32 has 24): one bit, below the rounding
error of any float32 dot product, is given to the relevance of the item, so that 4-byte keys can be sorted
instead of scores with an index.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib.evaluation.parallel import ROW_MULTIPLE, for_each, workers
from lib.evaluation.scoring import EmbeddingScores, full_float32

TILE = 8_000_000  # scores ranked at a time, 32 MB
IN_CACHE = 16  # they are made, and once sorted measured, in so many parts that stay in cache

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]  # relevance, gain (q, G), relevant items (q,) -> (q,)


class MeanOverQueries(float):
    """A mean that remembers what it is the mean of.

    Attributes:
        per_query: (Q,) float64, NaN for a query without a relevant item.
        excluded: number of those queries.
    """

    per_query: np.ndarray
    excluded: int

    def __new__(cls, per_query: np.ndarray) -> MeanOverQueries:
        counted = per_query[~np.isnan(per_query)]
        if not len(counted):
            raise ValueError(f"none of the {len(per_query):,} queries shares a label with any gallery item")
        mean = super().__new__(cls, counted.mean())
        mean.per_query, mean.excluded = per_query, len(per_query) - len(counted)
        return mean


def mean_average_precision(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    query_labels: Tensor | np.ndarray,
    gallery_labels: Tensor | np.ndarray,
    k: int | None = None,
    *,
    cosine: bool = True,
    tile: int = TILE,
) -> MeanOverQueries:
    """Mean over queries of the average precision of the whole ranking or of its first k, as a fraction.

    A query's average precision is the sum of the precisions at the places of relevant items, divided by
    min(k, its relevant items in the gallery). Beware: much hashing code divides "mAP@k" by the relevant items
    among the first k, which never gives less. Queries without a relevant item are left out and counted in
    `.excluded`.

    Args:
        queries: (Q, D), any floating type.
        gallery: (G, D), as the queries.
        query_labels: (Q, C) bool.
        gallery_labels: (G, C) bool.
        k: the first so many count; None for the whole ranking.
        cosine: cosine similarity, else dot products.
        tile: scores held at a time.

    Raises:
        ValueError: shapes that do not fit, NaN in an embedding, or no relevant item for any query.
    """
    places = _places(k, len(gallery))

    def measure(relevance: Tensor, gain: Tensor, relevant: Tensor) -> Tensor:
        return gain[:, :places].sum(1) / relevant.clamp(max=places)

    return _mean(measure, queries, gallery, query_labels, gallery_labels, cosine, tile)


def map_at_r(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    query_labels: Tensor | np.ndarray,
    gallery_labels: Tensor | np.ndarray,
    *,
    cosine: bool = True,
    tile: int = TILE,
) -> MeanOverQueries:
    """Mean over queries of the average precision of the first R, where R items are relevant, as a fraction.

    Musgrave et al., "A Metric Learning Reality Check", ECCV 2020; for image-text retrieval Chun et al., "ECCV
    Caption", ECCV 2022.

    Args:
        queries, gallery, query_labels, gallery_labels, cosine, tile: as for `mean_average_precision`.

    Raises:
        ValueError: as `mean_average_precision`.
    """

    def measure(relevance: Tensor, gain: Tensor, relevant: Tensor) -> Tensor:
        beyond = torch.arange(gain.shape[1], device=gain.device) >= relevant[:, None]
        return gain.masked_fill_(beyond, 0).sum(1) / relevant

    return _mean(measure, queries, gallery, query_labels, gallery_labels, cosine, tile)


def precision_at_k(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    query_labels: Tensor | np.ndarray,
    gallery_labels: Tensor | np.ndarray,
    k: int,
    *,
    cosine: bool = True,
    tile: int = TILE,
) -> MeanOverQueries:
    """Mean over queries of the share of relevant items among the first k, as a fraction.

    Args:
        queries, gallery, query_labels, gallery_labels, cosine, tile: as for `mean_average_precision`.
        k: at most the gallery.

    Raises:
        ValueError: as `mean_average_precision`.
    """
    places = _places(k, len(gallery))

    def measure(relevance: Tensor, gain: Tensor, relevant: Tensor) -> Tensor:
        return torch.where(relevant > 0, relevance[:, :places].sum(1) / places, torch.nan)

    return _mean(measure, queries, gallery, query_labels, gallery_labels, cosine, tile)


def _places(k: int | None, gallery: int) -> int:
    if k is not None and not 1 <= k <= gallery:
        raise ValueError(f"k must be from 1 to the {gallery:,} items of the gallery, not {k}")
    return gallery if k is None else k


@torch.no_grad()
def _mean(measure: Measure, queries, gallery, query_labels, gallery_labels, cosine, tile) -> MeanOverQueries:
    """Rank the gallery for a tile of queries at a time and average a measure of the rankings."""
    scores = EmbeddingScores(queries, gallery, cosine, ("queries", "gallery"))
    query_labels = _labels(query_labels, "query_labels", scores.rows)
    gallery_labels = _labels(gallery_labels, "gallery_labels", scores.columns)
    if query_labels.shape[1] != gallery_labels.shape[1]:
        raise ValueError(f"{query_labels.shape[1]} labels of queries, {gallery_labels.shape[1]} of the gallery")
    places = torch.arange(1, len(gallery) + 1, device=scores.rows.device)
    step = max(1, tile // workers(places.device) // len(gallery))
    starts, part_of_step = range(0, len(queries), step), max(1, step // IN_CACHE)
    width = -(-len(gallery) // (IN_CACHE * ROW_MULTIPLE)) * ROW_MULTIPLE
    per_query = torch.empty(len(queries), dtype=torch.float64)

    def measure_rows(start: int) -> None:
        rows = slice(start, min(start + step, len(queries)))
        keys = _ranking(scores, rows, query_labels[rows], gallery_labels, width)
        values = [measure(*_expected(part, places)) for part in keys.split(part_of_step)]
        per_query[rows] = torch.cat(values).double().cpu()

    with full_float32():
        for_each(starts, measure_rows, places.device)
    return MeanOverQueries(per_query.numpy())


def _labels(labels: Tensor | np.ndarray, name: str, embeddings: Tensor) -> Tensor:
    labels = torch.as_tensor(labels)
    if labels.ndim != 2 or labels.dtype != torch.bool or len(labels) != len(embeddings):
        shape = tuple(labels.shape)
        raise ValueError(f"{name} must be bool of shape ({len(embeddings)}, labels), not {labels.dtype} {shape}")
    return labels.to(embeddings.device, torch.float32)


def _ranking(scores: EmbeddingScores, rows: slice, query_labels: Tensor, gallery_labels: Tensor, width: int) -> Tensor:
    """Sorted keys (q, G) of the whole gallery for some queries, made for some columns at a time.

    All products have the same shape, the last overlapping the one before, because products of different shapes
    round the same numbers differently, and identical items are to tie.
    """
    items = len(gallery_labels)
    keys = torch.empty(len(query_labels), items, dtype=torch.int32, device=query_labels.device)
    for start in range(0, items, width):
        columns = slice(max(0, min(start, items - width)), min(start + width, items))
        shares_label = torch.mm(query_labels, gallery_labels[columns].T) > 0
        keys[:, columns] = _keys(scores(rows, columns), shares_label)
    return _sort(keys)


def _keys(scores: Tensor, relevant: Tensor) -> Tensor:
    """Scores and relevance (q, G) as int32 keys that rise as scores fall; the last bit says if it is relevant.

    The bits of a positive float grow with its value, those of a negative one are turned round. Subtracting
    from zero puts the best first, and makes one zero of 0.0 and -0.0.
    """
    keys = (0 - scores).view(torch.int32)
    keys ^= (keys >> 31).bitwise_and_(0x7FFFFFFF)
    return keys.bitwise_and_(-2).bitwise_or_(relevant)


def _sort(keys: Tensor) -> Tensor:
    """Every row in ascending order, in place on a CPU, where numpy sorts integers several times faster than torch."""
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values
    keys.numpy().sort(axis=1)
    return keys


def _expected(keys: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At each of the places (G,) of the sorted keys (q, G), over all orders of the items that tie, (q, G) float32:

    relevance: the probability that the item there is relevant. gain: the expectation of the precision there
    if it is relevant, else 0. And how many items are relevant to each query, (q,) float32.
    """
    relevance = (keys & 1).float()
    seen = relevance.cumsum(1)
    gain = (relevance * seen).div_(places)

    # A run of n tied items, r relevant, after `before` relevant ones: each place is relevant with r / n, and
    # then (r - 1) / (n - 1) of the places of the run above it are expected to be.
    score = keys >> 1
    row, left = (score[:, 1:] == score[:, :-1]).nonzero(as_tuple=True)
    if len(row):
        first = torch.ones(len(row), dtype=torch.bool, device=keys.device)
        first[1:] = (left[1:] != left[:-1] + 1) | (row[1:] != row[:-1])
        n = torch.diff(first.nonzero().flatten(), append=left.new_tensor([len(left)])) + 1
        row, start = row[first], left[first]
        before = seen[row, start] - relevance[row, start]
        r = seen[row, start + n - 1] - before

        run = torch.repeat_interleave(n)
        offset = torch.arange(len(run), device=keys.device) - (n.cumsum(0) - n)[run]
        place, share = start[run] + offset, (r / n)[run]
        above = before[run] + offset * ((r - 1) / (n - 1))[run]
        relevance[row[run], place] = share
        gain[row[run], place] = share * (above + 1) / (place + 1)
    return relevance, gain, seen[:, -1]
