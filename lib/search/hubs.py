"""Hubs: items that are near to everything, and scores that hold them back.

In spaces of many dimensions a few items are among the nearest of very many queries (Radovanović et al., JMLR 2010).
Both remedies here lower an item's score by a penalty that depends on the item alone, so they cost nothing at search
time: rank by cosine - penalty.
"""

import numpy as np

TILE = 4_000_000  # cosines held at a time


def occurrences(rows: np.ndarray, items: int) -> np.ndarray:
    """How often each item (items,) int64 is among the nearest of the queries: rows (Q, k) as `Index.search` gives them.

    The mean is Q k / items. Raises ValueError for a row that is no item.
    """
    rows = np.asarray(rows)
    if rows.size and not (rows.min() >= 0 and rows.max() < items):
        raise ValueError(f"rows must be from 0 to {items - 1}, found {rows.min()} to {rows.max()}")
    return np.bincount(rows.ravel(), minlength=items)


def skewness(counts: np.ndarray) -> float:
    """The third standardised moment of the occurrences: 0 for a symmetric distribution, far above 0 where hubs are.

    Raises ValueError where all counts are equal.
    """
    counts = np.asarray(counts, dtype=np.float64)
    centred, deviation = counts - counts.mean(), counts.std()
    if deviation == 0:
        raise ValueError("all items occur equally often: skewness is not defined")
    return float((centred**3).mean() / deviation**3)


def csls_penalties(gallery: np.ndarray, references: np.ndarray, k: int = 10) -> np.ndarray:
    """Half the mean cosine of each item with its k nearest references, (G,) float32.

    Ranking by cosine - penalty is ranking by CSLS, 2 cos(q, g) - r(q) - r(g) (Conneau et al., ICLR 2018, Eq. 3),
    because r(q) is the same for all items. gallery: (G, D), references: (R, D), unit vectors; the references are
    queries one expects, such as the training texts, never the test queries. Raises ValueError for k beyond them.
    """
    if not 1 <= k <= len(references):
        raise ValueError(f"k must be from 1 to the {len(references):,} references, not {k}")
    return _by_tile(gallery, references, lambda cosines: np.partition(cosines, -k, axis=1)[:, -k:].mean(1) / 2)


def inverted_softmax_penalties(gallery: np.ndarray, references: np.ndarray, temperature: float = 0.05) -> np.ndarray:
    """temperature * log mean exp(cosine / temperature) of each item over the references, (G,) float32.

    Ranking by cosine - penalty is ranking by the inverted softmax (Smith et al., ICLR 2017, Eq. 2): the probability
    that the item, asked for its query, names this one. Arguments as in `csls_penalties`.
    """

    def soft_maximum(cosines: np.ndarray) -> np.ndarray:
        top = cosines.max(1, keepdims=True)
        return top[:, 0] + temperature * np.log(np.exp((cosines - top) / temperature).mean(1))

    return _by_tile(gallery, references, soft_maximum)


def _by_tile(gallery: np.ndarray, references: np.ndarray, penalty) -> np.ndarray:
    """The penalties of some items at a time, so that memory does not grow with the gallery."""
    gallery, references = np.asarray(gallery, np.float32), np.asarray(references, np.float32)
    if gallery.ndim != 2 or references.ndim != 2 or gallery.shape[1] != references.shape[1] or not len(references):
        raise ValueError(f"gallery (G, D) and references (R, D) do not fit: {gallery.shape} and {references.shape}")
    step = max(1, TILE // len(references))
    tiles = [penalty(gallery[start : start + step] @ references.T) for start in range(0, len(gallery), step)]
    return np.concatenate(tiles).astype(np.float32)
