"""Predict the vector of a text from a picture; search pictures with the vectors of words (Gomez et al. 2018, 2019)."""

import torch
from torch import Tensor, nn

from lib.models.interface import Texts, text_vectors
from lib.models.joint_embedding import unit


def min_max(vectors: Tensor) -> Tensor:
    """Return each vector (N, D) moved and scaled so that its smallest number is 0 and its largest 1; constants give 0.

    The targets of the paper: what a sigmoid can reach.
    """
    moved = vectors - vectors.amin(1, keepdim=True)
    largest = moved.amax(1, keepdim=True)
    return moved / torch.where(largest > 0, largest, 1)


class TextRegression(nn.Module):
    """An image network that ends in the space of a frozen text embedding.

    Trained by `fit(model, pairs, config, objective=...)` with the loss of `model.image(images)` and
    `model.targets(texts)`, and scored as a joint embedding is: the cosine of `encode_images` and `encode_sentences`.

    Args:
        image: images or their features -> (B, D), D numbers as the text embedding has.
        centre: (D,) mean of the training targets or vectors, from which both sides are seen.
    """

    centre: Tensor

    def __init__(self, image: nn.Module, centre: Tensor):
        super().__init__()
        self.image = image
        self.register_buffer("centre", centre.float())

    def targets(self, texts: Tensor) -> Tensor:
        """Return what the image network should give for texts (B, D), raw vectors of the embedding."""
        raise NotImplementedError

    def encode_images(self, images: Tensor) -> Tensor:
        """Return the predicted vectors (B, D); compare them by cosine."""
        raise NotImplementedError

    def encode_sentences(self, sentences: Texts) -> Tensor:
        """Return the vectors (B, D) of texts or queries; compare them by cosine."""
        raise NotImplementedError

    def forward(self, images: Tensor, sentences: Texts) -> Tensor:
        """Return the (I, T) cosines."""
        return unit(self.encode_images(images)) @ unit(self.encode_sentences(sentences)).T


class SigmoidRegression(TextRegression):
    """The paper's model: targets scaled to [0, 1], sigmoid outputs; for `lib.losses.soft_cross_entropy`.

    All targets are much alike: most of each number is what all texts share, and where a vector's smallest and largest
    number lie shifts all others. With `centred` (ours), the mean of the training targets and then each vector's own
    mean are taken off both sides before the cosine, which is then a correlation; the training is the same.

    Args:
        image: images or their features -> (B, D) logits.
        vectors: (N, D) raw vectors of the training texts.
        centred: False compares the vectors as they are, as the authors do.
    """

    def __init__(self, image: nn.Module, vectors: Tensor, centred: bool = True):
        super().__init__(image, min_max(vectors.float()).mean(0))
        self.centred = centred

    def targets(self, texts: Tensor) -> Tensor:
        return min_max(texts.float())

    def encode_images(self, images: Tensor) -> Tensor:
        return self._seen(self.image(images).float().sigmoid())

    def encode_sentences(self, sentences: Texts) -> Tensor:
        return self._seen(self.targets(text_vectors(sentences, type(self).__name__)))

    def _seen(self, vectors: Tensor) -> Tensor:
        if not self.centred:
            return vectors
        vectors = vectors - self.centre
        return vectors - vectors.mean(1, keepdim=True)


class CosineRegression(TextRegression):
    """Targets are directions seen from the mean of the training vectors; for losses of the cosine.

    Args:
        image: images or their features -> (B, D).
        vectors: (N, D) raw vectors of the training texts.
    """

    def __init__(self, image: nn.Module, vectors: Tensor):
        super().__init__(image, vectors.float().mean(0))

    def targets(self, texts: Tensor) -> Tensor:
        return unit(texts - self.centre)

    def encode_images(self, images: Tensor) -> Tensor:
        return unit(self.image(images))

    def encode_sentences(self, sentences: Texts) -> Tensor:
        return self.targets(text_vectors(sentences, type(self).__name__))
