"""Items with labels: the data of retrieval by category, how training runs over them, and what it chooses by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.evaluation.categories import CLEAN, evaluate_categories
from lib.models.interface import retrieval_model
from lib.text import tokenize
from lib.training import TrainConfig
from lib.training.batches import epoch_seed


@dataclass(frozen=True)
class LabelledItems:
    """Images with one text each and labels.

    images: (N, D) float; texts: (N, E) float; labels: (N, C) bool, at least one a row. Raises ValueError naming the
    part and the first bad row.
    """

    images: Tensor
    texts: Tensor
    labels: Tensor

    def __post_init__(self):
        object.__setattr__(self, "labels", torch.as_tensor(self.labels))
        for name in ("texts", "labels"):
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, images has {len(self.images)}")
        bare = (~self.labels.any(1)).nonzero()
        if len(bare):
            raise ValueError(f"item {int(bare[0])} has no label; leave items without labels out")

    def __len__(self) -> int:
        return len(self.images)

    def epoch(
        self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu"
    ) -> Iterator["LabelledItems"]:
        """Yield the batches of one epoch, a pure function of `seed` and `epoch`.

        A last batch of a single item is left out: it has no negative.
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        for rows in torch.randperm(len(self), generator=generator).split(batch_size):
            if len(rows) > 1:
                yield self.take(rows, device)

    def take(self, rows: Tensor, device: torch.device | str = "cpu") -> "LabelledItems":
        """The items at these rows, on a device."""
        return LabelledItems(*(part[rows].to(device) for part in (self.images, self.texts, self.labels)))


def words_present(texts: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """Return the binary bag of words of texts, (N, V) float: 1 where a word of the vocabulary is in the text."""
    column = {word: number for number, word in enumerate(vocabulary)}
    bags = torch.zeros(len(texts), len(vocabulary))
    for row, text in enumerate(texts):
        bags[row, [column[word] for word in tokenize(text) if word in column]] = 1
    return bags


@dataclass(frozen=True)
class SearchedItems:
    """Validation by category: the halves of the items search each other (protocol "clean").

    Args:
        items: of the validation split.
        codes: score the signs of the outputs.
    """

    items: LabelledItems
    codes: bool = False
    chooses = "map_avg"

    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the mean average precisions map_i2t, map_t2i and map_avg."""
        images, texts = embed(model, self.items)
        split = np.full(len(self.items), "test")
        return evaluate_categories(images, texts, self.items.labels.numpy(), split, CLEAN, codes=self.codes).as_dict()


def category_config(
    epochs: int = 20, batch_size: int = 80, learning_rate: float = 1e-4, *, plateau: bool = False, seed: int = 0
) -> TrainConfig:
    """Return how CRCGS trains, with the paper's settings for MIRFLICKR: Adam with betas of 0.5 and 0.999.

    Args:
        epochs, batch_size, learning_rate, seed: see `TrainConfig`.
        plateau: halve the rate after five epochs without a better validation score (published for COCO alone).
    """
    schedule = "plateau" if plateau else "constant"
    return TrainConfig(
        epochs,
        batch_size,
        learning_rate,
        schedule=schedule,
        decay_every=5,
        clip_norm=None,
        betas=(0.5, 0.999),
        seed=seed,
    )


def embed(model: nn.Module, items: LabelledItems, batch_size: int = 4096) -> tuple[Tensor, Tensor]:
    """Return image and text features (N, D) of all items on the CPU, of the model in eval mode."""
    network = retrieval_model(model.eval())
    device = next(model.parameters()).device
    parts = torch.arange(len(items)).split(batch_size)
    with torch.no_grad():
        images = [network.encode_images(items.images[rows].to(device)).cpu() for rows in parts]
        texts = [network.encode_sentences(items.texts[rows].to(device)).cpu() for rows in parts]
    return torch.cat(images), torch.cat(texts)
