"""The reductions of `lib.losses.streaming.tiles` as Triton kernels for NVIDIA GPUs.

A program makes one block of the score matrix from the embeddings, knows from the ids which of its pairs are positive
and reduces it, so that neither scores nor mask leave the chip. `hardest` and `logsumexp` write a few numbers for each
block. Where every score has a gradient, a kernel writes the gradients of the scores of some rows of the matrix, in the
precision of the embeddings, and two ordinary products turn them into those of the embeddings.

Sums are in float32. float32 embeddings are multiplied exactly, or in TF32 where
`torch.set_float32_matmul_precision` allows it.

Checked in Triton's interpreter (`TRITON_INTERPRET=1`), which runs the kernels on a CPU, and compiled for two
generations of GPUs. None has run them yet: their speed is unmeasured.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib.losses.streaming import tiles
from lib.losses.streaming.blocks import BLOCK, block, kernel, launch, programs, strips
from lib.losses.streaming.memory import dtype_of, slices, vector
from lib.losses.streaming.positives import Positives, Tile


def hardest(images: Tensor, texts: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """As `tiles.hardest`; of a negative that is not a number the score is `inf`."""
    return _Hardest.apply(images, texts, positives)


def logsumexp(images: Tensor, texts: Tensor, scale: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """As `tiles.logsumexp`."""
    return _LogSumExp.apply(images, texts, scale, positives)


def hinges(images: Tensor, texts: Tensor, margin: Tensor, positives: Positives) -> Tensor:
    """As `tiles.hinges`."""
    return _Hinges.apply(images, texts, margin, positives)


def softplus_sum(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, positives: Positives) -> Tensor:
    """As `tiles.softplus_sum`."""
    return _SoftplusSum.apply(images, texts, scale, bias, positives)


@triton.jit
def _packed(value, index):
    """Integers (int64) that are ordered as the values are, and among equal values the smaller index is higher."""
    bits = value.to(tl.int32, bitcast=True)
    ordered = tl.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)  # floats are stored as sign and magnitude
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - index).to(tl.int64)


@kernel
def _hardest_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, of_image, of_text,
                    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Highest score of a negative and its place, for images (I,) and texts (T,), packed into int64."""
    scores, negative, _, rows, columns, _, _ = block(
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


@kernel
def _logsumexp_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, scale, of_image,
                      of_text, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Log-sum-exp of the negatives in each block, (blocks across, stop - first) and (blocks down, T)."""
    scores, negative, _, rows, columns, down, across = block(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    logits = tl.where(negative, scores * tl.load(scale), float("-inf"))
    # One number a block and line, added up later in a fixed order: no atomics, so that every run gives the same.
    here = of_image + across.to(tl.int64) * (stop - first) + rows - first
    tl.store(here, _log_sum_exp(logits, 1), mask=rows < stop)
    tl.store(of_text + down.to(tl.int64) * n_texts + columns, _log_sum_exp(logits, 0), mask=columns < n_texts)


@kernel
def _softmax_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, weights, scale,
                    image_sum, of_image, text_sum, of_text, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
                    K: tl.constexpr):  # fmt: skip
    """Gradients of the logits of negatives, (stop - first, T): both softmaxes, times the gradients of their sums."""
    scores, negative, exists, rows, columns, _, _ = block(
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


@kernel
def _hinges_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, margin, image_bounds,
                   image_lines, of_image, text_bounds, text_lines, of_text, PRECISION: tl.constexpr, M: tl.constexpr,
                   N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Sums and numbers of the hinges in each block, (blocks across, 2, lines, rows) and (blocks down, 2, lines, T)."""
    scores, negative, _, rows, columns, down, across = block(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    scores = tl.where(negative, scores + tl.load(margin), float("-inf"))
    size, row, exists = stop - first, rows - first, rows < stop
    for line in range(image_lines):
        bound = tl.load(image_bounds + line * size + row, mask=exists, other=float("inf"))
        hinges = scores - bound[:, None]
        hinges = tl.where(hinges <= 0, 0.0, hinges)  # a maximum would lose what is not a number
        here = of_image + (across.to(tl.int64) * 2 * image_lines + line) * size + row
        tl.store(here, tl.sum(hinges, 1), mask=exists)
        tl.store(here + image_lines * size, tl.sum(tl.where(hinges > 0, 1.0, 0.0), 1), mask=exists)
    exists = columns < n_texts
    for line in range(text_lines):
        bound = tl.load(text_bounds + line * n_texts + columns, mask=exists, other=float("inf"))
        hinges = scores - bound[None, :]
        hinges = tl.where(hinges <= 0, 0.0, hinges)
        here = of_text + (down.to(tl.int64) * 2 * text_lines + line) * n_texts + columns
        tl.store(here, tl.sum(hinges, 0), mask=exists)
        tl.store(here + text_lines * n_texts, tl.sum(tl.where(hinges > 0, 1.0, 0.0), 0), mask=exists)


@kernel
def _active_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, weights, margin,
                   image_bounds, of_image, image_lines, text_bounds, of_text, text_lines, PRECISION: tl.constexpr,
                   M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):  # fmt: skip
    """Gradients of the scores of negatives, (stop - first, T): summed gradients of the hinges that are above zero."""
    scores, negative, exists, rows, columns, _, _ = block(
        images, texts, image_ids, text_ids, first, stop, n_texts, dim, PRECISION, M, N, K
    )
    scores = tl.where(negative, scores + tl.load(margin), float("-inf"))
    weight = tl.zeros((M, N), dtype=tl.float32)
    for line in range(image_lines):
        here = line * (stop - first) + rows - first
        bound = tl.load(image_bounds + here, mask=rows < stop, other=float("inf"))
        gradient = tl.load(of_image + here, mask=rows < stop, other=0.0)
        weight += tl.where(scores > bound[:, None], gradient[:, None], 0.0)
    for line in range(text_lines):
        here = line * n_texts + columns
        bound = tl.load(text_bounds + here, mask=columns < n_texts, other=float("inf"))
        gradient = tl.load(of_text + here, mask=columns < n_texts, other=0.0)
        weight += tl.where(scores > bound[None, :], gradient[None, :], 0.0)
    tl.store(weights + (rows - first)[:, None] * n_texts + columns[None, :], weight, mask=exists)


@kernel
def _softplus_kernel(images, texts, image_ids, text_ids, first, stop, n_texts, dim: tl.constexpr, weights, scale,
                     bias, of_block, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
                     K: tl.constexpr):  # fmt: skip
    """Gradients of the logits (stop - first, T); cross-entropy and summed gradient of each block, (2, programs)."""
    scores, negative, exists, rows, columns, _, _ = block(
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
        launch(_hardest_kernel, images, texts, positives, slice(0, len(images)), *found)
        (of_image, text), (of_text, image) = (_unpacked(part) for part in found)
        ctx.save_for_backward(images, texts, text, image)
        ctx.positives = positives
        return tiles.scores_of_pairs(images, texts, positives), of_image, of_text


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, positives):
        of_image, of_text = vector(len(images), images), vector(len(texts), texts) - torch.inf
        for rows in slices(images, positives.height):
            by_row = of_text.new_empty(triton.cdiv(len(texts), BLOCK["N"]), rows.stop - rows.start)
            by_column = of_text.new_empty(triton.cdiv(rows.stop - rows.start, BLOCK["M"]), len(texts))
            launch(_logsumexp_kernel, images, texts, positives, rows, scale, by_row, by_column)
            of_image[rows] = by_row.logsumexp(0)
            of_text = torch.logaddexp(of_text, by_column.logsumexp(0))
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
            launch(_softmax_kernel, images, texts, positives, tile.rows, weights, scale, *vectors)
            weights[tile.at] = of_positive[tile.pairs].to(weights.dtype)

        return *tiles.gradients(ctx, images, texts, positives, scale, strips(images, positives, weigh)), None


class _Hinges(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, margin, positives):
        ctx.positives, ctx.lines = positives, tiles.lines(images, texts, positives)
        image_bounds, text_bounds = (bounds for bounds, _ in ctx.lines)
        of_image, of_text = (bounds.new_zeros(2, *bounds.shape) for bounds in (image_bounds, text_bounds))
        for rows in slices(images, positives.height):
            bounds = image_bounds[:, rows].contiguous()
            by_row = bounds.new_empty(triton.cdiv(len(texts), BLOCK["N"]), 2, *bounds.shape)
            by_column = bounds.new_empty(triton.cdiv(bounds.shape[1], BLOCK["M"]), 2, *text_bounds.shape)
            across, down = (bounds, len(bounds), by_row), (text_bounds, len(text_bounds), by_column)
            launch(_hinges_kernel, images, texts, positives, rows, margin, *across, *down)
            of_image[:, :, rows] = by_row.sum(0)
            of_text += by_column.sum(0)
        (_, (image_line, image)), (_, (text_line, text)) = ctx.lines
        value, active = of_image[:, image_line, image] + of_text[:, text_line, text]
        ctx.save_for_backward(images, texts, margin, active)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, of_pair):
        (images, texts, margin, active), positives = ctx.saved_tensors, ctx.positives
        (image_bounds, image_line), (text_bounds, text_line) = ctx.lines
        of_image, of_text = torch.zeros_like(image_bounds), torch.zeros_like(text_bounds)
        of_image[image_line], of_text[text_line] = of_pair, of_pair
        of_positive = -of_pair * active

        def weigh(tile: Tile, weights: Tensor) -> None:
            across = *(part[:, tile.rows].contiguous() for part in (image_bounds, of_image)), len(image_bounds)
            down = text_bounds, of_text, len(text_bounds)
            launch(_active_kernel, images, texts, positives, tile.rows, weights, margin, *across, *down)
            weights[tile.at] = of_positive[tile.pairs].to(weights.dtype)

        blocks = strips(images, positives, weigh)
        image_gradient, text_gradient, _ = tiles.gradients(ctx, images, texts, positives, None, blocks)
        of_margin = -of_positive.sum().reshape(margin.shape) if ctx.needs_input_grad[2] else None
        return image_gradient, text_gradient, of_margin, None


class _SoftplusSum(tiles.SoftplusSum):  # with its backward, which scales what forward has made
    @staticmethod
    def forward(ctx, images, texts, scale, bias, positives):
        totals = torch.zeros(2, dtype=torch.float64, device=images.device)

        def weigh(tile: Tile, weights: Tensor) -> None:
            of_block = vector(2 * programs(tile.rows, texts), images).view(2, -1)
            launch(_softplus_kernel, images, texts, positives, tile.rows, weights, scale, bias, of_block)
            totals.add_(of_block.sum(1, dtype=torch.float64))

        blocks = strips(images, positives, weigh)
        of_images, of_texts, of_scale = tiles.gradients(ctx, images, texts, positives, scale, blocks)
        ctx.save_for_backward(of_images, of_texts, of_scale, totals[1].to(bias.dtype).reshape(bias.shape))
        return totals[0].to(dtype_of(images))


def _unpacked(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values and indices of `_packed` integers."""
    ordered = (packed >> 32).to(torch.int32)
    bits = torch.where(ordered >= 0, ordered, ordered ^ 0x7FFFFFFF)
    return bits.view(torch.float32), 0x7FFFFFFF - (packed & 0x7FFFFFFF)
