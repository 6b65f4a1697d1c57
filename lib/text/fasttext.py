"""fastText (Bojanowski et al. 2017): a word is the sum of its pieces, so a new word has a vector, too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.text.embedding import Documents, WordVectors, frequent_words


@dataclass(eq=False)
class FastText(WordVectors):
    """Vectors of words and of their pieces of 3 to 6 letters, trained by gensim; defaults of Gomez et al. (2018).

    A word that was not in the training texts gets the mean of its pieces that were: KeyError, and zeros in
    `transform`, only if it shares none. Pieces are hashed into `buckets` of buckets x dim x 4 bytes, so that two pieces
    may share one; gensim's own default is 2,000,000. The other settings are those of `Word2Vec`.
    """

    dim: int = 400
    window: int = 8
    min_count: int = 5
    epochs: int = 25
    skip_gram: bool = False
    negative: int = 5
    sample: float = 1e-3
    buckets: int = 200_000
    shortest: int = 3
    longest: int = 6
    seed: int = 0
    workers: int = 1

    def _train(self, documents: Documents) -> None:
        import gensim.models

        frequent_words(documents, self.min_count, "FastText")
        model = gensim.models.FastText(
            documents, vector_size=self.dim, window=self.window, min_count=self.min_count, epochs=self.epochs,
            sg=int(self.skip_gram), negative=self.negative, sample=self.sample, bucket=self.buckets,
            min_n=self.shortest, max_n=self.longest, seed=self.seed, workers=self.workers,
        )  # fmt: skip
        self._learned(model.wv.index_to_key, model.wv.vectors)
        # The buckets of no training word hold random numbers: they are left out.
        self.pieces = np.unique(np.concatenate([*map(np.asarray, model.wv.buckets_word)])).astype(np.int64)
        self.piece_vectors = model.wv.vectors_ngrams[self.pieces].astype(np.float32)

    def _pieces(self, word: str) -> np.ndarray:
        """Rows of `piece_vectors` for the known pieces of a word."""
        from gensim.models.fasttext import ft_ngram_hashes

        hashes = np.array(ft_ngram_hashes(word, self.shortest, self.longest, self.buckets), dtype=np.int64)
        rows = np.searchsorted(self.pieces, hashes)
        inside = rows < len(self.pieces)
        return rows[inside][self.pieces[rows[inside]] == hashes[inside]]

    def __contains__(self, word: str) -> bool:
        return word in self._row or len(self._pieces(word)) > 0

    def _vectors_of(self, words: Sequence[str]) -> np.ndarray:
        rows = [
            self.vectors[self._row[word]] if word in self._row else self.piece_vectors[self._pieces(word)].mean(0)
            for word in words
        ]
        return np.array(rows)

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        arrays, notes = super()._state()
        return {**arrays, "pieces": self.pieces, "piece_vectors": self.piece_vectors}, notes

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        super()._restore(arrays, notes)
        self.pieces, self.piece_vectors = arrays["pieces"], arrays["piece_vectors"]
