"""Losses with generative features as teachers, and with support sets: CRCGS (Zhang et al., SIGIR 2022).

v and t stand for image and text, s for features of the network that learns, g for those of the frozen generators. All
are (B, D), row i of each being one item; where the numbers of rows differ, a ValueError names the parts.
"""

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses.category import check_rows, shared_labels
from lib.losses.contrastive import sigmoid_loss


def feature_distillation(s_v: Tensor, s_t: Tensor, g_v: Tensor, g_t: Tensor) -> Tensor:
    """Return the mean squared error of both sides from their generative features, summed (L_t without its weight)."""
    check_rows(s_v=s_v, s_t=s_t, g_v=g_v, g_t=g_t)
    return F.mse_loss(s_v, g_v) + F.mse_loss(s_t, g_t)


def discrimination_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the cross-entropy of telling real (class 1) from fake (class 0); both (B, 2) logits."""
    ones, zeros = real.new_ones(len(real), dtype=torch.long), fake.new_zeros(len(fake), dtype=torch.long)
    return F.cross_entropy(real, ones) + F.cross_entropy(fake, zeros)


def fooling_loss(fake: Tensor) -> Tensor:
    """Return the cross-entropy of fakes taken for real, what the network minimises against its discriminator."""
    return F.cross_entropy(fake, torch.ones(len(fake), dtype=torch.long, device=fake.device))


def noise_contrast(a: Tensor, b: Tensor, temperature: float, samples: int, batch_size: int | None = None) -> Tensor:
    """Return the noise-contrastive loss of telling a_i's partner b_i from the rest of the batch.

    `-(1/B) (sum_i log h(a_i, b_i) + sum_{i != j} log(1 - h(a_i, b_j)))`, `h = e^s / (e^s + m/N)`, s the cosine over the
    temperature, m = B - 1 negatives out of N samples: contrastive representation distillation (Tian et al. 2020, Eq. 18
    and 19). As `h = sigmoid(s - log(m/N))`, this is the loss of SigLIP with another bias, and computed as such.

    Args:
        a, b: (B, D).
        temperature: tau.
        samples: N, the number of training items. The published program passes the number of batches.
        batch_size: B in the weights where it is not the true one, as in the last batch of the published program.

    Raises:
        ValueError: the batch has a single item, so that there is nothing to contrast with.
    """
    check_rows(a=a, b=b)
    size = batch_size or len(a)
    if size < 2 or len(a) < 2:
        raise ValueError("a batch of one item has no negatives")
    similarity = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    value = sigmoid_loss(similarity, own, 1 / temperature, -math.log((size - 1) / samples))
    return value * len(a) / size


def generative_contrast(
    s_v: Tensor,
    s_t: Tensor,
    g_v: Tensor,
    g_t: Tensor,
    temperature: float,
    samples: int,
    batch_size: int | None = None,
) -> Tensor:
    """Return the mean of `noise_contrast` over the four pairings of generative and learned features (L_c).

    Within a modality (g_v, s_v) and (g_t, s_t), across (g_v, s_t) and (g_t, s_v).
    """
    check_rows(s_v=s_v, s_t=s_t, g_v=g_v, g_t=g_t)
    pairings = ((g_v, s_v), (g_t, s_t), (g_v, s_t), (g_t, s_v))
    return reduce(torch.add, [noise_contrast(a, b, temperature, samples, batch_size) for a, b in pairings]) / 4


def support_weights(queries: Tensor, support: Tensor, shared: Tensor, temperature: float) -> Tensor:
    """Return the weights (B, G) by which each query is rebuilt from its support set; each row sums to 1.

    `w_ik = n_ik e^(cos(q_i, s_k) / temperature) / sum_k n_ik e^(...)`, n_ik the number of shared labels: an item that
    shares none is not in the support set.

    Args:
        queries: (B, D).
        support: (G, D).
        shared: (B, G) counts, at least one above 0 in each row.
        temperature: of the cosines.
    """
    cosine = F.normalize(queries, dim=1) @ F.normalize(support, dim=1).T
    return (cosine / temperature + shared.log()).softmax(1).to(support.dtype)


def support_set_loss(s_v: Tensor, s_t: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return L_ssl without its weight: each feature should resemble what its support set says in the other modality.

    `-log((mean_i cos(v_i, v^_i) + mean_i cos(t_i, t^_i)) / 2)`, v^_i the mean of the texts of the batch weighted by
    `support_weights`, t^_i that of the images. Zero where every item equals its support set. The logarithm needs
    features without negative entries, such as outputs of a ReLU.

    Args:
        s_v, s_t: (B, D), not negative.
        labels: (B, C) bool, at least one a row.
        temperature: of the cosines in `support_weights`.
    """
    check_rows(s_v=s_v, s_t=s_t, labels=labels)
    shared = shared_labels(labels)
    from_texts = support_weights(s_v, s_t, shared, temperature) @ s_t
    from_images = support_weights(s_t, s_v, shared, temperature) @ s_v
    cosines = F.cosine_similarity(s_v, from_texts).mean() + F.cosine_similarity(s_t, from_images).mean()
    return -(cosines / 2).clamp(min=1e-6).log()
