"""The losses of `lib.losses` straight from embeddings and ids, without ever holding the (batch x batch) matrix.

Every loss is called `loss(images, texts, image_ids, text_ids, ...)` with `images: (I, D)` and `texts: (T, D)`, unit
vectors where the scores are to be cosines, and one integer id for each, equal where the text describes the image. It
has the options, the value and the gradient of its namesake in `lib.losses`, called on `images @ texts.T` and
`positives_from_ids(image_ids, text_ids)`. Memory is that of a tile, of a few vectors as long as the batch, and of the
gradients.

All take two more arguments.

engine: "dense" holds the matrix, which is the fastest way for a small batch; "tiles" is plain PyTorch on any device;
    "triton" runs kernels on an NVIDIA GPU (Ampere or newer) for float32 and bfloat16 embeddings. "auto" picks "dense"
    for a small batch, else "triton" where it can run, else "tiles". The kernels are tested in Triton's interpreter, and
    compiled by the tests for compute capability 8.0 and 9.0; no GPU has run them yet. engine="tiles" does without them.
tile: how many scores "tiles" holds at a time, or "triton" gradients of scores; None is what suits the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses import contrastive, ranking
from lib.losses.ranking import mean_of_smallest, positives_from_ids
from lib.losses.streaming.engines import prepare, scalar


def max_of_hinges(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    margin: float | Tensor = 0.2,
    keep: float = 1.0,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.max_of_hinges`; one matrix product forward, none backward.

    Args:
        images, texts, image_ids, text_ids, engine, tile: see the top of this file.
        margin: a number or a scalar tensor. A margin for each pair of the batch would be a matrix: take the dense loss.
        keep: share of the positive pairs that count, those of smallest loss.

    Returns:
        Scalar, float32 for embeddings of lower precision.

    Raises:
        ValueError: shapes do not fit together, no pair is positive, an engine that is unknown or cannot run here.
    """
    margin = scalar("margin", margin, images)
    tiled = prepare(images, texts, image_ids, text_ids, engine, tile, dense=0)
    if tiled is None:
        return _dense(ranking.max_of_hinges, images, texts, image_ids, text_ids, margin=margin, keep=keep)
    code, positives = tiled
    positive, of_image, of_text = code.hardest(images, texts, positives)
    value = (positives.leads(positive, of_image, of_text) + margin).clamp(min=0).sum(0)
    return mean_of_smallest(value[positives.by_image], keep)


def sum_of_hinges(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    margin: float | Tensor = 0.2,
    keep: float = 1.0,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.sum_of_hinges`; one matrix product forward, three backward.

    Args, result and errors: as `max_of_hinges`.
    """
    margin = scalar("margin", margin, images)
    tiled = prepare(images, texts, image_ids, text_ids, engine, tile)
    if tiled is None:
        return _dense(ranking.sum_of_hinges, images, texts, image_ids, text_ids, margin=margin, keep=keep)
    code, positives = tiled
    value = code.hinges(images, texts, margin, positives)
    return mean_of_smallest(value[positives.by_image], keep)


def info_nce(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    temperature: float | Tensor = 0.05,
    smoothing: float = 0.0,
    keep: float = 1.0,
    *,
    engine: str = "auto",
    tile: int | None = None,
) -> Tensor:
    """Return `lib.losses.info_nce`; one matrix product forward, three backward.

    Args:
        temperature: positive number or scalar tensor (which may be learned).
        smoothing, keep: as in `lib.losses.info_nce`.
        others, result and errors: as `max_of_hinges`.
    """
    temperature = scalar("temperature", temperature, images)
    options = {"temperature": temperature, "smoothing": smoothing, "keep": keep}
    tiled = prepare(images, texts, image_ids, text_ids, engine, tile)
    if tiled is None:
        return _dense(contrastive.info_nce, images, texts, image_ids, text_ids, **options)
    code, positives = tiled
    positive, of_image, of_text = code.logsumexp(images, texts, 1 / temperature, positives)
    value = F.softplus(positives.leads(positive, of_image, of_text)).sum(0)
    if smoothing:
        # Summed over all negatives a logit is linear in the embeddings: the sum over all, less that over positives.
        for part, rest, owner in ((images, texts, positives.image), (texts, images, positives.text)):
            with torch.autocast(part.device.type, enabled=False):
                sums = part.to(value.dtype) @ rest.to(value.dtype).sum(0) / temperature
            own = torch.zeros_like(sums).index_add(0, owner, positive)
            count = len(rest) - owner.bincount(minlength=len(part))
            value = value + smoothing * (count[owner] * positive - (sums - own)[owner]) / (count[owner] + 1)
    return mean_of_smallest(value[positives.by_image], keep) / 2


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
    """Return `lib.losses.sigmoid_loss`; value and gradient together in three matrix products, made in the forward pass.

    Args:
        scale, bias: numbers or scalar tensors (which may be learned).
        others, result and errors: as `max_of_hinges`.
    """
    options = {"scale": scalar("scale", scale, images), "bias": scalar("bias", bias, images)}
    tiled = prepare(images, texts, image_ids, text_ids, engine, tile, dense=0)
    if tiled is None:
        return _dense(contrastive.sigmoid_loss, images, texts, image_ids, text_ids, **options)
    code, positives = tiled
    return code.softplus_sum(images, texts, options["scale"], options["bias"], positives) / len(positives)


def _dense(loss: Callable[..., Tensor], images, texts, image_ids, text_ids, **options) -> Tensor:
    """The loss on the whole matrix, in float32 at least, as the tiles are."""
    dtype = torch.promote_types(images.dtype, torch.float32)
    with torch.autocast(images.device.type, enabled=False):
        return loss(images.to(dtype) @ texts.to(dtype).T, positives_from_ids(image_ids, text_ids), **options)
