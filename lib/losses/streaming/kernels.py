"""The reductions of `lib.losses.streaming.tiles` as Triton kernels for NVIDIA GPUs.

A program makes one block of the score matrix from the embeddings, knows from the ids which of its pairs are positive
and reduces it, so that neither scores nor mask leave the chip. `hardest` and `logsumexp` write a few numbers for each
block. Where every score has a gradient, a kernel writes the gradients of the scores of some rows of the matrix, in the
precision of the embeddings, and two ordinary products turn them into those of the embeddings.

Sums are in float32. float32 embeddings are multiplied exactly, or in TF32 where
`torch.set_float32_matmul_precision` allows it.

Checked in Triton's interpreter (`TRITON_INTERPRET=1`), which runs the kernels on a CPU. GPU speed is unmeasured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib.losses.streaming import tiles
from lib.losses.streaming.memory import dtype_of, vector
from lib.losses.streaming.positives import Positives, Tile

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
BLOCK = {"M": 128, "N": 128, "K_BYTES": 128}  # images and texts of a block, bytes of each that are read at a time


def hardest(images: Tensor, texts: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """As `tiles.hardest`; of a negative that is not a number the score is `inf`."""
    return _Hardest.apply(images, texts, positives)


def logsumexp(images: Tensor, texts: Tensor, scale: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """As `tiles.logsumexp`."""
    return _LogSumExp.apply(images, texts, scale, positives)


def softplus_sum(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, positives: Positives) -> Tensor:
    """As `tiles.softplus_sum`."""
    return _SoftplusSum.apply(images, texts, scale, bias, positives)


# A kernel gets pointers to (I, D) images, (T, D) texts and their ids, and covers rows `first` to `stop` of the matrix.


@triton.jit
def _scores(images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION: tl.constexpr, M: tl.constexpr,
            N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """The block (M, N) of this program: scores, which are of negatives, which exist; its rows, columns and place."""
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


@triton.jit
def _packed(value, index):
    """Integers (int64) that are ordered as the values are, and among equal values the smaller index is higher."""
    bits = value.to(tl.int32, bitcast=True)
    ordered = tl.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)  # floats are stored as sign and magnitude
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - index).to(tl.int64)


@triton.jit
def _hardest_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim, of_image, of_text,
                    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Highest score of a negative and its place, for images (I,) and texts (T,), packed into int64."""
    scores, negative, _, rows, columns, _, _ = _scores(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    scores = tl.where(scores == scores, scores, float("inf"))  # a maximum would skip what is not a number
    scores = tl.where(negative, scores, float("-inf"))
    # Blocks finish in any order. One atomic maximum of score and place together gives the same result in all of them.
    highest = tl.max(scores, 1)
    place = tl.min(tl.where(scores == highest[:, None], columns[None, :], 0x7FFFFFFF), 1)
    tl.atomic_max(of_image + rows, _packed(highest, place), mask=rows < stop)
    highest = tl.max(scores, 0)
    place = tl.min(tl.where(scores == highest[None, :], rows[:, None], 0x7FFFFFFF), 0)
    tl.atomic_max(of_text + columns, _packed(highest, place), mask=columns < n_texts)


@triton.jit
def _log_sum_exp(logits, AXIS: tl.constexpr):
    highest = tl.max(logits, AXIS)
    highest = tl.where(highest == float("-inf"), 0.0, highest)  # no negative: the logarithm of 0, not of 0 / 0
    return highest + tl.log(tl.sum(tl.exp(logits - tl.expand_dims(highest, AXIS)), AXIS))


@triton.jit
def _logsumexp_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim, scale, of_image, of_text,
                      PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Log-sum-exp of the negatives in each block, (blocks across, I) and (blocks down, T)."""
    scores, negative, _, rows, columns, down, across = _scores(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    logits = tl.where(negative, scores * tl.load(scale), float("-inf"))
    # One number a block and line, added up later in a fixed order: no atomics, so that every run gives the same.
    tl.store(of_image + across.to(tl.int64) * stop + rows, _log_sum_exp(logits, 1), mask=rows < stop)
    tl.store(of_text + down.to(tl.int64) * n_texts + columns, _log_sum_exp(logits, 0), mask=columns < n_texts)


@triton.jit
def _softmax_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim, weights, scale, image_sum, of_image,
                    text_sum, of_text, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
                    K: tl.constexpr):  # fmt: skip
    """Gradients of the logits of negatives, (stop - first, T): both softmaxes, times the gradients of their sums."""
    scores, negative, exists, rows, columns, _, _ = _scores(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    row_exists, column_exists = rows < stop, columns < n_texts
    logits = tl.where(negative, scores * tl.load(scale), float("-inf"))
    row_sum = tl.load(image_sum + rows, mask=row_exists, other=float("inf"))
    column_sum = tl.load(text_sum + columns, mask=column_exists, other=float("inf"))
    row_weight = tl.load(of_image + rows, mask=row_exists, other=0.0)
    column_weight = tl.load(of_text + columns, mask=column_exists, other=0.0)
    weight = tl.exp(logits - row_sum[:, None]) * row_weight[:, None]
    weight += tl.exp(logits - column_sum[None, :]) * column_weight[None, :]
    tl.store(weights + (rows - first)[:, None] * n_texts + columns[None, :], weight, mask=exists)


@triton.jit
def _softplus_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim, weights, scale, bias, of_block,
                     PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Gradients of the logits (stop - first, T); cross-entropy and summed gradient of each block, (2, programs)."""
    scores, negative, exists, rows, columns, _, _ = _scores(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    sign = tl.where(negative, 1.0, -1.0)
    logits = sign * (scores * tl.load(scale) + tl.load(bias))
    small = tl.exp(-tl.abs(logits))  # at most 1: nothing overflows
    # Where 1 + small has lost digits of small, two terms of the series of log(1 + small) are more exact.
    value = tl.maximum(logits, 0.0) + tl.where(small < 1e-3, small - small * small / 2, tl.log(1 + small))
    value = tl.where(logits == logits, value, logits)  # a maximum would skip what is not a number
    weight = sign * tl.where(logits >= 0, 1.0, small) / (1 + small)
    tl.store(of_block + tl.program_id(0), tl.sum(tl.sum(tl.where(exists, value, 0.0), 1), 0))
    tl.store(of_block + tl.num_programs(0) + tl.program_id(0), tl.sum(tl.sum(tl.where(exists, weight, 0.0), 1), 0))
    tl.store(weights + (rows - first)[:, None] * n_texts + columns[None, :], weight, mask=exists)


class _Hardest(tiles.Hardest):  # with its backward, which needs no scores
    @staticmethod
    def forward(ctx, images, texts, positives):
        lowest = torch.iinfo(torch.int64).min
        found = [torch.full((len(part),), lowest, device=part.device) for part in (images, texts)]
        _launch(_hardest_kernel, images, texts, positives, slice(0, len(images)), *found)
        (of_image, text), (of_text, image) = (_unpacked(part) for part in found)
        ctx.save_for_backward(images, texts, text, image)
        ctx.positives = positives
        return tiles.scores_of_pairs(images, texts, positives), of_image, of_text


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, positives):
        down, across = triton.cdiv(len(images), BLOCK["M"]), triton.cdiv(len(texts), BLOCK["N"])
        of_image = vector(across * len(images), images).view(across, -1)
        of_text = vector(down * len(texts), texts).view(down, -1)
        _launch(_logsumexp_kernel, images, texts, positives, slice(0, len(images)), scale, of_image, of_text)
        of_image, of_text = of_image.logsumexp(0), of_text.logsumexp(0)
        ctx.save_for_backward(images, texts, scale, of_image, of_text)
        ctx.positives = positives
        return tiles.scores_of_pairs(images, texts, positives) * scale, of_image, of_text

    @staticmethod
    @once_differentiable
    def backward(ctx, of_positive, of_image, of_text):
        (images, texts, scale, image_sum, text_sum), positives = ctx.saved_tensors, ctx.positives
        # An image without a negative has the sum -inf; nothing is divided by it.
        image_sum, text_sum = (part.masked_fill(part == -torch.inf, torch.inf) for part in (image_sum, text_sum))
        # Copied, because a gradient may be one number shown many times (`expand`), which a kernel cannot read.
        vectors = [part.contiguous() for part in (image_sum, of_image, text_sum, of_text)]

        def weigh(tile: Tile, weights: Tensor) -> None:
            _launch(_softmax_kernel, images, texts, positives, tile.rows, weights, scale, *vectors)
            weights[tile.at] = of_positive[tile.pairs].to(weights.dtype)

        return *tiles.gradients(ctx, images, texts, positives, scale, _strips(images, positives, weigh)), None


class _SoftplusSum(tiles.SoftplusSum):  # with its backward, which scales what forward has made
    @staticmethod
    def forward(ctx, images, texts, scale, bias, positives):
        totals = torch.zeros(2, dtype=torch.float64, device=images.device)

        def weigh(tile: Tile, weights: Tensor) -> None:
            of_block = vector(2 * _programs(tile.rows, texts), images).view(2, -1)
            _launch(_softplus_kernel, images, texts, positives, tile.rows, weights, scale, bias, of_block)
            totals.add_(of_block.sum(1, dtype=torch.float64))

        strips = _strips(images, positives, weigh)
        of_images, of_texts, of_scale = tiles.gradients(ctx, images, texts, positives, scale, strips)
        ctx.save_for_backward(of_images, of_texts, of_scale, totals[1].to(bias.dtype).reshape(bias.shape))
        return totals[0].to(dtype_of(images))


def _strips(images: Tensor, positives: Positives, weigh: Callable) -> Iterator[tuple[Tile, Tensor]]:
    """Yield each tile with what `weigh` writes for it, in memory that the next tile overwrites.

    The tiles are as wide as the matrix. The memory is of the embeddings' type, so that their product is a fast one.
    """
    memory = images.new_empty(min(positives.height, positives.images) * positives.texts)
    for tile in positives.tiles():
        weights = memory[: tile.shape[0] * tile.shape[1]].view(tile.shape)
        weigh(tile, weights)
        yield tile, weights


def _programs(rows: slice, texts: Tensor) -> int:
    return triton.cdiv(rows.stop - rows.start, BLOCK["M"]) * triton.cdiv(len(texts), BLOCK["N"])


def _launch(kernel, images: Tensor, texts: Tensor, positives: Positives, rows: slice, *arguments: Tensor) -> None:
    """Run a kernel on some rows of the matrix."""
    exact = torch.get_float32_matmul_precision() == "highest"
    kernel[(_programs(rows, texts),)](
        images.contiguous(), texts.contiguous(), positives.image_ids, positives.text_ids, rows.start, rows.stop,
        len(texts), images.shape[1], *arguments, PRECISION="ieee" if exact else "tf32", M=BLOCK["M"], N=BLOCK["N"],
        K=BLOCK["K_BYTES"] // images.element_size(), num_warps=8, num_stages=3,
    )  # fmt: skip


def _unpacked(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values and indices of `_packed` integers."""
    ordered = (packed >> 32).to(torch.int32)
    bits = torch.where(ordered >= 0, ordered, ordered ^ 0x7FFFFFFF)
    return bits.view(torch.float32), 0x7FFFFFFF - (packed & 0x7FFFFFFF)
