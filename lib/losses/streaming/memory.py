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
        """The first numbers of the memory, as a (rows, columns) matrix."""
        return self.memory[: rows * columns].view(rows, columns)


def dtype_of(embeddings: Tensor) -> torch.dtype:
    """The precision to sum in: the embeddings' own, at least float32."""
    return torch.promote_types(embeddings.dtype, torch.float32)


def vector(size: int, like: Tensor) -> Tensor:
    """Zeros (size,) in the precision to sum in."""
    return torch.zeros(size, dtype=dtype_of(like), device=like.device)


def rows_of(embeddings: Tensor, index: slice | Tensor) -> Tensor:
    """Chosen rows in the precision to sum in."""
    return embeddings[index].to(dtype_of(embeddings))


def slices(part: Tensor, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `part`."""
    return (slice(start, min(start + size, len(part))) for start in range(0, len(part), size))
