"""Sums, maxima and log-sum-exps over the similarity matrix, made a tile at a time, with exact gradients.

Each function returns vectors, as long as the batch or as its list of positive pairs; what a loss does with them is left
to ordinary autograd. A tile is one matrix product into memory that is used again and again, a few passes over it while
it is in cache, and, for a gradient, two more products of its weights with the embeddings. Scores and gradients are
summed in float32 (float64 for float64 embeddings) whatever the embeddings are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib.losses.streaming.memory import Buffer, dtype_of, rows_of, slices, vector
from lib.losses.streaming.positives import Positives, Tile


def hardest(images: Tensor, texts: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores of the positive pairs (P,), and of the hardest negative of each image (I,) and text (T,).

    `-inf` where there is no negative. Of equally hard negatives the first one gets the gradient, so that at most
    P + I + T pairs have any and `backward` needs no matrix product.
    """
    return Hardest.apply(images, texts, positives)


def logsumexp(images: Tensor, texts: Tensor, scale: Tensor, positives: Positives) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits (scores times `scale`) of the positive pairs (P,), and of each image (I,)
    and text (T,) the log of the summed exponentials of its negatives."""
    return _LogSumExp.apply(images, texts, scale, positives)


def hinges(images: Tensor, texts: Tensor, margin: Tensor, positives: Positives) -> Tensor:
    """Return the summed hinges of the negatives of each positive pair's image and text, (P,)."""
    return _Hinges.apply(images, texts, margin, positives)


def softplus_sum(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, positives: Positives) -> Tensor:
    """Return the binary cross-entropy of all pairs, summed; the logits are `scale * score + bias`.

    The gradient is made with the value, three matrix products in all, because it does not depend on what follows.
    """
    return SoftplusSum.apply(images, texts, scale, bias, positives)


class Hardest(torch.autograd.Function):
    """See `hardest`."""

    @staticmethod
    def forward(ctx, images, texts, positives):
        positive = vector(len(positives), images)
        of_image, of_text = (vector(len(part), images).fill_(-torch.inf) for part in (images, texts))
        text, image = (torch.zeros_like(best, dtype=torch.long) for best in (of_image, of_text))
        buffer = Buffer(images, positives)
        for tile, scores in products(images, texts, positives):
            positive[tile.pairs] = scores[tile.at]
            scores[tile.at] = -torch.inf
            for dim, here, best, index, there in (
                (1, tile.rows, of_image, text, tile.columns),
                (0, tile.columns, of_text, image, tile.rows),
            ):
                highest = scores.amax(dim)
                place = _first(scores, highest, dim, buffer.matrix(*tile.shape)) + there.start
                index[here] = torch.where(highest > best[here], place, index[here])
                best[here] = torch.maximum(highest, best[here])
        ctx.save_for_backward(images, texts, text, image)
        ctx.positives = positives
        return positive, of_image, of_text

    @staticmethod
    @once_differentiable
    def backward(ctx, of_positive, of_image, of_text):
        images, texts, text, image = ctx.saved_tensors
        every_image, every_text = (torch.arange(len(part), device=part.device) for part in (images, texts))
        rows = torch.cat([ctx.positives.image, every_image, image])
        columns = torch.cat([ctx.positives.text, text, every_text])
        weights = torch.cat([of_positive, of_image, of_text])
        some = weights.nonzero()[:, 0]
        rows, columns, weights = rows[some], columns[some], weights[some]
        return (
            _weighted_rows(texts, columns, rows, weights, images) if ctx.needs_input_grad[0] else None,
            _weighted_rows(images, rows, columns, weights, texts) if ctx.needs_input_grad[1] else None,
            None,
        )


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, positives):
        positive = vector(len(positives), images)
        sums = [(vector(len(part), images) - torch.inf, vector(len(part), images)) for part in (images, texts)]
        buffer = Buffer(images, positives)
        for tile, logits in products(images, texts, positives, scale):
            positive[tile.pairs] = logits[tile.at]
            logits[tile.at] = -torch.inf
            for dim, here, (highest, total) in ((1, tile.rows, sums[0]), (0, tile.columns, sums[1])):
                old = highest[here]
                new = torch.maximum(old, logits.amax(dim)).clamp(min=torch.finfo(old.dtype).min)
                exponentials = torch.sub(logits, new.unsqueeze(dim), out=buffer.matrix(*tile.shape)).exp_()
                total[here] = total[here] * (old - new).exp() + exponentials.sum(dim)
                highest[here] = new
        of_image, of_text = (highest + total.log() for highest, total in sums)
        ctx.save_for_backward(images, texts, scale, of_image, of_text)
        ctx.positives = positives
        return positive, of_image, of_text

    @staticmethod
    @once_differentiable
    def backward(ctx, of_positive, of_image, of_text):
        (images, texts, scale, image_sum, text_sum), positives = ctx.saved_tensors, ctx.positives
        # An image without a negative has the sum -inf; nothing is divided by it.
        image_sum, text_sum = (part.masked_fill(part == -torch.inf, torch.inf) for part in (image_sum, text_sum))
        buffer = Buffer(images, positives)

        def weigh(tile: Tile, logits: Tensor) -> Tensor:
            other = torch.sub(logits, text_sum[tile.columns], out=buffer.matrix(*tile.shape)).exp_()
            logits.sub_(image_sum[tile.rows, None]).exp_().mul_(of_image[tile.rows, None])
            logits.addcmul_(other, of_text[tile.columns].expand_as(other))
            logits[tile.at] = of_positive[tile.pairs]
            return logits

        blocks = ((tile, weigh(tile, logits)) for tile, logits in products(images, texts, positives, scale))
        return *gradients(ctx, images, texts, positives, scale, blocks), None


class _Hinges(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, margin, positives):
        ctx.positives, ctx.lines = positives, lines(images, texts, positives)
        sums = [vector.new_zeros(vector.shape) for vector, _ in ctx.lines]
        active = [torch.zeros_like(part) for part in sums]
        buffer = Buffer(images, positives)
        for tile, scores in products(images, texts, positives):
            scores.add_(margin)
            scores[tile.at] = -torch.inf
            for dim, here, (thresholds, _), total, count in _directions(tile, ctx.lines, sums, active):
                for line in range(len(thresholds)):
                    leads = torch.sub(scores, thresholds[line, here].unsqueeze(dim), out=buffer.matrix(*tile.shape))
                    total[line, here] += leads.clamp_(min=0).sum(dim)
                    count[line, here] += leads.sign_().sum(dim)
        ctx.save_for_backward(images, texts, margin, *active)
        return sum(total[line] for (_, line), total in zip(ctx.lines, sums, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, of_pair):
        images, texts, margin, *active = ctx.saved_tensors
        weights = [torch.zeros_like(part) for part in active]
        for (_, line), weight in zip(ctx.lines, weights, strict=True):
            weight[line] = of_pair
        count = sum(count[line] for (_, line), count in zip(ctx.lines, active, strict=True))
        buffer = Buffer(images, ctx.positives)

        def weigh(tile: Tile, scores: Tensor) -> Tensor:
            scores.add_(margin)
            total = torch.zeros_like(scores)
            for dim, here, (thresholds, _), weight, _ in _directions(tile, ctx.lines, weights, active):
                for line in range(len(thresholds)):
                    bound = thresholds[line, here].unsqueeze(dim)
                    leads = torch.gt(scores, bound, out=buffer.matrix(*tile.shape))
                    total.addcmul_(leads, weight[line, here].unsqueeze(dim).expand_as(leads))
            total[tile.at] = -(of_pair * count)[tile.pairs]
            return total

        blocks = ((tile, weigh(tile, scores)) for tile, scores in products(images, texts, ctx.positives))
        image_gradient, text_gradient, _ = gradients(ctx, images, texts, ctx.positives, None, blocks)
        margin_gradient = (of_pair * count).sum().reshape(margin.shape) if ctx.needs_input_grad[2] else None
        return image_gradient, text_gradient, margin_gradient, None


class SoftplusSum(torch.autograd.Function):
    """See `softplus_sum`."""

    @staticmethod
    def forward(ctx, images, texts, scale, bias, positives):
        total = images.new_zeros((), dtype=torch.float64)
        of_bias = torch.zeros_like(total)

        def weigh(tile: Tile, logits: Tensor) -> Tensor:
            logits.add_(bias)
            logits[tile.at] *= -1
            total.add_(F.softplus(logits).sum())
            weights = logits.sigmoid_()
            weights[tile.at] *= -1
            of_bias.add_(weights.sum())
            return weights

        blocks = ((tile, weigh(tile, logits)) for tile, logits in products(images, texts, positives, scale))
        of_images, of_texts, of_scale = gradients(ctx, images, texts, positives, scale, blocks)
        ctx.save_for_backward(of_images, of_texts, of_scale, of_bias.to(bias.dtype))
        return total.to(dtype_of(images))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return *(None if part is None else gradient.to(part.dtype) * part for part in ctx.saved_tensors), None


def products(
    images: Tensor, texts: Tensor, positives: Positives, scale: Tensor | None = None
) -> Iterator[tuple[Tile, Tensor]]:
    """Yield each tile with its scores, times `scale` if given, in memory that the next tile overwrites."""
    buffer, top = Buffer(images, positives), None
    for tile in positives.tiles():
        if tile.rows.start != top:
            top, block = tile.rows.start, rows_of(images, tile.rows)
            block = block if scale is None else block * scale
        yield tile, torch.mm(block, rows_of(texts, tile.columns).T, out=buffer.matrix(*tile.shape))


def gradients(
    ctx, images: Tensor, texts: Tensor, positives: Positives, scale: Tensor | None, blocks: Iterator
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of images, texts and scale, None where none is needed.

    Args:
        images, texts, positives, scale: what the loss was called with.
        blocks: every tile with the gradient of its scores (times `scale`, if given), in the precision to sum in or in
            that of the embeddings, in which they are then multiplied.
    """
    wanted = [
        ctx.needs_input_grad[0] or (scale is not None and ctx.needs_input_grad[2]),
        ctx.needs_input_grad[1],
    ]
    of_images, of_texts = [
        torch.zeros(part.shape, dtype=dtype_of(part), device=part.device) if want else None
        for part, want in zip((images, texts), wanted, strict=True)
    ]
    for tile, weights in blocks:
        if of_images is not None:
            _add_product(of_images[tile.rows], weights, texts[tile.columns])
        if of_texts is not None:
            _add_product(of_texts[tile.columns], weights.T, images[tile.rows])
    of_scale = None
    if scale is not None:
        if of_images is not None and ctx.needs_input_grad[2]:
            parts = [(rows_of(images, tile) * of_images[tile]).sum() for tile in slices(images, positives.height)]
            of_scale = reduce(torch.add, parts).to(scale.dtype).reshape(scale.shape)
        for part in (of_images, of_texts):
            if part is not None:
                part.mul_(scale)
    if not ctx.needs_input_grad[0]:
        of_images = None
    of_images, of_texts = [None if part is None else part.to(images.dtype) for part in (of_images, of_texts)]
    return of_images, of_texts, of_scale


def _add_product(total: Tensor, weights: Tensor, embeddings: Tensor) -> None:
    if weights.dtype == total.dtype:
        total.addmm_(weights, embeddings.to(total.dtype))
    else:
        total.add_(weights @ embeddings)


def _weighted_rows(source: Tensor, take: Tensor, add_to: Tensor, weights: Tensor, like: Tensor) -> Tensor:
    """Return a matrix shaped as `like` that has the sums of `weights * source[take]` in its rows `add_to`."""
    order = add_to.argsort()
    count = add_to.bincount(minlength=len(like))
    return F.embedding_bag(
        take[order],
        source.to(weights.dtype),
        count.cumsum(0) - count,
        mode="sum",
        per_sample_weights=weights[order],
    ).to(like.dtype)


def _first(scores: Tensor, highest: Tensor, dim: int, buffer: Tensor) -> Tensor:
    """Return where along `dim` the score equals the highest first, which `argmax` does many times slower on a CPU.

    `buffer`, a matrix of the shape of the scores, is overwritten. Floats count exactly up to 2**24; no tile has more.
    """
    size = scores.shape[dim]
    from_the_end = torch.arange(size, 0, -1, dtype=buffer.dtype, device=buffer.device).unsqueeze(1 - dim)
    return size - torch.eq(scores, highest.unsqueeze(dim), out=buffer).mul_(from_the_end).amax(dim).long()


def scores_of_pairs(images: Tensor, texts: Tensor, positives: Positives) -> Tensor:
    """Return the scores of the positive pairs (P,), without the matrix."""
    positive = vector(len(positives), images)
    for pairs in slices(positive, positives.height):
        rows, columns = (rows_of(part, of[pairs]) for part, of in ((images, positives.image), (texts, positives.text)))
        positive[pairs] = (rows * columns).sum(1)  # unlike a product, the same under autocast
    return positive


def lines(images: Tensor, texts: Tensor, positives: Positives) -> list[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Return, for images and for texts, the scores that negatives are compared with, and which is of which pair.

    Scores (K, I): those of the pairs of each image, `inf` where it has fewer than K. Of a pair: its line, its image.
    """
    positive, found = scores_of_pairs(images, texts, positives), []
    for owner, part in ((positives.image, images), (positives.text, texts)):
        order = owner.argsort(stable=True)
        count = owner.bincount(minlength=len(part))
        line = torch.empty_like(owner)
        line[order] = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner[order]]
        scores = positive.new_full((int(count.max()), len(part)), torch.inf)
        scores[line, owner] = positive
        found.append((scores, (line, owner)))
    return found


def _directions(tile: Tile, lines: list, *results: list) -> Iterator[tuple]:
    """Yield, for images and for texts: the dimension that is summed, the slice of the tile, the lines, the results."""
    yield 1, tile.rows, lines[0], *(pair[0] for pair in results)
    yield 0, tile.columns, lines[1], *(pair[1] for pair in results)
