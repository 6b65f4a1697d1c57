"""Latent Dirichlet allocation (Blei, Ng & Jordan 2003): a text is a mixture of topics, a topic a mixture of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lib.text.embedding import Documents, TextEmbedding, Texts, frequent_words, words_of
from lib.text.tokens import check_texts


@dataclass(eq=False)
class LDA(TextEmbedding):
    """Topic shares by online variational Bayes (Hoffman et al. 2010), trained by gensim; defaults of Gomez et al. 2018.

    A vector holds the shares of `dim` topics, which sum to 1. `passes` goes over all texts that often, `chunk` texts
    at a time. A word that occurs less than `min_count` times is unknown.
    """

    dim: int = 400
    min_count: int = 21
    passes: int = 1
    chunk: int = 5_000
    seed: int = 0

    def _model(self, words: Sequence[str]):
        from gensim.models import LdaModel

        return LdaModel(
            id2word=dict(enumerate(words)), num_topics=self.dim, passes=self.passes, chunksize=self.chunk,
            eval_every=None, random_state=self.seed,
        )  # fmt: skip

    def fit(self, documents: Documents) -> Self:
        """Learn from lists of words; ValueError where no word occurs `min_count` times."""
        self._kept(documents, self._train)
        return self

    def _train(self, documents: Documents) -> None:
        self.words = list(frequent_words(documents, self.min_count, "LDA"))
        self._row = {word: row for row, word in enumerate(self.words)}
        self.model = self._model(self.words)
        self.model.update([bag for bag in map(self._bag, documents) if bag])
        self._remember()

    def _remember(self) -> None:
        from scipy.special import psi

        counts = self.model.state.get_lambda().astype(np.float64)  # (topics, words)
        self._log_strength = psi(counts) - psi(counts.sum(1, keepdims=True))  # E[log beta]

    def _bag(self, text: str | Sequence[str]) -> list[tuple[int, int]]:
        rows = [self._row[word] for word in words_of(text) if word in self._row]
        return [(int(row), int(count)) for row, count in zip(*np.unique(rows, return_counts=True), strict=True)]

    def __contains__(self, word: str) -> bool:
        return word in self._row

    def vector(self, word: str) -> np.ndarray:
        """The topics of a word, (dim,) float32: how strongly each topic holds it (gensim's get_term_topics), sum 1.

        KeyError for an unknown word.
        """
        if word not in self:
            raise KeyError(f"LDA has no topics for {word!r}")
        # exp(E[log beta]) of a rare word is 0 in the float32 of gensim, in every topic: logarithms until the end.
        logarithms = self._log_strength[:, self._row[word]]
        strength = np.exp(logarithms - logarithms.max())
        return (strength / strength.sum()).astype(np.float32)

    def transform(self, texts: Texts) -> np.ndarray:
        """Topic shares (N, dim) float32 that explain each text best; zeros for a text without a known word."""
        from gensim.utils import get_random_state

        check_texts(texts, words=True)
        shares = np.zeros((len(texts), self.dim), dtype=np.float32)
        bags = [self._bag(text) for text in texts]
        for row, bag in zip(shares, bags, strict=True):
            if bag:
                self.model.random_state = get_random_state(self.seed)  # where the inference starts
                gamma, _ = self.model.inference([bag])
                row[:] = gamma[0] / gamma[0].sum()
        self.empty = sum(not bag for bag in bags)
        return shares

    def query(self, texts: Texts, **options) -> np.ndarray:
        """The mean of the topics of the words, (N, dim) float32: the query side of Gomez et al. (2018).

        Two or three words are too few to infer a mixture from; their topics are known from training. There are no
        options: TypeError for any.
        """
        if options:
            raise TypeError(f"LDA.query has no options, got {', '.join(options)}")
        check_texts(texts, words=True)
        known = [[word for word in words_of(text) if word in self] for text in texts]
        self.empty = sum(not words for words in known)
        zeros = np.zeros(self.dim, dtype=np.float32)
        return np.array([self.matrix(words).mean(0) if words else zeros for words in known]).reshape(-1, self.dim)

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        return {"statistics": self.model.state.sstats}, {"words": self.words}

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        self.words = notes["words"]
        self._row = {word: row for row, word in enumerate(self.words)}
        self.model = self._model(self.words)
        self.model.state.sstats = arrays["statistics"]
        self.model.sync_state()
        self._remember()
