"""Losses of a batch that lies on several ranks: each rank compares its own images with the texts of all.

Every loss has the name, value and gradient of its namesake in `lib.losses.streaming` on the whole batch, and is called
with the rows of one rank: `loss(images, texts, image_ids, text_ids)`. Of B images and texts on W ranks, a rank holds
the embeddings of all texts, makes B/W rows of the similarity matrix tile by tile, and never holds any of it. What a
text needs from all images, a maximum or a log-sum-exp, is put together from one number of each rank. So time goes down
with W, and so does everything that is kept but the texts.

The value is that of the whole batch on every rank, the gradient that of the rank's share, as `lib.training.distributed`
explains.
"""

from types import ModuleType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from lib.losses.streaming.engines import prepare, scalar
from lib.losses.streaming.positives import Positives
from lib.training.processes import gather, rank_and_ranks


def max_of_hinges(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    margin: float = 0.2,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.max_of_hinges` of the whole batch.

    Args:
        images: (i, D), texts: (t, D) of this rank; i and t may differ between ranks.
        image_ids: (i,) and text_ids: (t,), equal where the text describes the image.
        margin: as in the dense loss.
        engine: "auto", "tiles" or "triton", and tile: as in `lib.losses.streaming`.

    Raises:
        ValueError: none of the texts belongs to an image of this rank, or an engine that cannot run here.
    """
    code, texts, positives = _block(images, texts, image_ids, text_ids, engine, tile)
    positive, of_image, of_text = code.hardest(images, texts, positives)
    of_text = gather(of_text[None]).amax(0)
    value = (positives.leads(positive, of_image, of_text) + margin).clamp(min=0)
    return _share(value.sum(), positives)


def info_nce(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    temperature: float | Tensor = 0.05,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.info_nce` of the whole batch; temperature: a number or a scalar tensor, others as above."""
    scale = 1 / scalar("temperature", temperature, images)
    code, texts, positives = _block(images, texts, image_ids, text_ids, engine, tile)
    positive, of_image, of_text = code.logsumexp(images, texts, scale, positives)
    of_text = gather(of_text[None]).logsumexp(0)
    value = F.softplus(positives.leads(positive, of_image, of_text))
    return _share(value.sum() / 2, positives)


def sigmoid_loss(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    scale: float | Tensor = 10.0,
    bias: float | Tensor = -10.0,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.sigmoid_loss` of the whole batch; scale, bias: numbers or scalar tensors, others as above."""
    scale, bias = scalar("scale", scale, images), scalar("bias", bias, images)
    code, texts, positives = _block(images, texts, image_ids, text_ids, engine, tile)
    return _share(code.softplus_sum(images, texts, scale, bias, positives), positives)


def _block(
    images: Tensor, texts: Tensor, image_ids: Tensor, text_ids: Tensor, engine: str, tile: int | None
) -> tuple[ModuleType, Tensor, Positives]:
    """The engine, the texts of all ranks, and which of them belong to which images of this one."""
    if engine == "dense":
        raise ValueError("a rank never holds its part of the matrix: engine must be 'auto', 'tiles' or 'triton'")
    texts, text_ids = gather(texts), gather(text_ids)
    tiled = prepare(images, texts, image_ids, text_ids, engine, tile, dense=0)
    if tiled is None:
        raise ValueError(f"a rank with {len(images)} images, of {len(texts)} texts in all, has nothing to compare")
    code, positives = tiled
    return code, texts, positives


def _share(of_rank: Tensor, positives: Positives) -> Tensor:
    """From the sum over this rank's pairs the mean over all pairs: its value, and the gradient of this rank's share."""
    ranks = rank_and_ranks()[1]
    both = torch.stack([of_rank.detach().double(), of_rank.new_tensor(len(positives), dtype=torch.float64)])
    if ranks > 1:
        dist.all_reduce(both)
    total, pairs = both
    share = of_rank * (ranks / pairs).to(of_rank.dtype)
    return share + ((total / pairs).to(of_rank.dtype) - share).detach()
