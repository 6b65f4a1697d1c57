"""Losses on a similarity matrix and a boolean mask of positive pairs.

Every loss is called `loss(similarity, positives, ...)` with `similarity: (I, T)` float and `positives: (I, T)`
bool, and returns the mean over the positive pairs. `value_at_chance` and `value_at_collapse` tell what it is worth
before anything was learned and after everything became one point; training plots draw both lines.

`lib.losses.streaming` has the same losses straight from embeddings and ids, for batches whose matrix does not fit.
"""

from lib.losses.contrastive import InfoNCE, SigmoidLoss, info_nce, sigmoid_loss
from lib.losses.ranking import max_of_hinges, positives_from_ids, soft_margin, sum_of_hinges
from lib.losses.reference import value_at_chance, value_at_collapse
from lib.losses.regression import cosine_loss, soft_contrastive, soft_cross_entropy, soft_triplet

__all__ = [
    "InfoNCE",
    "SigmoidLoss",
    "cosine_loss",
    "info_nce",
    "max_of_hinges",
    "positives_from_ids",
    "sigmoid_loss",
    "soft_contrastive",
    "soft_cross_entropy",
    "soft_margin",
    "soft_triplet",
    "sum_of_hinges",
    "value_at_chance",
    "value_at_collapse",
]
