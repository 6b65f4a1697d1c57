"""Tags of an image as one vector: the mean of their frozen word vectors (Mithun et al. 2018, section 3.1)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Encoder(Protocol):
    """Frozen vectors of texts: `PretrainedGlove` or `MiniLM`."""

    dim: int

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, dim)."""


class TagVectors:
    """Mean vector of an image's tags, seen from the mean of the clean training images, and scaled to length 1.

    The paper averages and stops there. Means of a dozen words all point one way, and what tells images apart is small
    beside it; taking the centre of the training tags away (ours) makes a linear map of them easy to learn.
    """

    def __init__(self, encoder: Encoder, training_tags: Sequence[Sequence[str]]):
        """`training_tags`: of the clean training images, for the centre; ValueError where there are none."""
        self.encoder, self.dim = encoder, encoder.dim
        self._centre = np.zeros(self.dim, dtype=np.float32)
        means = self._means(training_tags)
        if not means.any():
            raise ValueError("no training image has a tag: there is no centre to take away")
        self._centre = means[means.any(1)].mean(0)

    def transform(self, tags: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors (N, dim) float32 of the tags of N images, of length 1; zeros for an image without known tags."""
        means = self._means(tags)
        centred = np.where(means.any(1, keepdims=True), means - self._centre, 0)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)

    def _means(self, tags: Sequence[Sequence[str]]) -> np.ndarray:
        words = sorted({tag for of_image in tags for tag in of_image})
        row = {word: i for i, word in enumerate(words)}
        vectors = self.encoder.transform(words)
        means = np.zeros((len(tags), self.dim), dtype=np.float32)
        for i, of_image in enumerate(tags):
            known = [vector for vector in vectors[[row[tag] for tag in of_image]] if vector.any()]
            if known:
                means[i] = np.mean(known, axis=0)
        return means


def tags_as_sentences(tags: Sequence[Sequence[str]], encoder: Encoder) -> Tensor:
    """Vectors (N, dim) of the tags of N images, each list read as one sentence; zeros where there is no tag."""
    vectors = torch.zeros(len(tags), encoder.dim)
    tagged = [i for i, of_image in enumerate(tags) if of_image]
    if tagged:
        vectors[tagged] = torch.from_numpy(np.array(encoder.transform([" ".join(tags[i]) for i in tagged])))
    return vectors
