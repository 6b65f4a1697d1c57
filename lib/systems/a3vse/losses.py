"""Losses for pairs that nobody has checked: weighted by confidence, or with soft targets."""

import torch
from torch import Tensor

from lib.losses.ranking import positive_pairs


def weighted_hinges(similarity: Tensor, positives: Tensor, confidence: Tensor, margin: float = 0.2) -> Tensor:
    """Return the ranking loss with the hardest negatives, each image's pairs weighted by its confidence.

    `sum_i c_i ([margin - s_ii + max_t s_it]+ + [margin - s_ii + max_j s_ji]+) / sum_i c_i` for one positive an image:
    `max_of_hinges` with weights. The weak loss of our reconstruction of A3VSE (Huang et al. 2019), whose formula could
    not be read.

    Args:
        similarity: (I, T) cosines of images and label sequences.
        positives: (I, T) bool; texts that say the same as the image's own are better marked as positives than ranked.
        confidence: (I,) fractions of how sure the labels of each image are.
        margin: in units of the similarities.

    Raises:
        ValueError: the shapes do not agree, no pair is positive, or no confidence is above 0.
    """
    image, text = positive_pairs(similarity, positives)
    weight = _weights(similarity, positives, confidence)
    raised = (similarity + margin).masked_fill(positives, -torch.inf)
    own = similarity[image, text]
    values = (raised.amax(1)[image] - own).clamp(min=0) + (raised.amax(0)[text] - own).clamp(min=0)
    return (weight[image] * values).sum() / weight[image].sum()


def _weights(similarity: Tensor, positives: Tensor, confidence: Tensor) -> Tensor:
    if confidence.shape != similarity.shape[:1]:
        raise ValueError(f"confidence is {tuple(confidence.shape)} for similarity {tuple(similarity.shape)}")
    if not (positives.any(1) & (confidence > 0)).any():
        raise ValueError("no image with a positive text and a confidence above 0")
    return confidence.to(similarity)


def soft_alignment(similarity: Tensor, targets: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the cross-entropy between soft targets and what the model finds, in both directions.

    `-(mean_i sum_t softmax(targets)_it log softmax(s / temperature)_it + the same over the images) / 2`: each image
    has a little of every text, as much as the targets say (distillation, Hinton et al. 2015). Smallest, the mean
    entropy of the targets, where both agree; `(log I + log T) / 2` at collapse.

    Args:
        similarity: (I, T) cosines.
        targets: (I, T) logits, already divided by their temperature; they get no gradient.
        temperature: of the similarities.

    Raises:
        ValueError: the shapes differ.
    """
    if similarity.shape != targets.shape:
        raise ValueError(f"similarity is {tuple(similarity.shape)}, targets are {tuple(targets.shape)}")
    logits, targets = similarity / temperature, targets.detach()
    rows = (targets.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    columns = (targets.softmax(0) * logits.log_softmax(0)).sum(0).mean()
    return -(rows + columns) / 2
