"""Image-text pairs and the batches drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.interface import Texts, Tokens


@dataclass(frozen=True)
class Pairs:
    """Image features, text features and which text belongs to which image.

    Args:
        images: (N, ...) features: a tensor, or a NumPy array, memory-mapped ones included, which stays on disk.
        texts: (M, F) feature vectors, or (M, L) integer word ids together with `lengths`, which `Tokens` bring along.
        image_of_text: (M,) row of `images` that each text describes.
        lengths: (M,) number of words of each text, where `texts` holds word ids.
        by_length: texts of about one length share a batch, where `texts` holds word ids, so that little of it is
            padding. Faster; but the negatives of a batch are then of one length, too.
        resident: the features of a batch stay on the device of `images`, whichever the batch is asked for.

    Raises:
        ValueError: lengths of the parts do not fit together; the message names the part and the first bad row.
    """

    images: "Tensor | np.ndarray | Concatenation"
    texts: Tensor
    image_of_text: Tensor
    lengths: Tensor | None = None
    by_length: bool = False
    resident: bool = False

    def __post_init__(self):
        texts: Texts = self.texts
        if isinstance(texts, Tokens):
            if self.lengths is not None and self.lengths is not texts.lengths:
                raise ValueError("texts are Tokens, which have lengths: give no others")
            object.__setattr__(self, "lengths", texts.lengths)
            texts = texts.ids
        object.__setattr__(self, "texts", torch.as_tensor(texts))
        object.__setattr__(self, "image_of_text", torch.as_tensor(self.image_of_text, dtype=torch.long))
        for name in ("image_of_text", "lengths"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.texts):
                raise ValueError(f"{name} has {len(part)} rows, texts has {len(self.texts)}")
        if not len(self.texts):
            raise ValueError("there is no text to train on or to evaluate")
        bad = ((self.image_of_text < 0) | (self.image_of_text >= len(self.images))).nonzero()
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"image_of_text[{row}] is {int(self.image_of_text[row])}, but there are {len(self.images)} images"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def image_rows(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Return the features of the images `rows` (B,) on `device`; half precision on disk becomes float32."""
        if isinstance(self.images, Tensor):
            features = self.images.index_select(0, rows.to(self.images.device))
            return features.to(features.device if self.resident else device).float()
        return torch.from_numpy(np.ascontiguousarray(self.images[rows.numpy()])).to(device).float()

    def text_rows(self, rows: Tensor, device: torch.device | str = "cpu") -> Texts:
        """Return features of the texts `rows` (B,) on `device`, or `Tokens`, their word ids cut to the longest."""
        if self.lengths is None:
            return self.texts.index_select(0, rows).to(device).float()
        lengths = self.lengths[rows]
        return Tokens(self.texts[rows, : int(lengths.max())].to(device), lengths.to(device))

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> "Batch":
        """Return the texts `rows` (T,) and their images; an image that several of the texts share comes once."""
        image_ids, image = self.image_of_text[rows].unique(return_inverse=True)
        # Ten times as fast as comparing every image with every text, which takes half as long as reading 1,024 rows.
        positives = torch.zeros(len(image_ids), len(rows), dtype=torch.bool).scatter_(0, image[None], True)
        return Batch(
            images=self.image_rows(image_ids, device),
            texts=self.text_rows(rows, device),
            positives=positives.to(device),
            image_ids=image_ids,
            text_ids=rows,
        )

    def rows(self, epoch: int) -> Tensor:
        """Return the texts that epoch `epoch` uses: all of them. A curriculum starts with fewer."""
        return torch.arange(len(self))

    def epoch(self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu") -> Iterator["Batch"]:
        """Yield the batches of one epoch: those of `batches`, on `device`."""
        for rows in self.batches(batch_size, seed, epoch):
            yield self.batch(rows, device)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
        """Yield the texts of each batch, every one of `rows(epoch)` once; a pure function of `seed` and `epoch`.

        With `by_length` they are sorted within random windows of 20 batches, which are then shuffled. A last batch of a
        single text is left out: it has no negative.
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        rows = self.rows(epoch)
        order = rows[torch.randperm(len(rows), generator=generator)]
        if self.by_length and self.lengths is not None:
            windows = order.split(20 * batch_size)
            order = torch.cat([window[self.lengths[window].argsort(stable=True)] for window in windows])
        batches = order.split(batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            if len(batches[number]) > 1:
                yield batches[number]


class Concatenation:
    """Arrays (N1, ...), (N2, ...), ... as one of all their rows, none of which is read before it is asked for.

    So a memory map stays on disk. It has what `Pairs` needs of an array: length, shape, and `features[rows]`.

    Raises:
        ValueError: what the parts have a row of differs in shape.
    """

    def __init__(self, *parts: "Tensor | np.ndarray | Concatenation"):
        self.parts: list[np.ndarray] = []
        for part in parts:
            self.parts += part.parts if isinstance(part, Concatenation) else [np.asarray(part)]
        shapes = {part.shape[1:] for part in self.parts}
        if len(shapes) != 1:
            raise ValueError(f"rows of shapes {' and '.join(map(str, sorted(shapes)))} cannot be one array")
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.shape = (int(self.ends[-1]), *shapes.pop())
        self.dtype = np.result_type(*self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: "np.ndarray | Tensor | slice | int") -> np.ndarray:
        """Return a copy of these rows, in this order; `rows` count from 0."""
        wanted = np.asarray(np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows from {wanted.min()} to {wanted.max()} of {len(self)}")
        found = np.empty((*wanted.shape, *self.shape[1:]), self.dtype)
        number = np.searchsorted(self.ends, wanted, side="right")
        for part, end, which in zip(self.parts, self.ends, range(len(self.parts)), strict=True):
            here = number == which
            found[here] = part[wanted[here] - (end - len(part))]
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def concatenated(first: Pairs, second: Pairs) -> Pairs:
    """Return the pairs of both in one, so that a batch draws from both.

    Features in memory as tensors are copied into one tensor. Where one side is an array, none is copied: both sides
    stay where they are, memory maps on disk.

    Raises:
        ValueError: one has word ids and the other vectors, or their features differ in shape.
    """
    if first.images.shape[1:] != second.images.shape[1:]:
        shapes = [tuple(part.images.shape) for part in (first, second)]
        raise ValueError(f"images of shapes {shapes[0]} and {shapes[1]} cannot be one")
    texts, lengths = _concatenated_texts(first, second)
    images: Tensor | Concatenation
    if isinstance(first.images, Tensor) and isinstance(second.images, Tensor):
        images = torch.cat([first.images, second.images])
    else:
        images = Concatenation(first.images, second.images)
    owners = torch.cat([first.image_of_text, second.image_of_text + len(first.images)])
    both = {name: getattr(first, name) and getattr(second, name) for name in ("by_length", "resident")}
    return Pairs(images, texts, owners, lengths, **both)


def _concatenated_texts(first: Pairs, second: Pairs) -> tuple[Tensor, Tensor | None]:
    if first.lengths is None or second.lengths is None:
        if first.lengths is not second.lengths:
            raise ValueError("one has word ids, the other vectors")
        return torch.cat([first.texts, second.texts]), None
    longest = max(first.texts.shape[1], second.texts.shape[1])
    padded = [nn.functional.pad(part.texts, (0, longest - part.texts.shape[1])) for part in (first, second)]
    return torch.cat(padded), torch.cat([first.lengths, second.lengths])


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of one epoch's randomness, so that a resumed run repeats it."""
    return seed * 1_000_003 + epoch


@dataclass(frozen=True)
class Batch:
    """One training step's worth of pairs.

    Attributes:
        images: (I, ...) features of distinct images.
        texts: (T, F) features, or `Tokens`.
        positives: (I, T) bool.
        image_ids: (I,) rows of `Pairs.images`, and text_ids: (T,) rows of `Pairs.texts`, for objectives that look up
            more (tags, labels, confidences).
    """

    images: Tensor
    texts: Texts
    positives: Tensor
    image_ids: Tensor
    text_ids: Tensor
