"""How often words stand near each other, counted without a dense matrix."""

from collections.abc import Sequence

import numpy as np

CHUNK = 1_000_000  # pairs of words looked at together


def count_cooccurrences(ids: np.ndarray, lengths: Sequence[int], vocabulary: int, window: int = 10, chunk: int = CHUNK):
    """Count pairs of words at most `window` apart in the same text: a symmetric scipy CSR array (V, V) float64.

    `ids` (T,) are the word ids, 0 to vocabulary - 1, of all texts in a row, `lengths` how many belong to each. A pair
    d words apart counts 1/d for both words (Pennington et al. 2014, section 4.2), so that a word near itself counts
    twice. Beside the result at most 100 bytes for each of `chunk` pairs, and five times the size of the result, are
    held. ValueError for ids outside the vocabulary, or lengths that do not add up.
    """
    import scipy.sparse

    ids, ends = np.asarray(ids, dtype=np.int32), np.cumsum(lengths, dtype=np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise ValueError(f"word ids from {ids.min()} to {ids.max()}, not from 0 to {vocabulary - 1}")
    if len(ids) != (ends[-1] if len(ends) else 0):
        raise ValueError(f"{len(ids)} word ids for texts of {ends[-1] if len(ends) else 0} words")
    shape = (vocabulary, vocabulary)
    runs: list = []  # partial sums, each more than twice as large as the next: merged as in merge sort
    block = max(1, chunk // window)
    for start in range(0, len(ids), block):
        words = ids[start : start + block + window]
        text = np.searchsorted(ends, np.arange(start, start + len(words)), side="right").astype(np.int32)
        part = scipy.sparse.coo_array(_pairs(words, text, min(block, len(words)), window), shape=shape).tocsr()
        while runs and runs[-1].nnz <= 2 * part.nnz:
            part = runs.pop() + part
        runs.append(part)
    total = scipy.sparse.csr_array(shape, dtype=np.float64)
    while runs:
        total = runs.pop() + total
    return (total + total.T.tocsr()).tocsr()


def _pairs(words: np.ndarray, text: np.ndarray, first: int, window: int):
    """Weight, left and right word of all pairs whose left word is among the first `first`."""
    left, right, weights = [], [], []
    for distance in range(1, min(window, len(words) - 1) + 1):
        stop = min(first, len(words) - distance)
        same = text[:stop] == text[distance : distance + stop]
        left.append(words[:stop][same])
        right.append(words[distance : distance + stop][same])
        weights.append(np.full(len(left[-1]), 1 / distance))
    if not left:
        return np.zeros(0), (np.zeros(0, np.int32), np.zeros(0, np.int32))
    return np.concatenate(weights), (np.concatenate(left), np.concatenate(right))
