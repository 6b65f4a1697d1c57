"""The positive pairs of a batch as two index vectors, sorted by the tile that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """A block of the similarity matrix and the positive pairs in it.

    rows, columns: which images and texts. pairs: which of the batch's positive pairs lie in the block. at: their places
    in it, two (P,) int64 vectors, ready to index with.
    """

    rows: slice
    columns: slice
    pairs: slice
    at: tuple[Tensor, Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """Images and texts in the block."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


@dataclass(frozen=True)
class Positives:
    """Which texts belong to which images, (P,) int64 each, tile by tile.

    image, text: rows of the embeddings. images, texts: how many there are. height, width: of a tile; the last of a row
    or column of tiles may be smaller. start: where the pairs of each tile begin. by_image: the pairs in the order in
    which a dense mask of positives has them. image_ids, text_ids: what the pairs were found from, (I,) and (T,).
    """

    image: Tensor
    text: Tensor
    images: int
    texts: int
    height: int
    width: int
    start: list[int]
    by_image: Tensor
    image_ids: Tensor
    text_ids: Tensor

    @classmethod
    def from_ids(cls, image_ids: Tensor, text_ids: Tensor, height: int, width: int) -> Positives:
        """Find the pairs of equal ids, `image_ids: (I,)` and `text_ids: (T,)`, without comparing all with all.

        Raises:
            ValueError: no text belongs to any image.
        """
        order = text_ids.argsort(stable=True)
        found = text_ids[order]
        first = torch.searchsorted(found, image_ids)
        count = torch.searchsorted(found, image_ids, right=True) - first
        image = torch.arange(len(image_ids), device=image_ids.device).repeat_interleave(count)
        if not len(image):
            raise ValueError("no text id equals an image id: a batch without a matching pair has no loss")
        within = torch.arange(len(image), device=image.device) - (count.cumsum(0) - count)[image]
        text = order[first[image] + within]

        tiles_in_a_row = -(-len(text_ids) // width)
        tile = image // height * tiles_in_a_row + text // width
        order = tile.argsort(stable=True)
        count = tile.bincount(minlength=-(-len(image_ids) // height) * tiles_in_a_row)
        start = [0, *count.cumsum(0).tolist()]
        sizes = len(image_ids), len(text_ids), height, width
        return cls(image[order], text[order], *sizes, start, order.argsort(), image_ids, text_ids)

    def __len__(self) -> int:
        return len(self.image)

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles, row by row."""
        number = 0
        for top in range(0, self.images, self.height):
            rows = slice(top, min(top + self.height, self.images))
            for left in range(0, self.texts, self.width):
                columns = slice(left, min(left + self.width, self.texts))
                pairs = slice(self.start[number], self.start[number + 1])
                yield Tile(rows, columns, pairs, (self.image[pairs] - top, self.text[pairs] - left))
                number += 1

    def leads(self, positive: Tensor, of_image: Tensor, of_text: Tensor) -> Tensor:
        """Return by how much the negatives of each pair's image and of its text lead the pair, (2, P).

        Args:
            positive: (P,) scores of the pairs.
            of_image: (I,) and of_text: (T,), what stands for the negatives of each: the highest, the log-sum-exp.
        """
        return torch.stack([of_image[self.image], of_text[self.text]]) - positive
