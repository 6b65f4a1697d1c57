"""What a model takes and gives: whatever has these three calls is trained, validated and searched with."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from lib.text.tokens import Tokens

__all__ = ["RetrievalModel", "Texts", "Tokens"]

Texts = Tensor | Tokens  # feature vectors (T, F), or word ids (T, L) and their lengths (T,)


@runtime_checkable
class RetrievalModel(Protocol):
    """Images and sentences in one space; a network is an `nn.Module` as well.

    `isinstance` sees whether the calls are there, for an `nn.Module`, too.
    """

    def encode_images(self, images: Tensor, /) -> Tensor:
        """Return one vector an image (N, D), or a set of vectors an image (N, R, D), of image features (N, ...)."""
        ...

    def encode_sentences(self, sentences: Texts, /) -> Tensor:
        """Return one vector a sentence (T, D), or one a word (T, L, D); comparable with those of images."""
        ...

    def __call__(self, images: Tensor, sentences: Texts, /) -> Tensor:
        """Return how well each image matches each sentence (N, T), more is better."""
        ...
