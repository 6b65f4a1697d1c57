"""Image-text pairs and the batches drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Image features, text features and which text belongs to which image.

    Args:
        images: (N, ...) features: a tensor, or a NumPy array, memory-mapped ones included, which stays on disk.
        texts: (M, F) feature vectors, or (M, L) integer word ids together with `lengths`.
        image_of_text: (M,) row of `images` that each text describes.
        lengths: (M,) number of words of each text, where `texts` holds word ids.
        resident: the features of a batch stay on the device of `images`, whichever the batch is asked for.

    Raises:
        ValueError: lengths of the parts do not fit together; the message names the part and the first bad row.
    """

    images: Tensor | np.ndarray
    texts: Tensor
    image_of_text: Tensor
    lengths: Tensor | None = None
    resident: bool = False

    def __post_init__(self):
        object.__setattr__(self, "texts", torch.as_tensor(self.texts))
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

    def text_rows(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor | tuple[Tensor, Tensor]:
        """Return features of the texts `rows` (B,) on `device`, or their word ids, cut to the longest, with lengths."""
        if self.lengths is None:
            return self.texts.index_select(0, rows).to(device).float()
        lengths = self.lengths[rows]
        return self.texts[rows, : int(lengths.max())].to(device), lengths.to(device)

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
        """Yield the batches of one epoch, every text of `rows(epoch)` once; a pure function of `seed` and `epoch`.

        Texts of about one length share a batch (sorted within random windows of 20 batches, which are then shuffled),
        so that little of a batch is padding. A last batch of a single text is left out: it has no negative.
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        rows = self.rows(epoch)
        order = rows[torch.randperm(len(rows), generator=generator)]
        if self.lengths is not None:
            windows = order.split(20 * batch_size)
            order = torch.cat([window[self.lengths[window].argsort(stable=True)] for window in windows])
        batches = order.split(batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            if len(batches[number]) > 1:
                yield self.batch(batches[number], device)


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of one epoch's randomness, so that a resumed run repeats it."""
    return seed * 1_000_003 + epoch


@dataclass(frozen=True)
class Batch:
    """One training step's worth of pairs.

    Attributes:
        images: (I, ...) features of distinct images.
        texts: (T, F) features, or word ids (T, L) and lengths (T,).
        positives: (I, T) bool.
        image_ids: (I,) rows of `Pairs.images`, and text_ids: (T,) rows of `Pairs.texts`, for objectives that look up
            more (tags, labels, confidences).
    """

    images: Tensor
    texts: Tensor | tuple[Tensor, Tensor]
    positives: Tensor
    image_ids: Tensor
    text_ids: Tensor
