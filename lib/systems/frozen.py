"""Frozen vectors of pictures and texts, from a corpus to pairs, and the small models that learn on them.

    pairs = {split: frozen_pairs(corpus, split) for split in ("train", "val", "test")}
    model = linear_model(pairs["train"].images.shape[1], pairs["train"].texts.shape[1], dropout=0.5, seed=0)
    fit(model, pairs["train"], TrainConfig(20, 128, 1e-3), info_nce, val=pairs["val"])

The pictures are encoded once and then read from the cache, and so are the texts. What the four systems are compared
with starts here: VSE and VSE++ on features, linear maps, linear maps that begin at CCA.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.data import Corpus
from lib.models import CCA, JointEmbedding, PooledBranch, Projection, last_pool
from lib.models.gru import GRUEncoder
from lib.text.transformer import MiniLM
from lib.training import Pairs
from lib.vision import extract_features

TEXTS = ("captions", "tags", "both")


class Encoder(Protocol):
    """Frozen vectors of texts: `MiniLM`, `PretrainedGlove`, or anything with this method."""

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (M, F), a row a text."""


def frozen_pairs(
    corpus: Corpus,
    split: str | None = None,
    texts: str | Sequence[str] = "captions",
    *,
    encoder: Encoder | None = None,
    images: Tensor | np.ndarray | None = None,
    in_memory: bool = True,
    device: str = "auto",
) -> Pairs:
    """The pictures of a corpus and their texts as frozen vectors: what `fit` learns from and `validate` scores.

    Args:
        corpus: pictures with captions or tags.
        split: "train", "val" or "test"; None for all pictures of `corpus`.
        texts: one or more of "captions" (each by itself), "tags" (all of a picture as one text) and "both" (the mean
            direction of a picture's first caption and its tags), in the order in which they become rows of texts.
        encoder: of the texts; None for MiniLM.
        images: (N, ...) features of all N pictures of `corpus`; None for those of `extract_features`, (N, 1280).
        in_memory: as a tensor; False leaves the features of `extract_features` on disk, memory-mapped.
        device: where pictures and texts are encoded.

    Raises:
        ValueError: an unknown split or kind of text, no such text, or features of another number of pictures.

    Example:
        >>> from lib.data import load
        >>> from lib.systems.frozen import frozen_pairs
        >>> pairs = frozen_pairs(load("openmoji").take(range(5)), texts=("captions", "tags"), device="cpu")
        >>> tuple(pairs.images.shape), tuple(pairs.texts.shape), pairs.image_of_text.tolist()
        ((5, 1280), (10, 384), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    """
    kinds = (texts,) if isinstance(texts, str) else tuple(texts)
    if unknown := [kind for kind in kinds if kind not in TEXTS]:
        raise ValueError(f"unknown kinds of texts {unknown}: any of {TEXTS}")
    part = corpus if split is None else corpus.select(split)
    vectors, image_of_text = _encoded(part, kinds, encoder or MiniLM(device=device))
    if images is None:
        images = frozen_features(part, device) if in_memory else extract_features(part.images, device=device)
    elif len(images) != len(corpus):
        raise ValueError(f"features of {len(images):,} pictures, but corpus {corpus.name} has {len(corpus):,}")
    elif split is not None:
        images = images[corpus.split == split]
    return Pairs(images, vectors, image_of_text)


def frozen_features(corpus: Corpus, device: str = "auto", encoders: Sequence[str] = ("efficientnet_lite0",)) -> Tensor:
    """Frozen features (N, D) of the pictures in memory, from the cache where they were computed before.

    Args:
        corpus: pictures.
        device: where they are encoded.
        encoders: by name (`lib.vision.backbones`); the vectors of several stand side by side. D is 1,280 for one
            EfficientNet-Lite, and the sum for several.
    """
    found = [extract_features(corpus.images, encoder=encoder, device=device) for encoder in encoders]
    return torch.from_numpy(np.concatenate([np.asarray(vectors, dtype=np.float32) for vectors in found], axis=1))


def _encoded(part: Corpus, kinds: Sequence[str], encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Vectors (M, F) of all kinds of texts, one after the other, and the picture of each (M,)."""
    found = {}
    for kind, (written, owner) in {"captions": part.texts(), "tags": part.tag_texts()}.items():
        if written and (kind in kinds or "both" in kinds):
            found[kind] = torch.from_numpy(np.array(encoder.transform(written))), torch.from_numpy(owner)
    if "both" in kinds and len(found) == 2:
        (captions, of_caption), (tags, of_tags) = found["captions"], found["tags"]
        first = {int(image): row for row, image in reversed(list(enumerate(of_caption)))}  # of each picture's captions
        rows = [(first[int(image)], row) for row, image in enumerate(of_tags) if int(image) in first]
        if rows:
            caption, tag = torch.tensor(rows).T
            found["both"] = F.normalize(captions[caption] + tags[tag], dim=1), of_tags[tag]
    used = [found[kind] for kind in kinds if kind in found]
    if not used:
        splits = ", ".join(sorted(set(part.split.tolist())))
        raise ValueError(f"corpus {part.name}: no picture of {splits} has {' or '.join(kinds)}")
    return torch.cat([vectors for vectors, _ in used]), torch.cat([owner for _, owner in used])


def linear_model(
    image_dim: int,
    text_dim: int,
    dim: int = 256,
    dropout: float = 0.0,
    text_dropout: float | None = None,
    seed: int | None = None,
) -> JointEmbedding:
    """Return one linear map a side into a joint space, with new weights.

    Args:
        image_dim, text_dim: sizes of the frozen vectors.
        dim: of the joint space.
        dropout: share of the inputs that training hides.
        text_dropout: the same of the texts; None for `dropout`.
        seed: of the weights; None goes on with PyTorch's random state.
    """
    return JointEmbedding(*_projections(image_dim, text_dim, dim, dropout, text_dropout, seed))


def from_cca(
    cca: CCA, dropout: float = 0.0, text_dropout: float | None = None, seed: int | None = None
) -> JointEmbedding:
    """Return the linear model whose first weights are the maps of a fitted CCA: the same ranking, ready to learn on."""
    (image_dim, dim), text_dim = cca.image_map.shape, len(cca.text_map)
    sides = _projections(image_dim, text_dim, dim, dropout, text_dropout, seed)
    cca.put_into(*sides)
    return JointEmbedding(*sides)


def _projections(
    image_dim: int, text_dim: int, dim: int, dropout: float, text_dropout: float | None, seed: int | None
) -> tuple[Projection, Projection]:
    if seed is not None:
        torch.manual_seed(seed)
    text_dropout = dropout if text_dropout is None else text_dropout
    return Projection(image_dim, dim, dropout=dropout), Projection(text_dim, dim, dropout=text_dropout)


def gru_model(
    image_dim: int,
    vocabulary_size: int,
    dim: int,
    word_dim: int = 300,
    dropout: float = 0.0,
    word_vectors: Tensor | None = None,
    seed: int | None = None,
) -> JointEmbedding:
    """Return VSE and VSE++ on frozen features: a linear map of the picture beside a GRU that reads the words.

    Args:
        image_dim: size of the frozen image features.
        vocabulary_size: number of different words.
        dim: of the joint space, and of the GRU's state, whose last one is the sentence.
        word_dim: size of the word vectors (300 in the papers), where none are given.
        dropout: share of the image features that training hides.
        word_vectors: (vocabulary_size, W) first weights of the words; None for random ones.
        seed: of the weights; None goes on with PyTorch's random state.
    """
    if seed is not None:
        torch.manual_seed(seed)
    word_dim = word_dim if word_vectors is None else word_vectors.shape[1]
    encoder = GRUEncoder(vocabulary_size, word_dim, dim, pretrained=word_vectors)
    return JointEmbedding(Projection(image_dim, dim, dropout=dropout), PooledBranch(encoder, last_pool))
