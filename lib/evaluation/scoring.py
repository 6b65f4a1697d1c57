"""Similarity scores a tile at a time, in float32 whatever the embeddings are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

ROWS_AT_A_TIME = 4096  # for the norms of half-precision embeddings, which are converted in slices


def as_matrix(values: Tensor | np.ndarray, name: str) -> Tensor:
    """A floating tensor (rows, columns) on the device it came on; numpy memory is shared, not copied."""
    values = torch.as_tensor(values).detach()
    if values.ndim != 2 or not values.is_floating_point():
        shape, kind = tuple(values.shape), values.dtype
        raise ValueError(f"{name} must be a matrix of floating-point numbers, not {kind} of shape {shape}")
    return values


ROW_MULTIPLE = 16  # rows of scores start on a cache line: up to a third faster than rows of 2,500 (MKL)


class EmbeddingScores:
    """Cosine similarities or dot products of two sets of embeddings (N, D) and (M, D), called by their names.

    The norms are divided out of the scores, so that the embeddings are never copied. The scores lie in one
    buffer that the next call overwrites.
    """

    def __init__(
        self,
        rows: Tensor | np.ndarray,
        columns: Tensor | np.ndarray,
        cosine: bool,
        names: tuple[str, str] = ("images", "texts"),
    ):
        self.rows, self.columns, self.cosine = as_matrix(rows, names[0]), as_matrix(columns, names[1]), cosine
        if self.rows.shape[1] != self.columns.shape[1]:
            dimensions = f"{self.rows.shape[1]} dimensions, {names[1]} {self.columns.shape[1]}"
            raise ValueError(f"{names[0]} have {dimensions}")
        if self.rows.device != self.columns.device:
            raise ValueError(f"{names[0]} are on {self.rows.device}, {names[1]} on {self.columns.device}")
        self.row_scale = _inverse_norms(self.rows, names[0])
        self.column_scale = _inverse_norms(self.columns, names[1])
        self.buffer = torch.empty(0, device=self.rows.device)

    def __call__(self, rows: slice, columns: slice | Tensor) -> Tensor:
        left, right = self.rows[rows].float(), self.columns[columns].float()
        stride = -(-len(right) // ROW_MULTIPLE) * ROW_MULTIPLE
        scores = self.buffer.resize_(len(left), stride)[:, : len(right)]
        torch.mm(left, right.T, out=scores)
        if self.cosine:
            scores.mul_(self.row_scale[rows, None]).mul_(self.column_scale[columns])
        return scores


class MatrixScores:
    """Scores read from a similarity matrix (N, M) that exists already."""

    def __init__(self, similarity: Tensor | np.ndarray):
        similarity = as_matrix(similarity, "similarity")
        bad = torch.cat([rows.isnan().any(1) for rows in similarity.split(ROWS_AT_A_TIME)])
        _raise_if(bad, "similarity", "NaN")
        self.similarity = similarity

    def __call__(self, rows: slice, columns: slice | Tensor) -> Tensor:
        return self.similarity[rows][:, columns].float()


@contextmanager
def full_float32() -> Iterator[None]:
    """Matrix products in true float32, even if training has allowed TF32 or bfloat16 inside them."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _inverse_norms(embeddings: Tensor, name: str) -> Tensor:
    """1 / norm of every row in float32, 0 for a row of zeros; raises for a row that is not finite."""
    norms = torch.cat([torch.linalg.vector_norm(rows.float(), dim=1) for rows in embeddings.split(ROWS_AT_A_TIME)])
    _raise_if(~norms.isfinite(), name, "NaN or infinity, or its norm is beyond float32")
    return torch.where(norms > 0, 1 / norms, 0)


def _raise_if(bad: Tensor, name: str, what: str) -> None:
    rows = bad.nonzero().flatten().tolist()
    if rows:
        more = f" and {len(rows) - 1:,} more rows" if len(rows) > 1 else ""
        raise ValueError(f"row {rows[0]}{more} of {name} holds {what}")
