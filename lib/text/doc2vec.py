"""Doc2vec, also called paragraph vectors (Le & Mikolov 2014): a document is a word that every window sees."""

import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from lib.text.embedding import Documents, TextEmbedding, Texts, frequent_words, words_of
from lib.text.tokens import check_texts


@dataclass(eq=False)
class Doc2Vec(TextEmbedding):
    """Document vectors trained by gensim; the defaults are those of Gomez et al. (2018).

    `dm=False` is PV-DBOW (the document predicts its words; no word vector is learned), `True` is PV-DM (document and
    window predict the word). The vector of a new text is learned by `epochs` passes over it with the network held
    still; it starts from the same random numbers each time, so that a text has one vector. A word's vector is that
    of the text which is this word. `negative` and `sample` are those of `Word2Vec`.
    """

    dim: int = 400
    window: int = 8
    min_count: int = 10
    epochs: int = 50
    dm: bool = False
    negative: int = 5
    sample: float = 1e-3
    seed: int = 0
    workers: int = 1

    def _model(self):
        import gensim.models

        return gensim.models.Doc2Vec(
            vector_size=self.dim, window=self.window, min_count=self.min_count, epochs=self.epochs, dm=int(self.dm),
            negative=self.negative, sample=self.sample, seed=self.seed, workers=self.workers,
        )  # fmt: skip

    def fit(self, documents: Documents) -> Self:
        """Learn from lists of words; ValueError where no word occurs `min_count` times."""
        self._kept(documents, self._train)
        return self

    def _train(self, documents: Documents) -> None:
        from gensim.models.doc2vec import TaggedDocument

        frequent_words(documents, self.min_count, "Doc2Vec")
        tagged = [TaggedDocument(list(words), [i]) for i, words in enumerate(documents)]
        self.model = self._model()
        self.model.build_vocab(tagged)
        self.model.train(tagged, total_examples=len(tagged), epochs=self.epochs)
        self.words = list(self.model.wv.index_to_key)

    def __contains__(self, word: str) -> bool:
        return word in self.model.wv.key_to_index

    def vector(self, word: str) -> np.ndarray:
        """The vector (dim,) float32 of the text that is this word; KeyError where training did not see it."""
        if word not in self:
            raise KeyError(f"Doc2Vec has no vector for {word!r}")
        return self._infer([word])

    def _infer(self, words: list[str]) -> np.ndarray:
        """gensim's `infer_vector`, which starts from Python's hash of the text: in every process from another one."""
        from gensim.models.doc2vec import train_document_dbow, train_document_dm

        model = self.model
        model.random.seed(self.seed)  # of the negative samples
        start = np.random.Generator(np.random.SFC64(zlib.crc32(" ".join(words).encode())))
        vector = (start.random(self.dim).astype(np.float32) - 0.5)[None] / self.dim
        memory = [np.zeros(model.layer1_size, dtype=np.float32) for _ in range(2 if self.dm else 1)]
        still = {"learn_words": False, "learn_hidden": False, "doctags_lockf": np.ones(1, dtype=np.float32)}
        step = train_document_dm if self.dm else train_document_dbow
        for rate in np.linspace(model.alpha, model.min_alpha, model.epochs):
            step(model, words, [0], float(rate), *memory, doctag_vectors=vector, **still)
        return vector[0]

    def transform(self, texts: Texts) -> np.ndarray:
        """Vectors (N, dim) float32; zeros for a text without a known word."""
        check_texts(texts, words=True)
        known = [[word for word in words_of(text) if word in self] for text in texts]
        vectors = np.zeros((len(known), self.dim), dtype=np.float32)
        for row, words in zip(vectors, known, strict=True):
            if words:
                row[:] = self._infer(words)
        self.empty = sum(not words for words in known)
        return vectors

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        counts = [int(self.model.wv.get_vecattr(word, "count")) for word in self.words]
        arrays = {"inputs": self.model.wv.vectors, "outputs": self.model.syn1neg}
        return arrays, {"words": self.words, "counts": counts, "texts": self.model.corpus_count}

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        self.words, self.model = notes["words"], self._model()
        counts = dict(zip(self.words, notes["counts"], strict=True))
        self.model.build_vocab_from_freq(counts, corpus_count=notes["texts"])
        # gensim sorts by count and leaves the order of equals open: the stored order belongs to the stored rows.
        self.model.wv.index_to_key = list(self.words)
        self.model.wv.key_to_index = {word: row for row, word in enumerate(self.words)}
        self.model.wv.vectors, self.model.syn1neg = arrays["inputs"], arrays["outputs"]
