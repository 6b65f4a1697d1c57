"""Webly supervised joint embedding: images, sentences and tags in one space (Mithun et al., ACM MM 2018)."""

import torch
from torch import nn

from lib.models.joint_embedding import JointEmbedding, Projection


def webly_embedding(
    image_dim: int,
    sentence: int | nn.Module,
    tag_dim: int,
    dim: int = 1024,
    dropout: float = 0.0,
    *,
    shared: bool = False,
    seed: int | None = None,
) -> JointEmbedding:
    """Return the three branches of the paper, section 3.1: one linear map each on frozen image and tag features.

    The paper's text says two fully connected layers, its equations one map W; this is the one map. A cosine is the
    similarity, and tags of an image come as the mean of their word vectors.

    Args:
        image_dim: size of the frozen image features.
        sentence: the paper's recurrent branch, such as `PooledBranch(GRUEncoder(...), last_pool)` of output size `dim`;
            or the size of frozen sentence vectors, which get a linear map as well (our cheaper default).
        tag_dim: size of the frozen word vectors.
        dim: of the joint space (1024 in the paper).
        dropout: share of the frozen features that training hides (none in the paper, which has far more pairs).
        shared: tags are read by the sentence branch (ours: a tag list is then a short sentence).
        seed: of the weights; None goes on with PyTorch's random state.
    """
    if seed is not None:
        torch.manual_seed(seed)
    if isinstance(sentence, int):
        sentence = Projection(sentence, dim, dropout=dropout)
    image = Projection(image_dim, dim, dropout=dropout)
    return JointEmbedding(image, sentence, tag=sentence if shared else Projection(tag_dim, dim, dropout=dropout))
