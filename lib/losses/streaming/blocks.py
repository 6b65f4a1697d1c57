"""One block of the score matrix in a Triton program, and how the programs of some rows are started."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from lib.losses.streaming.positives import Positives, Tile

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
BLOCK = {"M": 128, "N": 128, "K_BYTES": 128}  # images and texts of a block, bytes of each that are read at a time
WARPS, STAGES = 8, 3


def kernel(function: Callable):
    """Compile a function with Triton, once whatever rows of the matrix it is given."""
    return triton.jit(function, do_not_specialize=["first", "stop"])


@triton.jit
def block(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, PRECISION: tl.constexpr,
          M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """The block (M, N) of this program: scores, which are of negatives, which exist; its rows, columns and place.

    Pointers to (I, D) images, (T, D) texts and their ids; the programs cover rows `first` to `stop` of the matrix.
    """
    # Programs that run together form groups of 8 blocks down, so that what one has read the next finds in the cache.
    blocks_down, blocks_across, group = tl.cdiv(stop - first, M), tl.cdiv(n_texts, N), 8
    program = tl.program_id(0)
    top = program // (group * blocks_across) * group
    height = tl.minimum(blocks_down - top, group)
    down = top + program % (group * blocks_across) % height
    across = program % (group * blocks_across) // height

    # Offsets are int64: a matrix of embeddings may have more than 2**31 numbers.
    rows = first + down.to(tl.int64) * M + tl.arange(0, M)
    columns = across.to(tl.int64) * N + tl.arange(0, N)
    row_exists, column_exists = rows < stop, columns < n_texts
    scores = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, dim, K):
        k = start + tl.arange(0, K)
        # What lies outside is read as 0 and adds nothing: ragged last blocks, any dimension.
        a = tl.load(images + rows[:, None] * dim + k[None, :], mask=row_exists[:, None] & (k < dim)[None, :], other=0.0)
        b = tl.load(
            texts + columns[None, :] * dim + k[:, None], mask=column_exists[None, :] & (k < dim)[:, None], other=0.0
        )
        if INTERPRETED:  # which has no product of bfloat16; that of the same numbers in float32 is equal
            a, b = a.to(tl.float32), b.to(tl.float32)
        scores = tl.dot(a, b, scores, input_precision=PRECISION)

    row_ids = tl.load(image_ids + rows, mask=row_exists, other=0)
    column_ids = tl.load(text_ids + columns, mask=column_exists, other=0)
    exists = row_exists[:, None] & column_exists[None, :]
    negative = exists & (row_ids[:, None] != column_ids[None, :])
    return scores, negative, exists, rows, columns, down, across


def launch(function, images: Tensor, texts: Tensor, positives: Positives, rows: slice, *arguments: Tensor | int):
    """Run a kernel on some rows of the matrix."""
    exact = torch.get_float32_matmul_precision() == "highest"
    function[(programs(rows, texts),)](
        images.contiguous(), texts.contiguous(), positives.image_ids, positives.text_ids, rows.start, rows.stop,
        len(texts), images.shape[1], *arguments, PRECISION="ieee" if exact else "tf32", M=BLOCK["M"], N=BLOCK["N"],
        K=BLOCK["K_BYTES"] // images.element_size(), num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip


def programs(rows: slice, texts: Tensor) -> int:
    """How many blocks some rows of the matrix have."""
    return triton.cdiv(rows.stop - rows.start, BLOCK["M"]) * triton.cdiv(len(texts), BLOCK["N"])


def strips(images: Tensor, positives: Positives, weigh: Callable) -> Iterator[tuple[Tile, Tensor]]:
    """Yield each tile with what `weigh` writes for it, in memory that the next tile overwrites.

    The tiles are as wide as the matrix. The memory is of the embeddings' type, so that their product is a fast one.
    """
    memory = images.new_empty(min(positives.height, positives.images) * positives.texts)
    for tile in positives.tiles():
        weights = memory[: tile.shape[0] * tile.shape[1]].view(tile.shape)
        weigh(tile, weights)
        yield tile, weights
