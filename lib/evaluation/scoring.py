"""Similarity scores a tile at a time, in float32 whatever the embeddings are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lib.evaluation.parallel import Buffer

ROUNDING = 1e-6  # of a cosine in float32, at most: products of 4,096 dimensions were seen to differ by 7e-7
ROWS_AT_A_TIME = 4096  # for the norms of half-precision embeddings, which are converted in slices


def as_matrix(values: Tensor | np.ndarray, name: str) -> Tensor:
    """A floating tensor (rows, columns) on the device it came on; numpy memory is shared, not copied."""
    values = torch.as_tensor(values).detach()
    if values.ndim != 2 or not values.is_floating_point():
        shape, kind = tuple(values.shape), values.dtype
        raise ValueError(f"{name} must be a matrix of floating-point numbers, not {kind} of shape {shape}")
    return values


class EmbeddingScores:
    """Cosine similarities or dot products of two sets of embeddings (N, D) and (M, D), called by their names.

    The norms are divided out of the scores, so that the embeddings are never copied. The scores lie in a
    buffer that the thread's next call overwrites.
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
        self.row_norms, self.column_norms = _norms(self.rows, names[0]), _norms(self.columns, names[1])
        self.row_scale, self.column_scale = _inverse(self.row_norms), _inverse(self.column_norms)
        self.buffer = Buffer(self.rows.device)

    def __call__(self, rows: slice, columns: slice | Tensor) -> Tensor:
        left, right = self.rows[rows].float(), self.columns[columns].float()
        scores = torch.mm(left, right.T, out=self.buffer.matrix(len(left), len(right)))
        if self.cosine:
            scores.mul_(self.row_scale[rows, None]).mul_(self.column_scale[columns])
        return scores

    def rounding(self, row_of_column: Tensor) -> Tensor:
        """Up to which difference scores may be equal but for rounding, for each column and its own row, (M,)."""
        if self.cosine:
            return torch.full_like(self.column_norms, ROUNDING)
        return ROUNDING * self.row_norms[row_of_column] * self.column_norms


class MatrixScores:
    """Scores read from a similarity matrix (N, M) that exists already; equal means equal."""

    def __init__(self, similarity: Tensor | np.ndarray):
        similarity = as_matrix(similarity, "similarity")
        bad = torch.cat([rows.isnan().any(1) for rows in similarity.split(ROWS_AT_A_TIME)])
        _raise_if(bad, "similarity", "NaN")
        self.similarity = similarity

    def __call__(self, rows: slice, columns: slice | Tensor) -> Tensor:
        return self.similarity[rows][:, columns].float()

    def rounding(self, row_of_column: Tensor) -> Tensor:
        return torch.zeros_like(row_of_column, dtype=torch.float32)


@contextmanager
def full_float32() -> Iterator[None]:
    """Matrix products in true float32, even if training has allowed TF32 or bfloat16 inside them."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined] # set at runtime
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _norms(embeddings: Tensor, name: str) -> Tensor:
    """Norm of every row in float32; raises for a row that is not finite."""
    norms = torch.cat([torch.linalg.vector_norm(rows.float(), dim=1) for rows in embeddings.split(ROWS_AT_A_TIME)])
    _raise_if(~norms.isfinite(), name, "NaN or infinity, or its norm is beyond float32")
    return norms


def _inverse(norms: Tensor) -> Tensor:
    """1 / norm, but 0 for a row of zeros, whose cosines are then 0."""
    return torch.where(norms > 0, 1 / norms, 0)


def _raise_if(bad: Tensor, name: str, what: str) -> None:
    rows = bad.nonzero().flatten().tolist()
    if rows:
        more = f" and {len(rows) - 1:,} more rows" if len(rows) > 1 else ""
        raise ValueError(f"row {rows[0]}{more} of {name} holds {what}")
