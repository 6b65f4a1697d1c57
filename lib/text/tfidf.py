"""Latent semantic analysis (Deerwester et al. 1990): tf-idf and the largest singular vectors."""

from dataclasses import dataclass

import numpy as np

from lib.text.embedding import Documents, Texts, WordVectors, count_matrix, frequent_words, tfidf


@dataclass(eq=False)
class TfidfSVD(WordVectors):
    """Tf-idf vectors of the texts on their `dim` strongest directions (truncated SVD of scikit-learn).

    The vector of a word is its row of the right singular vectors, so that the document vector of "tfidf" weights, the
    default here, is the projection of the document's tf-idf vector.
    """

    dim: int = 400
    min_count: int = 5
    seed: int = 0

    def _train(self, documents: Documents) -> None:
        from sklearn.decomposition import TruncatedSVD

        kept = frequent_words(documents, self.min_count, "TfidfSVD")
        if self.dim > len(kept):
            raise ValueError(f"TfidfSVD: dim is {self.dim}, but only {len(kept)} words are frequent enough")
        counts, words = count_matrix([[word for word in document if word in kept] for document in documents])
        frequency = np.bincount(counts.indices, minlength=len(words))
        svd = TruncatedSVD(self.dim, random_state=self.seed).fit(tfidf(counts, frequency, len(documents)))
        column = {word: i for i, word in enumerate(words)}
        self._learned(kept, svd.components_.T[[column[word] for word in kept]])

    def transform(self, texts: Texts, weights: str = "tfidf") -> np.ndarray:
        """Document vectors (N, dim) float32 as in `WordVectors.transform`, with tf-idf weights by default."""
        return super().transform(texts, weights)
