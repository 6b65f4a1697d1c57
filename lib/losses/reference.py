"""What a loss is worth when nothing was learned: the two lines every training plot needs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def value_at_collapse(loss: Loss, positives: Tensor) -> float:
    """Return the loss when every image and every text is the same point, so that all cosines are 1.

    Args:
        loss: called as `loss(similarity, positives)`.
        positives: (I, T) bool mask of a typical batch; `torch.eye(n, dtype=torch.bool)` for n plain pairs.

    Returns:
        The value, a plain number.

    Example:
        >>> import torch
        >>> from lib.losses import max_of_hinges, value_at_collapse
        >>> round(value_at_collapse(max_of_hinges, torch.eye(128, dtype=torch.bool)), 3)  # twice the margin
        0.4
    """
    return float(loss(torch.ones(positives.shape, device=positives.device), positives))


@torch.no_grad()
def value_at_chance(loss: Loss, positives: Tensor, dim: int = 1024, draws: int = 4, seed: int = 0) -> float:
    """Return the mean loss of independent random directions: an embedding that knows nothing of the pairs.

    Args:
        loss: called as `loss(similarity, positives)`.
        positives: (I, T) bool mask of a typical batch.
        dim: dimension of the joint space; the fewer, the larger the similarities that arise by luck.
        draws: random embeddings to average over.
        seed: of the draws.

    Returns:
        The value, a plain number.

    Example:
        >>> import torch
        >>> from lib.losses import info_nce, value_at_chance
        >>> 4.85 < value_at_chance(info_nce, torch.eye(128, dtype=torch.bool)) < 5.2  # log 128, and a little more
        True
    """
    generator = torch.Generator().manual_seed(seed)
    images, texts = positives.shape
    values = []
    for _ in range(draws):
        points = F.normalize(torch.randn(images + texts, dim, generator=generator), dim=1).to(positives.device)
        values.append(float(loss(points[:images] @ points[images:].T, positives)))
    return sum(values) / draws
