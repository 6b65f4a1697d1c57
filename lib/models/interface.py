"""What a model takes and gives: whatever has these three calls is trained, validated and searched with."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from lib.text.tokens import Tokens

__all__ = ["RetrievalModel", "Texts", "Tokens", "retrieval_model", "text_vectors", "word_ids"]

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


def retrieval_model(model: nn.Module) -> RetrievalModel:
    """Return a network that has the calls of `RetrievalModel`; TypeError naming those that it lacks."""
    if isinstance(model, RetrievalModel):
        return model
    lacking = [name for name in ("encode_images", "encode_sentences") if not hasattr(model, name)]
    raise TypeError(f"{type(model).__name__} cannot be asked for embeddings: it lacks {' and '.join(lacking)}")


def word_ids(texts: Texts, reader: str) -> Tokens:
    """Return what a model that reads words was given; TypeError naming the model where it was given vectors."""
    if isinstance(texts, Tensor):
        raise TypeError(f"{reader} reads Tokens (word ids and lengths), not vectors {tuple(texts.shape)}")
    return Tokens(*texts)


def text_vectors(texts: Texts, reader: str) -> Tensor:
    """Return what a model that takes vectors was given; TypeError naming the model where it was given `Tokens`."""
    if not isinstance(texts, Tensor):
        raise TypeError(f"{reader} takes vectors of texts, not Tokens (word ids and lengths)")
    return texts
