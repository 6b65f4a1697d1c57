"""A joint space for images, sentences and tags."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.dropout import Dropout
from lib.models.interface import Texts
from lib.models.pooling import mean_pool


class Projection(nn.Sequential):
    """A linear map into the joint space, or a perceptron with one hidden layer, on the last dimension.

    Args:
        input_dim: size of the features.
        dim: size of the joint space (1024 in VSE++ and in Mithun et al. 2018).
        hidden: size of the hidden layer; None for the plain linear map of those papers.
        dropout: share of the inputs and hidden units that training drops.
    """

    def __init__(self, input_dim: int, dim: int, hidden: int | None = None, dropout: float = 0.0):
        layers: list[nn.Module] = [Dropout(dropout)]
        if hidden is None:
            layers.append(nn.Linear(input_dim, dim))
        else:
            layers += [nn.Linear(input_dim, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, dim)]
        super().__init__(*layers)


class PooledBranch(nn.Module):
    """Encode a set of vectors and pool it: grid regions of an image, or the words of a sentence.

    Args:
        encoder: region features -> (B, R, D), such as a `Projection`; or (word ids, lengths) -> (B, L, D), such as
            `lib.models.gru.GRUEncoder`.
        pooling: (vectors, lengths or None) -> (B, D), from `lib.models.pooling`.
    """

    def __init__(self, encoder: nn.Module, pooling: Callable[..., Tensor] = mean_pool):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, D) from (B, R, F) region features or (B, L) word ids with their (B,) lengths."""
        vectors = self.encoder(inputs) if lengths is None else self.encoder(inputs, lengths)
        return self.pooling(vectors, lengths)


class JointEmbedding(nn.Module):
    """Map images, sentences and tags onto the unit sphere of one space, where the cosine says how well they match.

    VSE (Kiros et al. 2014), VSE++ (Faghri et al. 2018) and the three-branch model of Mithun et al. 2018 are this class
    with other branches.

    Args:
        image: image features -> (B, D).
        sentence: sentence features, or word ids and lengths, -> (B, D).
        tag: tag features -> (B, D); None where there are no tags.
    """

    def __init__(self, image: nn.Module, sentence: nn.Module, tag: nn.Module | None = None):
        super().__init__()
        self.image, self.sentence, self.tag = image, sentence, tag

    def encode_images(self, images: Tensor) -> Tensor:
        """Return (B, D) unit vectors of image features."""
        return unit(self.image(images))

    def encode_sentences(self, sentences: Texts) -> Tensor:
        """Return (B, D) unit vectors of sentence features or of `Tokens`."""
        return unit(self.sentence(sentences) if isinstance(sentences, Tensor) else self.sentence(*sentences))

    def encode_tags(self, tags: Tensor) -> Tensor:
        """Return (B, D) unit vectors of tag features.

        Raises:
            ValueError: the model was built without a tag branch.
        """
        if self.tag is None:
            raise ValueError("this JointEmbedding has no tag branch; build it with JointEmbedding(..., tag=branch)")
        return unit(self.tag(tags))

    def forward(self, images: Tensor, sentences: Texts) -> Tensor:
        """Return the (I, T) cosine similarities of images and sentences."""
        return self.encode_images(images) @ self.encode_sentences(sentences).T


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors scaled to length 1, in float32 whatever precision made them."""
    return F.normalize(vectors.float(), dim=-1)
