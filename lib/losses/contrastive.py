"""Contrastive losses: softmax over the batch (InfoNCE) and one sigmoid a pair (SigLIP)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.losses.ranking import mean_of_smallest, positive_pairs


def info_nce(
    similarity: Tensor,
    positives: Tensor,
    temperature: float | Tensor = 0.05,
    smoothing: float = 0.0,
    keep: float = 1.0,
) -> Tensor:
    """Return the symmetric softmax cross-entropy of finding the partner among the batch.

    For each positive pair, `-log(e^s+ / (e^s+ + sum_negatives e^s-))` with `s / temperature`, in each direction,
    averaged over pairs and over the two directions. With one positive a row it is the loss of CLIP (Radford et al.
    2021, Fig. 3); further positives of a row are left out of its denominator, so that captions of one image do not
    repel each other.

    With one positive for each image in a batch of n, it is worth `log n` at collapse and slightly more at chance.

    Args:
        similarity: (I, T) cosine similarities.
        positives: (I, T) bool, True where the text describes the image.
        temperature: positive number or scalar tensor (which may be learned).
        smoothing: share of the target that is spread evenly over the positive and all negatives, because the partner
            may be the wrong one (label smoothing, Szegedy et al. 2016).
        keep: share of the positive pairs that count, those of smallest loss (`mean_of_smallest`).

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: see `positive_pairs`.

    Example:
        >>> import torch
        >>> from lib.losses import info_nce
        >>> pairs = torch.eye(64, dtype=torch.bool)
        >>> round(float(info_nce(torch.ones(64, 64), pairs)), 2)  # collapse: log 64
        4.16
        >>> round(float(info_nce(torch.eye(64), pairs)), 2)  # every pair found
        0.0
    """
    image, text = positive_pairs(similarity, positives)
    logits = similarity / temperature
    negatives = logits.masked_fill(positives, -torch.inf)
    positive = logits[image, text]
    value = F.softplus(negatives.logsumexp(1)[image] - positive) + F.softplus(negatives.logsumexp(0)[text] - positive)
    if smoothing:
        # -sum_k q_k log p_k, and what it exceeds -log p_positive by: smoothing * mean_k (positive - logit_k)
        others = logits.masked_fill(positives, 0)
        for dim, of_pair in ((1, image), (0, text)):
            count = (~positives).sum(dim)[of_pair]
            value = value + smoothing * (count * positive - others.sum(dim)[of_pair]) / (count + 1)
    return mean_of_smallest(value, keep) / 2


def sigmoid_loss(
    similarity: Tensor, positives: Tensor, scale: float | Tensor = 10.0, bias: float | Tensor = -10.0
) -> Tensor:
    """Return the binary cross-entropy of telling positive from negative pairs, each pair by itself.

    `-sum_ij log sigmoid(z_ij (scale * s_ij + bias)) / P`, z = +1 for the P positive pairs and -1 for all others.
    SigLIP, Zhai et al. 2023, Eq. 1 with its initial scale and bias, which keep the many negatives from dominating
    the first steps.

    With one positive for each image in a batch of n, all similarities at 1 (collapse) and the default scale and
    bias, it is worth `n log 2`; at chance about `log(1 + e^10) + (n - 1) log(1 + e^-10)`, near 10.

    Args:
        similarity: (I, T) cosine similarities.
        positives: (I, T) bool, True where the text describes the image.
        scale: factor on the similarities (inverse temperature).
        bias: added to the scaled similarities.

    Returns:
        Scalar, in nats a positive pair.

    Raises:
        ValueError: see `positive_pairs`.

    Example:
        >>> import torch
        >>> from lib.losses import sigmoid_loss
        >>> similarity, pairs = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.eye(2, dtype=torch.bool)
        >>> round(float(sigmoid_loss(similarity, pairs)), 2)  # the bias asks for more than 0.9
        1.72
        >>> round(float(sigmoid_loss(similarity, pairs, bias=-5.0)), 2)
        0.07
    """
    image, _ = positive_pairs(similarity, positives)
    logits = similarity * scale + bias
    return F.softplus(torch.where(positives, -logits, logits)).sum() / len(image)


class InfoNCE(nn.Module):
    """`info_nce` with a learned temperature, kept above 0.01 as CLIP keeps it.

    Args:
        temperature: to start from.

    Example:
        >>> import torch
        >>> from lib.losses import InfoNCE
        >>> loss = InfoNCE(temperature=0.5)
        >>> loss(torch.eye(4), torch.eye(4, dtype=torch.bool)).backward()
        >>> bool(loss.log_scale.grad < 0)  # all pairs are found: the temperature may fall
        True
    """

    def __init__(self, temperature: float = 0.07):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, similarity: Tensor, positives: Tensor) -> Tensor:
        """Return the loss of (I, T) similarities and their (I, T) mask of positives."""
        return info_nce(similarity, positives, (-self.log_scale.clamp(max=math.log(100))).exp())


class SigmoidLoss(nn.Module):
    """`sigmoid_loss` with a learned scale and bias, started where SigLIP starts them.

    Args:
        scale, bias: to start from.

    Example:
        >>> import torch
        >>> from lib.losses import SigmoidLoss
        >>> loss = SigmoidLoss()
        >>> loss(torch.eye(4), torch.eye(4, dtype=torch.bool)).backward()
        >>> bool(loss.log_scale.grad < 0)  # all pairs are found: the scale may rise
        True
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, similarity: Tensor, positives: Tensor) -> Tensor:
        """Return the loss of (I, T) similarities and their (I, T) mask of positives."""
        return sigmoid_loss(similarity, positives, self.log_scale.exp(), self.bias)
