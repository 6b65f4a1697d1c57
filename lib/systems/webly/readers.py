"""Readers of sentences and tags: MiniLM, and one that has read no caption."""

from collections.abc import Sequence

import numpy as np

from lib.systems.webly.tag_vectors import Encoder
from lib.text.glove import PretrainedGlove
from lib.text.tokens import tokenize
from lib.text.transformer import MiniLM


class GloveReader:
    """GloVe vectors of the words, weighted by tf-idf of the training captions, scaled to length 1.

    MiniLM was trained on the captions of Flickr30k and COCO, with what Flickr8k has its test from. GloVe was trained on
    Wikipedia and newswire, so that a gain from it owes nothing to captions that were read before.
    """

    dim = PretrainedGlove.dim

    def __init__(self, training_texts: Sequence[str]):
        """`training_texts` give the weights of the words; ValueError where there are none."""
        if not training_texts:
            raise ValueError("no training text: the words have no weights")
        self._words = PretrainedGlove().fit([tokenize(text) for text in training_texts])

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, 50) float32; zeros for a text without a known word."""
        vectors = self._words.transform(texts, weights="tfidf")
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def sentence_reader(name: str, training_texts: Sequence[str], device: str = "auto") -> Encoder:
    """Return the reader "minilm" or "glove"; ValueError for another name.

    Args:
        name: of the reader.
        training_texts: annotated captions, which give GloVe's words their weights.
        device: of MiniLM.
    """
    if name == "minilm":
        return MiniLM(device=device)
    if name == "glove":
        return GloveReader(training_texts)
    raise ValueError(f"no reader {name!r}: 'minilm' or 'glove'")
