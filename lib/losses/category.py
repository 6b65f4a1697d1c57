"""Losses of retrieval by category, where two items belong together when they share a label.

Features are (B, D), one row an item of the batch; labels are (B, C), several a row. All losses are means over the
batch, so that their weights do not depend on its size, and raise a ValueError that names the parts whose rows differ.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor


def shared_labels(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Return how many labels two items share: (B, C) and (G, C) bool -> (B, G) float; `others` defaults to `labels`."""
    return labels.float() @ (labels if others is None else others).float().T


def check_rows(**parts: Tensor) -> None:
    """Refuse the parts of a batch by name, with a ValueError, unless all have one row for each of its items."""
    rows = {name: len(part) for name, part in parts.items()}
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise ValueError(f"row i of each part is item i of the batch, but the numbers of rows differ: {found}")


def pair_likelihood(a: Tensor, b: Tensor, alike: Tensor, cosine: bool = True) -> Tensor:
    """Return the negative log-likelihood of which pairs are alike, `mean_ij log(1 + e^theta_ij) - alike_ij theta_ij`.

    theta is half the cosine of a_i and b_j (DSCMR, Zhen et al. 2019, Eq. 5), or half their dot product (DCMH, Jiang and
    Li 2017, Eq. 1). It is worth log 2 where all theta are 0; with cosines it stays between log(1 + e^-0.5) = 0.474 and
    log(1 + e^0.5) = 0.974, so it never forces a pair apart for long.

    Args:
        a: (B, D) features.
        b: (G, D) features.
        alike: (B, G) bool.
        cosine: scale the features to length 1 first.

    Returns:
        Scalar.

    Raises:
        ValueError: `alike` is not (B, G).
    """
    if alike.shape != (len(a), len(b)):
        raise ValueError(f"alike is {tuple(alike.shape)}, not {(len(a), len(b))}: a and b have so many rows")
    if cosine:
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    theta = a @ b.T / 2
    return (F.softplus(theta) - alike * theta).mean()


def pair_likelihoods(images: Tensor, texts: Tensor, alike: Tensor) -> Tensor:
    """Return the sum of `pair_likelihood` within images, across and within texts; row i of both is one item."""
    check_rows(images=images, texts=texts, alike=alike)
    sides = ((images, images), (images, texts), (texts, texts))
    return reduce(torch.add, [pair_likelihood(a, b, alike) for a, b in sides])


def discriminative_loss(
    images: Tensor,
    texts: Tensor,
    image_logits: Tensor,
    text_logits: Tensor,
    labels: Tensor,
    classification: float = 1.0,
    likelihood: float = 1.0,
    gap: float = 1e-3,
) -> Tensor:
    """Return the loss L_o of CRCGS (Zhang et al. 2022), which is DSCMR's (Zhen et al. 2019) for several labels an item.

    `classification` times the binary cross-entropy of the shared classifier on both sides, `likelihood` times
    `pair_likelihoods`, and `gap` times the mean distance of an image from its text. (DSCMR itself has one label an item
    and takes the squared error of the classifier.)

    Args:
        images, texts: (B, D) features, row i of both being one item.
        image_logits, text_logits: (B, C) of the classifier.
        labels: (B, C) bool.
        classification, likelihood, gap: weights of the terms.
    """
    check_rows(images=images, texts=texts, image_logits=image_logits, text_logits=text_logits, labels=labels)
    target = labels.to(image_logits.dtype)
    classified = F.binary_cross_entropy_with_logits(image_logits, target)
    classified = classified + F.binary_cross_entropy_with_logits(text_logits, target)
    alike = shared_labels(labels) > 0
    pairs = pair_likelihoods(images, texts, alike)
    return classification * classified + likelihood * pairs + gap * (images - texts).norm(dim=1).mean()


def projection_matching(images: Tensor, texts: Tensor, alike: Tensor) -> Tensor:
    """Return the CMPM loss (Zhang and Lu, ECCV 2018, Eqs. 1-5): where features project should say what is alike.

    p_ij is the softmax over j of `x_i . z_j / |z_j|`, q_ij the even distribution over the items alike to i, and the
    loss `mean_i sum_j p_ij log(p_ij / (q_ij + 1e-8))`, in both directions. The length of x_i acts as inverse
    temperature.

    Args:
        images, texts: (B, D) features.
        alike: (B, B) bool, with at least one True a row.
    """
    check_rows(images=images, texts=texts, alike=alike)
    directions = []
    for a, b, same in ((images, texts, alike), (texts, images, alike.T)):
        log_p = (a @ F.normalize(b, dim=1).T).log_softmax(1)
        q = same.float() / same.sum(1, keepdim=True)
        directions.append((log_p.exp() * (log_p - (q + 1e-8).log())).sum(1).mean())
    return directions[0] + directions[1]


def projection_classification(images: Tensor, texts: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the CMPC loss (Zhang and Lu, ECCV 2018, Eqs. 6-9): classify what of a feature lies along its partner.

    x_i projected onto the direction of z_i, and z_i onto that of x_i, are classified by class vectors of length 1.
    The paper has one class an item; with several, the target is spread evenly over them.

    Args:
        images, texts: (B, D) features.
        weight: (C, D) class vectors.
        labels: (B, C) bool, at least one a row.
    """
    check_rows(images=images, texts=texts, labels=labels)
    target = labels.to(images.dtype) / labels.sum(1, keepdim=True)
    weight = F.normalize(weight, dim=1)
    directions = []
    for a, b in ((images, texts), (texts, images)):
        direction = F.normalize(b, dim=1)
        projected = (a * direction).sum(1, keepdim=True) * direction
        directions.append(F.cross_entropy(projected @ weight.T, target))
    return directions[0] + directions[1]


def dcmh_loss(images: Tensor, texts: Tensor, alike: Tensor, quantisation: float = 1.0, balance: float = 1.0) -> Tensor:
    """Return the loss of deep cross-modal hashing (Jiang and Li, CVPR 2017, Eq. 1), each term as a mean.

    The pair likelihood of half the dot product across modalities; the squared distance of both sides from their common
    code sign(image + text); and the squared mean of each bit, which is 0 where a bit is on for half of the items.

    Args:
        images, texts: (B, K) real numbers whose signs are the K bits.
        alike: (B, B) bool.
        quantisation, balance: weights of the second and third term.
    """
    check_rows(images=images, texts=texts, alike=alike)
    codes = torch.sign(images + texts).detach()
    quantised = ((images - codes) ** 2).mean() + ((texts - codes) ** 2).mean()
    balanced = (images.mean(0) ** 2).mean() + (texts.mean(0) ** 2).mean()
    return pair_likelihood(images, texts, alike, cosine=False) + quantisation * quantised + balance * balanced


def hash_loss(
    images: Tensor,
    texts: Tensor,
    image_bits: Tensor,
    text_bits: Tensor,
    alike: Tensor,
    structure: float = 1.0,
    likelihood: float = 1.0,
    quantisation: float = 0.0,
) -> Tensor:
    """Return the loss of the hash layer of CRCGS: the bits keep the angles of the features and tell what is alike.

    With c = (v + t) / 2 of the features and h = (h_v + h_t) / 2 of the bits:
    `structure mean_i sum_j (cos(c_i, c_j) / 2 - cos(h_i, h_j) / 2)^2 + likelihood (pair likelihoods of h_v, h_t as in
    L_o) + quantisation mean |h - sign h|^2`. The published weights are the defaults.

    Args:
        images, texts: (B, D) frozen features.
        image_bits, text_bits: (B, K) in (-1, 1).
        alike: (B, B) bool.
        structure, likelihood, quantisation: weights of the terms.
    """
    check_rows(images=images, texts=texts, image_bits=image_bits, text_bits=text_bits, alike=alike)
    centre, bits = F.normalize(images + texts, dim=1), image_bits + text_bits
    direction = F.normalize(bits, dim=1)
    kept = ((centre @ centre.T - direction @ direction.T) / 2).square().sum(1).mean()
    pairs = pair_likelihoods(image_bits, text_bits, alike)
    middle = bits / 2
    quantised = (middle - middle.sign().detach()).square().mean()
    return structure * kept + likelihood * pairs + quantisation * quantised
