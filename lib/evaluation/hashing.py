"""Binary codes: packed 64 bits a word, searched by counting differing bits, scored with ties by expectation.

A code of K bits has only K + 1 different distances, so a ranking is full of ties, and the order in which a sort leaves
them moves hashed mAP. Here every measure is its expectation over all orders of the tied items. It needs no sort: how
many items, and how many relevant ones, lie at each distance says everything.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

COUNT_TILE = 4_000_000  # distances that are counted at a time


def pack(codes: Tensor | np.ndarray) -> np.ndarray:
    """Pack the signs of codes (N, K) into words (N, W): a number above zero, or True, is bit 1.

    Words have 16, 32 or 64 bits, the most that divide K: 16 bits take 2 bytes an item, 128 bits two words of 8.

    Raises:
        ValueError: K is no multiple of 16, or an entry is NaN.
    """
    codes = np.asarray(codes.detach().cpu() if isinstance(codes, Tensor) else codes)
    if codes.ndim != 2 or codes.shape[1] % 16 or not codes.shape[1]:
        raise ValueError(f"codes must be (N, bits) with bits a multiple of 16, not {codes.shape}")
    if np.isnan(codes).any():
        raise ValueError("codes hold NaN")
    width = next(bytes_ for bytes_ in (8, 4, 2) if codes.shape[1] % (8 * bytes_) == 0)
    return np.packbits(codes > 0, axis=1).view(f"u{width}")


def hamming_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return how many bits differ: packed (Q, W) and (G, W) -> (Q, G) uint8, or uint16 for 256 bits and more."""
    bits = 8 * queries.dtype.itemsize * queries.shape[1]
    if queries.dtype != gallery.dtype or queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(
            f"codes of different lengths: {queries.shape} {queries.dtype}, {gallery.shape} {gallery.dtype}"
        )
    total = np.bitwise_count(queries[:, None, 0] ^ gallery[None, :, 0])
    if bits > 255:
        total = total.astype(np.uint16)
    for word in range(1, queries.shape[1]):
        total += np.bitwise_count(queries[:, None, word] ^ gallery[None, :, word])
    return total


def hamming_search(queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest codes of a packed gallery (G, W) to packed queries (Q, W): distances and rows, both (Q, k).

    Exact, by faiss, and with all its threads; of equal distances the lower row comes first.

    Example:
        >>> import numpy as np
        >>> from lib.evaluation.hashing import hamming_search, pack
        >>> gallery = pack(np.tril(np.ones((17, 16), dtype=bool), -1))  # row i has i bits
        >>> distances, rows = hamming_search(gallery[[1]], gallery, 4)
        >>> distances.tolist(), rows.tolist()
        ([[0, 1, 1, 2]], [[1, 0, 2, 3]])

    Raises:
        ValueError: codes of different lengths, or k above G.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must be from 1 to the {len(gallery):,} codes of the gallery, not {k}")
    if queries.dtype != gallery.dtype or queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(
            f"codes of different lengths: {queries.shape} {queries.dtype}, {gallery.shape} {gallery.dtype}"
        )
    import faiss

    # Its counting search keeps rows in the order of the gallery within a distance; its heaps, the default, do not
    # promise which of equal codes they keep.
    asked, known = (np.ascontiguousarray(codes).view(np.uint8) for codes in (queries, gallery))
    distances, rows = faiss.knn_hamming(asked, known, k, variant="mc")
    return distances, rows


@dataclass(frozen=True)
class HammingRanking:
    """How many gallery items, and how many relevant ones, lie at each distance from each query.

    Fractions throughout; a query without a relevant item has NaN.

    Attributes:
        items, relevant: (Q, K + 1) int64.
    """

    items: np.ndarray
    relevant: np.ndarray

    @classmethod
    def count(cls, queries, gallery, query_labels, gallery_labels) -> "HammingRanking":
        """Count for packed codes (Q, W) and (G, W) and labels (Q, C) and (G, C) bool; sharing one is relevant."""
        levels = 8 * queries.dtype.itemsize * queries.shape[1] + 1
        query_labels, gallery_labels = (np.asarray(labels) for labels in (query_labels, gallery_labels))
        for name, labels, codes in (("query", query_labels, queries), ("gallery", gallery_labels, gallery)):
            if labels.dtype != bool or labels.ndim != 2 or len(labels) != len(codes):
                raise ValueError(
                    f"{name} labels must be bool ({len(codes)}, labels), not {labels.dtype} {labels.shape}"
                )
        step, tiles = max(1, COUNT_TILE // len(gallery)), []
        gallery_labels = gallery_labels.T.astype(np.float32)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            distances = hamming_distances(queries[part], gallery)
            relevant = query_labels[part].astype(np.float32) @ gallery_labels > 0
            cell = np.arange(len(distances))[:, None] * levels + distances
            cell = cell * 2 + relevant
            tiles.append(np.bincount(cell.ravel(), minlength=2 * levels * len(distances)).reshape(-1, levels, 2))
        counts = np.concatenate(tiles)
        return cls(counts.sum(2), counts[:, :, 1])

    def average_precision(self, k: int | None = None) -> np.ndarray:
        """Expected average precision of the first k (None: of all) over all orders of tied items, (Q,).

        In a level of n items, r relevant, after B items with R relevant ones, place B + j is relevant with probability
        r / n, and then R + 1 + (j - 1)(r - 1) / (n - 1) of the first B + j are expected to be. The sum over j needs
        only sums of 1 / (B + j). Divided by min(k, relevant items in the gallery).
        """
        gallery = int(self.items[0].sum())
        k = gallery if k is None else k
        if not 1 <= k <= gallery:
            raise ValueError(f"k must be from 1 to the {gallery:,} items of the gallery, not {k}")
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, gallery + 1))])
        before, found = (np.cumsum(counts, 1) - counts for counts in (self.items, self.relevant))
        places = np.clip(k - before, 0, self.items)
        inverse = harmonic[before + places] - harmonic[before]
        share = self.relevant / np.maximum(self.items, 1)
        rest = np.where(self.items > 1, (self.relevant - 1) / np.maximum(self.items - 1, 1), 0)
        gain = share * ((found + 1) * inverse + rest * (places - (before + 1) * inverse))
        total = np.minimum(self.relevant.sum(1), k)
        return np.where(total > 0, gain.sum(1) / np.maximum(total, 1), np.nan)

    def precision_at(self, n: int) -> np.ndarray:
        """Expected precision among the first n, (Q,): the top-N curve is its mean for many n."""
        before = np.cumsum(self.items, 1) - self.items
        places = np.clip(n - before, 0, self.items)
        precision = (places * self.relevant / np.maximum(self.items, 1)).sum(1) / n
        return np.where(self.relevant.sum(1) > 0, precision, np.nan)

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall (K + 1,) of all items within each Hamming radius, means over the queries that find any.

        Queries without a relevant item are left out; so is, from the precision of a radius, one that finds nothing.
        """
        counted = self.relevant.sum(1) > 0
        items, relevant = (np.cumsum(counts[counted], 1) for counts in (self.items, self.relevant))
        found = items > 0
        precision = np.where(found, relevant / np.maximum(items, 1), 0).sum(0) / np.maximum(found.sum(0), 1)
        return precision, (relevant / relevant[:, -1:]).mean(0)
