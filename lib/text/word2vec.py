"""Word2Vec (Mikolov et al. 2013): a word is known by the words around it."""

from dataclasses import dataclass

from lib.text.embedding import Documents, WordVectors, frequent_words


@dataclass(eq=False)
class Word2Vec(WordVectors):
    """Word vectors by negative sampling, trained by gensim; the defaults are those of Gomez et al. (2018).

    `skip_gram=False` is CBOW (the mean of the window predicts the word), `True` the reverse. `window` words are
    looked at on each side, `epochs` passes are made, each word meets `negative` random ones. Words with a larger share
    of the text than `sample` are skipped now and then; 0 skips none, which a small vocabulary needs. One worker and
    one seed give the same vectors again.
    """

    dim: int = 400
    window: int = 8
    min_count: int = 5
    epochs: int = 25
    skip_gram: bool = False
    negative: int = 5
    sample: float = 1e-3
    seed: int = 0
    workers: int = 1

    def _train(self, documents: Documents) -> None:
        import gensim.models

        frequent_words(documents, self.min_count, "Word2Vec")
        model = gensim.models.Word2Vec(
            documents, vector_size=self.dim, window=self.window, min_count=self.min_count, epochs=self.epochs,
            sg=int(self.skip_gram), negative=self.negative, sample=self.sample, seed=self.seed, workers=self.workers,
        )  # fmt: skip
        self._learned(model.wv.index_to_key, model.wv.vectors)
