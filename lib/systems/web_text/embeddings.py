"""The text embeddings whose vectors an image model learns: those of Gomez et al. 2019, and tf-idf with SVD."""

from typing import Any

from lib.text.doc2vec import Doc2Vec
from lib.text.fasttext import FastText
from lib.text.glove_training import Glove
from lib.text.lda import LDA
from lib.text.tfidf import TfidfSVD
from lib.text.word2vec import Word2Vec


def text_embeddings(
    seed: int, *, dim: int, min_count: int, passes: int, glove_epochs: int, topics: int, device: str = "auto"
) -> dict:
    """Return the embeddings by name, untrained: all have `fit(documents)`, documents being lists of words.

    Args:
        seed: of the training.
        dim: size of the vectors (400 in the paper); of LDA it is `topics`.
        min_count: how often a word must occur.
        passes: over the documents; LDA makes a tenth of them, at least two.
        glove_epochs: of GloVe.
        topics: of LDA, which expects stems.
        device: of GloVe.
    """
    common: dict[str, Any] = {"dim": dim, "min_count": min_count, "seed": seed}
    return {
        "Word2Vec (CBOW)": Word2Vec(**common, epochs=passes),
        "Word2Vec (skip-gram)": Word2Vec(**common, epochs=passes, skip_gram=True),
        "fastText": FastText(**common, epochs=passes, buckets=20_000),
        "GloVe": Glove(**common, epochs=glove_epochs, device=device),
        "doc2vec (PV-DBOW)": Doc2Vec(**common, epochs=passes),
        "doc2vec (PV-DM)": Doc2Vec(**common, epochs=passes, dm=True),
        "LDA": LDA(dim=topics, min_count=min_count, passes=max(2, passes // 10), seed=seed),
        "tf-idf + SVD": TfidfSVD(**common),
    }
