"""Ranks by counting: how many rivals score higher than the positive, and how many score the same.

Nothing is sorted and no similarity matrix is held: scores are made a tile at a time, and a tile only adds to
counters. A tile of images and *all their own captions* comes first, because it holds every positive score of
these images and captions; then the images meet the other captions. So an evaluation costs one matrix product
and a few passes over tiles that are still in cache.

Scores tie if they differ by less than the rounding of a float32 product. Matrix products round the same numbers
differently in tiles of different shapes: an exact comparison would call identical embeddings better or worse by
chance, and rank a collapsed model by nothing but rounding.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.evaluation.parallel import Buffer, for_each

ScoreTile = Callable[[slice, slice | Tensor], Tensor]  # (images, texts) -> scores (I, T) float32


@dataclass(frozen=True)
class Ranks:
    """What each query's best positive meets in its gallery; three counts per query, (Q,) int64.

    The order of equal scores is arbitrary, so rank and hit are expectations over all orders of the
    `tied + positives` items of equal score. Constant embeddings are thus exactly as good as a random ranking.

    Attributes:
        higher: rivals with a higher score.
        tied: rivals with the same score.
        positives: positives with that score (always 1 for a text; up to the number of its captions for an image).
    """

    higher: Tensor
    tied: Tensor
    positives: Tensor

    def rank(self) -> Tensor:
        """Expected rank of the first positive, counted from 1, (Q,) float64.

        Of e tied rivals, e / (k + 1) are expected before the first of k positives. With one positive that
        is the middle rank.
        """
        return 1 + self.higher + self.tied.double() / (self.positives + 1)

    def hit(self, k: int) -> Tensor:
        """Probability that a positive is among the first k, (Q,) float64: 0 or 1 unless place k is tied.

        It is missed if the j = k - higher places left all go to tied rivals, which has the hypergeometric
        probability C(tied, j) / C(tied + positives, j).
        """
        missed = torch.ones(len(self.higher), dtype=torch.float64)
        for place in range(k):
            rivals = (self.tied - (place - self.higher)).clamp(min=0).double()
            left_over = rivals / (rivals + self.positives)
            missed = torch.where(self.higher <= place, missed * left_over, missed)
        return 1 - missed

    def take(self, index: Tensor) -> Ranks:
        """The same counts for some of the queries; index: (R,) int64 or (Q,) bool."""
        return Ranks(self.higher[index], self.tied[index], self.positives[index])


def constant_ranks(gallery: Tensor, positives: Tensor) -> Ranks:
    """Ranks where a query's whole gallery scores the same, which is chance; both (Q,) int64."""
    return Ranks(torch.zeros_like(positives), gallery - positives, positives)


def count_ranks(
    score_tile: ScoreTile,
    images: int,
    image_of_text: Tensor,
    rounding: Tensor,
    fold: int,
    across: bool,
    tile: int,
) -> tuple[tuple[Ranks, Ranks], tuple[Ranks, Ranks] | None]:
    """Ranks of images (N,) and of texts (M,), within folds of consecutive images and, if asked, across all.

    Args:
        score_tile: makes the scores (I, T) of a slice of images and a slice or an index of texts; the thread's next
            call may overwrite them.
        images: N.
        image_of_text: (M,) int64.
        rounding: (M,) up to which difference a score ties with that of a text and its image.
        fold: images in a fold (`images`: one fold).
        across: count across all folds as well.
        tile: scores in a tile, exceeded only by an image that has more captions than that.
    """
    order = torch.argsort(image_of_text, stable=True)
    owner = image_of_text[order]
    in_order = torch.equal(owner, image_of_text)
    captions = torch.bincount(owner, minlength=images)
    first_text = [0, *captions.cumsum(0).tolist()]  # of each image, in the sorted order
    rounding = rounding[order]
    own = torch.empty(len(owner), device=owner.device)  # score of each caption with its image
    best = torch.full((images,), -math.inf, device=owner.device)  # score of each image's best caption
    rounding_of_best = torch.zeros_like(best).scatter_reduce(0, owner, rounding, "amax")
    within, whole = _Counts(images, owner), _Counts(images, owner) if across else None
    buffer, lock = Buffer(owner.device), threading.Lock()

    def scored(rows: slice, columns: slice) -> Tensor:
        return score_tile(rows, columns if in_order else order[columns])

    def count(rows: slice, columns: slice, scores: Tensor, same_fold: bool) -> None:
        of_images, of_texts = (best[rows], rounding_of_best[rows]), (own[columns], rounding[columns])
        counted = _compare(scores, of_images, of_texts, buffer.matrix(*scores.shape))
        with lock:
            if same_fold:
                within.add(rows, columns, *counted)
            if whole is not None:
                whole.add(rows, columns, *counted)

    def count_own(block: tuple[slice, slice]) -> None:
        rows, columns = block
        scores, image = scored(rows, columns), owner[columns] - rows.start
        own[columns] = scores[image, torch.arange(len(image), device=image.device)]
        best[rows] = best[rows].scatter_reduce(0, image, own[columns], "amax")
        count(rows, columns, scores, same_fold=True)

    def count_others(tile: tuple[slice, slice, bool]) -> None:
        rows, columns, same_fold = tile
        count(rows, columns, scored(rows, columns), same_fold)

    blocks = list(_blocks(first_text, fold, tile))
    for_each((block for block in blocks if block[1].start < block[1].stop), count_own, owner.device)
    for_each(_other_tiles(blocks, first_text, fold, across, tile), count_others, owner.device)

    ties_with_best = own >= (best - rounding_of_best)[owner]
    positives = torch.bincount(owner[ties_with_best], minlength=images)
    return within.ranks(positives, order), whole.ranks(positives, order) if whole is not None else None


class _Counts:
    """For each image and each text, how many scores lie above and how many not below its positive."""

    def __init__(self, images: int, owner: Tensor):
        self.of_image = torch.zeros(2, images, dtype=torch.int64, device=owner.device)
        self.of_text = torch.zeros(2, len(owner), dtype=torch.int64, device=owner.device)

    def add(self, rows: slice, columns: slice, of_image: Tensor, of_text: Tensor) -> None:
        self.of_image[:, rows] += of_image
        self.of_text[:, columns] += of_text

    def ranks(self, positives: Tensor, order: Tensor) -> tuple[Ranks, Ranks]:
        """Counts as ranks of images and of texts, texts back in the caller's order, positives not rivals."""
        above, not_below = self.of_image
        images = Ranks(above.cpu(), (not_below - above - positives).cpu(), positives.cpu())
        above, not_below = torch.empty_like(self.of_text).index_copy_(1, order, self.of_text)
        texts = Ranks(above.cpu(), (not_below - above - 1).cpu(), torch.ones_like(above).cpu())
        return images, texts


def _compare(
    scores: Tensor, of_images: tuple[Tensor, Tensor], of_texts: tuple[Tensor, Tensor], buffer: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores (I, T) above and not below the positive of each image, (2, I), and of each text, (2, T).

    Comparisons are written as 0.0 and 1.0 into a buffer (I, T): float32 sums are several times faster than sums of
    booleans, and exact as long as a tile has fewer than 2**24 rows and columns.

    Args:
        scores: (I, T).
        of_images, of_texts: score of the positive and its rounding, (I,) and (T,) each.
        buffer: (I, T), overwritten.
    """
    (best, best_rounding), (own, own_rounding) = of_images, of_texts
    image_counts, text_counts = [], []
    for compare, sign in ((torch.gt, 1), (torch.ge, -1)):
        image_bound, text_bound = best + sign * best_rounding, own + sign * own_rounding
        image_counts.append(compare(scores, image_bound[:, None], out=buffer).sum(1))
        text_counts.append(compare(scores, text_bound, out=buffer).sum(0))
    return torch.stack(image_counts).long(), torch.stack(text_counts).long()


def _blocks(first_text: list[int], fold: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Images in order, as slices inside a fold, each with the slice of their captions and at most a tile."""
    images, start = len(first_text) - 1, 0
    most = max(1, math.isqrt(tile))
    while start < images:
        stop = start + 1
        limit = min(images, (start // fold + 1) * fold, start + most)
        while stop < limit and (stop + 1 - start) * (first_text[stop + 1] - first_text[start]) <= tile:
            stop += 1
        yield slice(start, stop), slice(first_text[start], first_text[stop])
        start = stop


def _other_tiles(
    blocks: list[tuple[slice, slice]], first_text: list[int], fold: int, across: bool, tile: int
) -> Iterator[tuple[slice, slice, bool]]:
    """Each block of images with slices of the captions that are not theirs, and whether those are of the same fold."""
    for rows, columns in blocks:
        fold_start = rows.start // fold * fold
        low, high = first_text[fold_start], first_text[min(fold_start + fold, len(first_text) - 1)]
        parts = [(low, columns.start, True), (columns.stop, high, True)]
        if across:
            parts += [(0, low, False), (high, first_text[-1], False)]
        width = max(1, tile // (rows.stop - rows.start))
        for start, stop, same_fold in parts:
            for left in range(start, stop, width):
                yield rows, slice(left, min(left + width, stop)), same_fold
