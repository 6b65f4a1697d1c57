"""Embedding with attentive pooling, region-word attention and domain discriminators, after A3VSE.

Huang, Kang, Liu, Chang and Hauptmann, "Annotation Efficient Cross-Modal Retrieval with Adversarial Attentive
Alignment", ACM MM 2019. **A reconstruction**: only the abstract was available. Certain are the setting (few annotated
pictures, regional semantics of the others, attention, adversaries in both domains); the formulas are the usual ones of
its time: attention as in SCAN (Lee et al. 2018), adversaries as in DANN (Ganin et al. 2016).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lib.models.cross_attention import cross_attention_similarity
from lib.models.interface import Texts
from lib.models.joint_embedding import Projection, unit
from lib.models.pooling import lengths_to_mask, mean_pool


class AttentivePooling(nn.Module):
    """The mean of a set of vectors, weighted by how much each one resembles a learned query.

    `weights = softmax(v . q / sqrt(D))`. The query starts at 0, where this is the plain mean.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))

    def weights(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, R) weights of (B, R, D) vectors; each row sums to 1, zero past its length."""
        scores = vectors @ self.query / vectors.shape[-1] ** 0.5
        if lengths is not None:
            scores = scores.masked_fill(~lengths_to_mask(lengths, vectors.shape[1]), -torch.inf)
        return scores.softmax(1)

    def forward(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, R, D) vectors to (B, D)."""
        return (self.weights(vectors, lengths)[:, None] @ vectors)[:, 0]


class DomainDiscriminator(nn.Module):
    """Does an embedding come from the annotated domain? A perceptron with one hidden layer.

    Spectral norms (Miyato et al. 2018) bound its slope: a discriminator that is certain gives no gradient, and the
    encoders behind it would learn nothing from having lost. Unit vectors are stretched until their coordinates are of
    the size 1 first: Adam's steps do not depend on the inputs, and with coordinates of a tenth a discriminator learns
    so slowly beside encoders that begin near their end that there is no game.
    """

    def __init__(self, dim: int, hidden: int = 64):
        super().__init__()
        first, last = spectral_norm(nn.Linear(dim, hidden)), spectral_norm(nn.Linear(hidden, 1))
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.2), last)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (B,) logits of (B, dim) unit vectors."""
        return self.layers(vectors * vectors.shape[1] ** 0.5)[:, 0]


def region_word_similarity(
    regions: Tensor, words: Tensor, lengths: Tensor, smooth: float = 9.0, tile: int = 32
) -> Tensor:
    """Return (I, T) similarities: words look for their regions and regions for their words, the mean of the two.

    Both directions of `cross_attention_similarity`, which has the formulas and the arguments. In tiles of `tile`
    texts, recomputed in the backward pass: memory grows with I * tile * L * R. Texts of one length share a tile, so
    that little of it is padding; the similarities are the same in any order.
    """
    order = lengths.argsort(stable=True)
    tiled = words[order], lengths[order]
    both = [cross_attention_similarity(regions, *tiled, way, smooth, tile) for way in ("t2i", "i2t")]
    return ((both[0] + both[1]) / 2)[:, order.argsort()]


def word_attention(regions: Tensor, words: Tensor, smooth: float = 9.0) -> Tensor:
    """Return the (L, R) weights with which each word of one text looks at each region of one image, rows sum to 1.

    Args:
        regions: (R, D) unit vectors, and words: (L, D) unit vectors.
        smooth: see `cross_attention_similarity`.
    """
    positive = (words @ regions.T).clamp(min=0)
    return (smooth * nn.functional.normalize(positive, dim=0)).softmax(1)


class A3VSE(nn.Module):
    """Images as sets of regions and texts in one space, with a discriminator of domains on either side.

    Without `attend`, an image is one vector: attentive pooling, then a linear map. With it, every region and every
    word is mapped, and `region_word_similarity` compares the sets. As the weights of the pooling sum to 1, pooling the
    mapped regions gives the same as mapping the pooled ones: both look at a picture through the same map.

    Args:
        region_dim: size of the frozen region features.
        text_dim: size of the frozen text or word vectors.
        dim: of the joint space.
        dropout, text_dropout: share of the frozen features that training hides.
        words: (V, text_dim) frozen word vectors, where texts come as (word ids, lengths); None where they come as
            vectors.
        attend: compare regions with words; needs `words`.

    Raises:
        ValueError: `attend` without `words`.
    """

    words: Tensor | None

    def __init__(
        self,
        region_dim: int,
        text_dim: int,
        dim: int = 256,
        dropout: float = 0.5,
        text_dropout: float = 0.2,
        words: Tensor | None = None,
        attend: bool = False,
    ):
        super().__init__()
        if attend and words is None:
            raise ValueError("attention between regions and words needs word vectors")
        self.attend = attend
        self.register_buffer("words", words, persistent=False)
        self.image_pool, self.image = AttentivePooling(region_dim), Projection(region_dim, dim, dropout=dropout)
        self.word_pool, self.sentence = AttentivePooling(text_dim), Projection(text_dim, dim, dropout=text_dropout)
        self.image_domain, self.text_domain = DomainDiscriminator(dim), DomainDiscriminator(dim)

    def encode_images(self, images: Tensor) -> Tensor:
        """Return unit vectors (B, D) of (B, F) features or (B, R, F) regions; (B, R, D) with `attend`."""
        return unit(self.image(images if self.attend or images.ndim == 2 else self.image_pool(images)))

    def encode_sentences(self, sentences: Texts) -> Tensor:
        """Return unit vectors (B, D) of (B, E) text vectors or of `Tokens`; (B, L, D) with `attend`.

        Raises:
            TypeError: `Tokens`, but the model was built without word vectors.
        """
        if isinstance(sentences, Tensor):
            return unit(self.sentence(sentences))
        if self.words is None:
            raise TypeError("this A3VSE has no word vectors, so it takes vectors of texts: build it with words=...")
        ids, lengths = sentences
        vectors = self.words[ids]
        return unit(self.sentence(vectors if self.attend else self.word_pool(vectors, lengths)))

    def compare(self, images: Tensor, sentences: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the (I, T) similarities of what `encode_images` and `encode_sentences` gave.

        Raises:
            ValueError: attention without the number of words of each text.
        """
        if self.attend:
            if lengths is None:
                raise ValueError("attention between regions and words needs the lengths of the texts")
            return region_word_similarity(images, sentences, lengths)
        return images @ sentences.T

    def forward(self, images: Tensor, sentences: Texts) -> Tensor:
        """Return the (I, T) similarities of image features and sentences."""
        lengths = None if isinstance(sentences, Tensor) else sentences[1]
        return self.compare(self.encode_images(images), self.encode_sentences(sentences), lengths)

    def domain_logits(self, side: str, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B,) logits of "image" or "text" embeddings; of sets of vectors, their mean is judged."""
        judge = {"image": self.image_domain, "text": self.text_domain}[side]
        return judge(mean_pool(vectors, lengths) if vectors.ndim == 3 else vectors)
