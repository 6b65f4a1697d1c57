"""Learning from few captions and many tags: the combined loss, the two stages and the curriculum of Mithun et al. 2018.

One objective and one kind of data serve every schedule: clean first and then web (the paper's two stages), web first,
and both in one batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.base.checked import check_fields
from lib.losses import soft_margin
from lib.models.interface import Texts, Tokens
from lib.models.joint_embedding import JointEmbedding
from lib.training.batches import Batch, Pairs, concatenated
from lib.training.config import History, Loss, TrainConfig
from lib.training.loop import fit


@dataclass(frozen=True)
class WeblyChoices:
    """What the paper says, and what it leaves open; its margin of 0.2 is the default of the ranking losses.

    Args:
        sentence_weight, tag_weight: lambda 1 and lambda 2 of stage I; stage II has 0 and `tag_weight`.
        rate_ratio: learning rate of stage II over that of stage I (2e-5 over 2e-4).
        stage1: Adam, 30 epochs, a tenth of the rate every 10 epochs.
        stage2_epochs: not in the paper. Chosen on validation: long enough for the recall sum to stop rising.
        first_share: of the web pictures, those with the most frequent keywords, in the first epoch of stage II. The
            paper says "gradually"; the share rises linearly, a choice.
        full_at: part of stage II after which all web pictures take part; a choice.
    """

    sentence_weight: float = 1.0
    tag_weight: float = 1.0
    rate_ratio: float = 0.1
    stage1: TrainConfig = field(default_factory=TrainConfig)
    stage2_epochs: int = 15
    first_share: float = 0.3
    full_at: float = 0.5

    def __post_init__(self):
        weights = ["sentence_weight", "tag_weight", "first_share", "full_at"]
        check_fields(self, positive=["rate_ratio", "stage2_epochs"], not_negative=weights)
        for name in ("first_share", "full_at"):
            if getattr(self, name) > 1:
                raise ValueError(f"WeblyChoices: {name} must be a share from 0 to 1, got {getattr(self, name)!r}")

    @property
    def stage2(self) -> TrainConfig:
        """The settings of stage II: those of stage I with the smaller rate, held constant."""
        rate = self.stage1.learning_rate * self.rate_ratio
        return replace(self.stage1, epochs=self.stage2_epochs, learning_rate=rate, schedule="constant")

    def share(self, epoch: int) -> float:
        """Share of the web pictures that epoch `epoch` of stage II uses."""
        rise = min(1.0, epoch / max(1.0, self.full_at * self.stage2_epochs))
        return self.first_share + (1 - self.first_share) * rise


@dataclass(frozen=True, kw_only=True)
class TaggedPairs(Pairs):
    """Images with sentences, tags, or both.

    Args:
        tags: (N, F) tag features of each image, the mean of its tags' word vectors; a row of zeros is an image
            without tags.
        described: (M,) bool, False for a row of `texts` that only brings its image into the batch, for its tags.
        rank: (M,) place of each row in the curriculum, 0 first; None where all rows take part from the beginning.
        share: epoch -> share of the ranked rows that take part, such as `WeblyChoices.share`.
    """

    tags: Tensor
    described: Tensor
    rank: Tensor | None = None
    share: Callable[[int], float] | None = None

    def __post_init__(self):
        super().__post_init__()
        for name, rows in (("tags", len(self.images)), ("described", len(self)), ("rank", len(self))):
            part = getattr(self, name)
            if part is not None and len(part) != rows:
                raise ValueError(f"{name} has {len(part)} rows, not {rows}")
        if (self.rank is None) != (self.share is None):
            raise ValueError("a curriculum needs both the rank of each row and the share of each epoch")

    def rows(self, epoch: int) -> Tensor:
        """Return the rows of the curriculum's share at `epoch`, at least two of them."""
        if self.rank is None or self.share is None:
            return super().rows(epoch)
        return self.rank.argsort(stable=True)[: max(2, round(self.share(epoch) * len(self)))]


def clean_pairs(pairs: Pairs, tags: Tensor) -> TaggedPairs:
    """Return pairs of images and sentences with the (dummy) tags (N, F) of their images: the data of stage I."""
    described = torch.ones(len(pairs), dtype=torch.bool)
    return TaggedPairs(pairs.images, pairs.texts, pairs.image_of_text, pairs.lengths, tags=tags, described=described)


def web_pairs(
    images: Tensor | np.ndarray, tags: Tensor, frequency=None, share: Callable[[int], float] | None = None
) -> TaggedPairs:
    """Return web images (N, D) with their tags (N, F), without sentences: the data of stage II.

    Args:
        images: image features.
        tags: tag features.
        frequency: (N,) of each image's keyword in the clean text, for the curriculum: frequent ones come first
            (`lib.data.webtext.keyword_frequency`).
        share: epoch -> share, with `frequency`.
    """
    n = len(images)
    rank = None if frequency is None else (-torch.as_tensor(frequency)).argsort(stable=True).argsort()
    described = torch.zeros(n, dtype=torch.bool)
    nothing = torch.zeros(n, 1)  # no loss reads it: each image is in the batch for its tags
    return TaggedPairs(images, nothing, torch.arange(n), tags=tags, described=described, rank=rank, share=share)


def mixed_pairs(clean: TaggedPairs, web: TaggedPairs, repeat: int = 1) -> TaggedPairs:
    """Return both in one: each web image comes `repeat` times an epoch, beside every clean sentence."""
    n = len(web) * repeat
    texts = clean.texts.new_zeros(n, clean.texts.shape[1])  # nobody reads them, but a batch has one kind of text
    lengths = None if clean.lengths is None else clean.lengths.new_full((n,), 2)
    both = concatenated(clean, Pairs(web.images, texts, web.image_of_text.repeat(repeat), lengths))
    return TaggedPairs(
        both.images,
        both.texts,
        both.image_of_text,
        both.lengths,
        tags=torch.cat([clean.tags, web.tags]),
        described=torch.cat([clean.described, web.described.repeat(repeat)]),
    )


class WeblyObjective:
    """The combined loss `lambda1 L_IS + lambda2 L_IT` of a batch (Mithun et al. 2018, Eq. 3).

    L_IS is the ranking loss between the images and sentences of the batch, L_IT the same between images and tags. A
    term is a mean over its pairs, and zero where the batch has none of them.

    Args:
        data: what the batches are drawn from; it has the tags.
        loss: `sum_of_hinges` (Eq. 1, VSE), `max_of_hinges` (Eq. 2 and 4, VSE++) or another one; its margin is its own.
        sentence_weight, tag_weight: lambda 1 and lambda 2; a branch whose weight is 0 is not run and gets no gradient.
        tag_loss: of L_IT where it differs from `loss`.
        soft: give L_IT, which must be a ranking loss then, the margins of `soft_margin`.
    """

    of_points = True

    def __init__(
        self,
        data: TaggedPairs,
        loss: Loss,
        sentence_weight: float = 1.0,
        tag_weight: float = 1.0,
        tag_loss: Loss | None = None,
        soft: bool = False,
    ):
        self.data, self.loss, self.tag_loss, self.soft = data, loss, tag_loss or loss, soft
        self.sentence_weight, self.tag_weight = sentence_weight, tag_weight

    def __call__(self, model: JointEmbedding, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        images = model.encode_images(batch.images)
        total = images.sum() * 0
        described = self.data.described[batch.text_ids]
        if self.sentence_weight and described.any():
            columns = described.nonzero()[:, 0].to(images.device)
            positives = batch.positives[:, columns]
            rows = positives.any(1).nonzero()[:, 0]
            sentences = model.encode_sentences(_rows_of(batch.texts, columns))
            total = total + self.sentence_weight * self.loss(images[rows] @ sentences.T, positives[rows])
        tags = self.data.tags[batch.image_ids].to(images.device)
        rows = tags.any(1).nonzero()[:, 0]
        if self.tag_weight and len(rows):
            tags = tags[rows].float()
            similarity = images[rows] @ model.encode_tags(tags).T
            own = torch.eye(len(rows), dtype=torch.bool, device=images.device)
            options = {"margin": soft_margin(tags)} if self.soft else {}
            total = total + self.tag_weight * self.tag_loss(similarity, own, **options)
        return total


def _rows_of(texts: Texts, rows: Tensor) -> Texts:
    return Tokens(texts.ids[rows], texts.lengths[rows]) if isinstance(texts, Tokens) else texts[rows]


def two_stages(
    model: JointEmbedding,
    clean: TaggedPairs,
    web: TaggedPairs,
    loss: Loss | Mapping[int, Loss],
    choices: WeblyChoices,
    *,
    val: Pairs | None = None,
    device: str = "auto",
    progress: bool = True,
) -> tuple[History, History]:
    """Train as the paper does: stage I on clean pairs with dummy tags, stage II on web pictures and their tags alone.

    Stage II runs no sentence branch, so that its weights keep their bits; each stage ends with the weights of its best
    validation epoch. The other arguments are those of `fit`, which keeps both stages.

    Args:
        loss: of both stages; or a dict from first epoch of stage I to loss, such as
            `{0: sum_of_hinges, 1: max_of_hinges}`. Stage II, which starts where stage I ended, has the last of them.
    """
    losses = loss if isinstance(loss, Mapping) else {0: loss}
    weights = choices.sentence_weight, choices.tag_weight
    first = {start: WeblyObjective(clean, of_phase, *weights) for start, of_phase in losses.items()}
    second = WeblyObjective(web, losses[max(losses)], 0.0, choices.tag_weight)
    options: dict[str, Any] = {"val": val, "device": device, "progress": progress}
    return (
        fit(model, clean, choices.stage1, objective=first, **options),
        fit(model, web, choices.stage2, objective=second, **options),
    )
