"""Losses of an image network that predicts a text vector (Gomez et al. 2018, 2019): one picture, one frozen target.

Every loss is called `loss(outputs, targets, positives)` with `outputs: (I, D)` of the image network, `targets: (T, D)`
frozen text vectors and `positives: (I, T)` bool, True where the text belongs to the image, and is a mean over the
positive pairs. Only images move: negatives are the other texts of the batch, never other images.
"""

import torch.nn.functional as F
from torch import Tensor

from lib.losses.ranking import at_least_float32, positive_pairs, soft_margin


def soft_cross_entropy(outputs: Tensor, targets: Tensor, positives: Tensor) -> Tensor:
    """Return the sigmoid cross-entropy of each of the D numbers, summed over them: the loss of the paper.

    `-sum_d y_d log sigmoid(z_d) + (1 - y_d) log(1 - sigmoid(z_d))` for outputs z and soft targets y in [0, 1],
    averaged over the positive pairs.

    It is worth `D log 2` where all outputs are 0, and never less than the entropy of its targets, which is not 0:
    judge a curve by its distance from that floor. Its gradient is sigmoid(z) - y: each number is a regression.

    Args:
        outputs: (I, D) logits.
        targets: (T, D) in [0, 1], see `lib.models.min_max`.
        positives: (I, T) bool.

    Returns:
        Scalar, in nats a text.

    Raises:
        ValueError: shapes that do not fit, no positive pair.

    Example:
        >>> import torch
        >>> from lib.losses import soft_cross_entropy
        >>> targets, pairs = torch.tensor([[0.0, 1.0, 0.5]]), torch.ones(1, 1, dtype=torch.bool)
        >>> round(float(soft_cross_entropy(torch.zeros(1, 3), targets, pairs)), 3)  # 3 log 2
        2.079
        >>> round(float(soft_cross_entropy(torch.tensor([[-9.0, 9.0, 0.0]]), targets, pairs)), 3)  # the floor: log 2
        0.693
    """
    image, text = _pairs(outputs, targets, positives)
    return F.binary_cross_entropy_with_logits(outputs[image], targets[text], reduction="sum") / len(image)


def cosine_loss(outputs: Tensor, targets: Tensor, positives: Tensor) -> Tensor:
    """Return the mean of 1 - cosine(output, target) over the positive pairs: only the direction counts.

    About 1 at chance in many dimensions; 0 where every output points along its target.

    Args:
        outputs, targets, positives: as for `soft_cross_entropy`, outputs and targets of any length but zero.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes that do not fit, no positive pair.

    Example:
        >>> import torch
        >>> from lib.losses import cosine_loss
        >>> targets, pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2, dtype=torch.bool)
        >>> round(float(cosine_loss(torch.tensor([[9.0, 0.0], [3.0, 4.0]]), targets, pairs)), 3)  # 1 - (1 + 4 / 5) / 2
        0.1
    """
    image, text = _pairs(outputs, targets, positives)
    return (1 - F.cosine_similarity(at_least_float32(outputs)[image], at_least_float32(targets)[text])).mean()


def soft_triplet(outputs: Tensor, targets: Tensor, positives: Tensor, margin: float = 0.2) -> Tensor:
    """Return the triplet loss with soft negatives: an unlike text must trail the picture's own by more than a like one.

    `[margin (1 - c(t, t')) - cos(o, t) + cos(o, t')]+` with c = max(0, cosine) of the two texts, averaged over positive
    pairs (o, t) and the texts t' of other pictures. The first author reports that triplets with soft negatives beat the
    cross-entropy and gives no formula: this weighting of the margin is a reconstruction (compare Biten et al. 2022).

    About `margin (1 - mean c)` at chance.

    Args:
        outputs, targets, positives: as for `cosine_loss`.
        margin: in units of the cosine.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes that do not fit, no positive pair.

    Example:
        >>> import torch
        >>> from lib.losses import soft_triplet
        >>> targets, pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2, dtype=torch.bool)
        >>> outputs = torch.tensor([[1.0, 0.0], [1.0, 1.0]])  # the second lies between its text and the other one
        >>> round(float(soft_triplet(outputs, targets, pairs)), 3)
        0.1
    """
    image, text = _pairs(outputs, targets, positives)
    cosine = _cosines(outputs, targets)
    hinge = soft_margin(targets, margin)[text] - cosine[image, text][:, None] + cosine[image]
    negative = ~positives[image]
    return hinge.clamp(min=0).masked_fill(~negative, 0).sum() / negative.sum().clamp(min=1)


def soft_contrastive(outputs: Tensor, targets: Tensor, positives: Tensor, margin: float = 1.0) -> Tensor:
    """Return the contrastive loss with soft negatives: a picture may be as near to a wrong text as its own text is.

    `1 - cos(o, t)` averaged over the positive pairs (o, t), plus `[cos(o, t') - 1 + margin (1 - c(t, t'))]+` averaged
    over these and the texts t' of other pictures, c as in `soft_triplet`: the margin loss of Hadsell et al. 2006 with
    1 - cosine as distance and margins that shrink for texts alike. A reconstruction, as `soft_triplet`.

    About 1 at chance, where only the first term counts.

    Args:
        outputs, targets, positives: as for `cosine_loss`.
        margin: in units of the cosine.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes that do not fit, no positive pair.

    Example:
        >>> import torch
        >>> from lib.losses import soft_contrastive
        >>> targets, pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2, dtype=torch.bool)
        >>> round(float(soft_contrastive(targets, targets, pairs)), 3)
        0.0
        >>> round(float(soft_contrastive(targets.flip(0), targets, pairs)), 3)  # every picture at the other's text
        2.0
    """
    image, text = _pairs(outputs, targets, positives)
    cosine = _cosines(outputs, targets)
    push = (cosine[image] - 1 + soft_margin(targets, margin)[text]).clamp(min=0)
    negative = ~positives[image]
    pushed = push.masked_fill(~negative, 0).sum() / negative.sum().clamp(min=1)
    return (1 - cosine[image, text]).mean() + pushed


def _cosines(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.normalize(at_least_float32(outputs), dim=1) @ F.normalize(at_least_float32(targets), dim=1).T


def _pairs(outputs: Tensor, targets: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    if outputs.ndim != 2 or targets.ndim != 2 or outputs.shape[1] != targets.shape[1]:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must be matrices of one width"
        )
    if positives.shape != (len(outputs), len(targets)):
        raise ValueError(
            f"positives is {tuple(positives.shape)}, not (outputs, targets), which is {(len(outputs), len(targets))}"
        )
    return positive_pairs(outputs.new_empty(1).expand(positives.shape), positives)
