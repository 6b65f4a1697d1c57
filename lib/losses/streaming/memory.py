"""Memory for tiles, and the precision that scores and gradients are summed in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lib.losses.streaming.positives import Positives


class Buffer:
    """Memory for one tile at a time: fresh pages would cost as much as a pass over them."""

    def __init__(self, images: Tensor, positives: Positives):
        size = min(positives.height, positives.images) * min(positives.width, positives.texts)
        self.memory = torch.empty(size, dtype=dtype_of(images), device=images.device)

    def matrix(self, rows: int, columns: int) -> Tensor:
        return self.memory[: rows * columns].view(rows, columns)


def dtype_of(embeddings: Tensor) -> torch.dtype:
    return torch.promote_types(embeddings.dtype, torch.float32)


def vector(size: int, like: Tensor) -> Tensor:
    return torch.zeros(size, dtype=dtype_of(like), device=like.device)


def rows_of(embeddings: Tensor, index: slice | Tensor) -> Tensor:
    return embeddings[index].to(dtype_of(embeddings))


def slices(part: Tensor, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, len(part))) for start in range(0, len(part), size))
