"""Adversaries that make two domains alike: gradient reversal and the loss of a domain discriminator.

Ganin et al. 2016 (DANN). A discriminator learns to tell two domains apart from their embeddings; the encoders behind
a reversed gradient learn the opposite.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context, x, strength):
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -context.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return `x` unchanged; its gradient comes back multiplied by `-strength` (Ganin et al. 2016, Eq. 11 and 12)."""
    return _Reversal.apply(x, strength)


def reversal_ramp(progress: float, gamma: float = 10.0) -> float:
    """Return how strong the reversal is at `progress` (0 to 1) of training: `2 / (1 + exp(-gamma p)) - 1`.

    From 0, where the discriminator knows nothing yet, to almost 1 (Ganin et al. 2016, Eq. 14).
    """
    return 2 / (1 + math.exp(-gamma * progress)) - 1


def domain_loss(annotated: Tensor, others: Tensor) -> Tensor:
    """Return the cross-entropy of telling annotated from other items, both domains with equal weight.

    `-(mean log sigmoid(annotated) + mean log sigmoid(-others)) / 2`. Worth log 2 = 0.693 where the discriminator
    cannot tell.

    Args:
        annotated: (A,) logits of the annotated domain.
        others: (B,) logits of the other one.
    """
    return (F.softplus(-annotated).mean() + F.softplus(others).mean()) / 2


@torch.no_grad()
def domain_accuracy(annotated: Tensor, others: Tensor) -> float:
    """Return the share of right answers, both domains with equal weight; 0.5 is chance, a logit of 0 is half right."""
    right = ((annotated.sign() + 1) / 2).mean() + ((1 - others.sign()) / 2).mean()
    return float(right) / 2
