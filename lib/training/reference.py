"""What an objective is worth when nothing was learned: the two lines beside every learning curve."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.interface import Texts, Tokens
from lib.training.batches import Batch
from lib.training.config import Loss

DRAWS = 4


class Similarity(nn.Module):
    """The objective of a loss on similarities.

    Args:
        loss: called as `loss(similarity, positives)`; one with parameters is trained.
    """

    of_points = True

    def __init__(self, loss: Loss):
        super().__init__()
        self.loss = loss

    def forward(self, model: Any, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self.loss(model(batch.images, batch.texts).float(), batch.positives)


class Points:
    """In the place of a model: every image, text and row of tags is a point that knows nothing of its input.

    Args:
        dim: of independent random directions, an embedding at chance; 0 makes them all one point, the collapse.
        seed: of the directions.
    """

    def __init__(self, dim: int, seed: int = 0):
        self.dim, self.generator = dim, torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor, texts: Texts) -> Tensor:
        """Return the (I, T) cosines."""
        return self.encode_images(images) @ self.encode_sentences(texts).T

    def encode_images(self, images: Tensor) -> Tensor:
        """Return one point each, (I, D)."""
        return self._points(images)

    encode_tags = encode_images

    def encode_sentences(self, texts: Texts) -> Tensor:
        """Return one point each, (T, D)."""
        return self._points(texts.ids if isinstance(texts, Tokens) else texts)

    def _points(self, rows: Tensor) -> Tensor:
        if self.dim == 0:
            return torch.ones(len(rows), 1, device=rows.device)
        return F.normalize(torch.randn(len(rows), self.dim, generator=self.generator), dim=1).to(rows.device)


@torch.no_grad()
def reference(objective: Any, batch: Batch, dim: int) -> dict[str, float]:
    """Return what an objective is worth on a batch at chance and at collapse.

    Args:
        objective: one that reads nothing of a model but its points and their cosines.
        batch: a typical one.
        dim: of the joint space; the fewer, the larger the cosines that arise by luck.
    """
    at_chance = [float(objective(Points(dim, seed), batch)) for seed in range(DRAWS)]
    return {"chance": sum(at_chance) / DRAWS, "collapse": float(objective(Points(0), batch))}
