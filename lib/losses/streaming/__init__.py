"""The losses of `lib.losses` straight from embeddings and ids, without ever holding the (batch x batch) matrix.

Every loss is called `loss(images, texts, image_ids, text_ids, ...)` with `images: (I, D)` and `texts: (T, D)`, unit
vectors where the scores are to be cosines, and one integer id for each, equal where the text describes the image. It
has the options, the value and the gradient of its namesake in `lib.losses`, called on `images @ texts.T` and
`positives_from_ids(image_ids, text_ids)`. Memory is that of a tile, of a few vectors as long as the batch, and of the
gradients.

All take two more arguments.

engine: "dense" holds the matrix, which is the fastest way for a small batch; "tiles" is plain PyTorch on any device;
    "triton" runs kernels on an NVIDIA GPU (Ampere or newer), for float32 and bfloat16 embeddings and all losses but
    `sum_of_hinges`; "auto" picks "dense" for a small batch, else "tiles". It leaves the kernels to those who name them,
    because they were checked in Triton's interpreter and not yet on a GPU.
tile: how many scores "tiles" holds at a time, or "triton" gradients of scores; None is what suits the device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.losses import contrastive, ranking
from lib.losses.ranking import mean_of_smallest, positives_from_ids
from lib.losses.streaming import tiles
from lib.losses.streaming.positives import Positives

DENSE = 1_024 * 1_024  # scores up to which holding them is faster than making them twice; measured on a CPU
TILE = {"cpu": 2**19, "cuda": 2**26}  # scores: what stays in cache, what keeps a GPU busy
STRIP = 2**28  # gradients of scores that "triton" holds, 0.5 GB in bfloat16


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
    options = {"margin": _scalar("margin", margin, images), "keep": keep}
    engine, positives = _prepare(images, texts, image_ids, text_ids, engine, tile, dense=0)
    if positives is None:
        return _dense(ranking.max_of_hinges, images, texts, image_ids, text_ids, **options)
    positive, of_image, of_text = engine.hardest(images, texts, positives)
    lead = options["margin"] - positive
    value = (of_image[positives.image] + lead).clamp(min=0) + (of_text[positives.text] + lead).clamp(min=0)
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
    options = {"margin": _scalar("margin", margin, images), "keep": keep}
    if engine == "triton":
        raise ValueError("sum_of_hinges has no Triton kernel: take engine='tiles', which runs on a GPU, too")
    engine, positives = _prepare(images, texts, image_ids, text_ids, engine, tile)
    if positives is None:
        return _dense(ranking.sum_of_hinges, images, texts, image_ids, text_ids, **options)
    value = engine.hinges(images, texts, options["margin"], positives)
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
    temperature = _scalar("temperature", temperature, images)
    options = {"temperature": temperature, "smoothing": smoothing, "keep": keep}
    engine, positives = _prepare(images, texts, image_ids, text_ids, engine, tile)
    if positives is None:
        return _dense(contrastive.info_nce, images, texts, image_ids, text_ids, **options)
    positive, of_image, of_text = engine.logsumexp(images, texts, 1 / temperature, positives)
    value = F.softplus(of_image[positives.image] - positive) + F.softplus(of_text[positives.text] - positive)
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
    options = {"scale": _scalar("scale", scale, images), "bias": _scalar("bias", bias, images)}
    engine, positives = _prepare(images, texts, image_ids, text_ids, engine, tile, dense=0)
    if positives is None:
        return _dense(contrastive.sigmoid_loss, images, texts, image_ids, text_ids, **options)
    return engine.softplus_sum(images, texts, options["scale"], options["bias"], positives) / len(positives)


def _dense(loss: Callable[..., Tensor], images, texts, image_ids, text_ids, **options) -> Tensor:
    """The loss on the whole matrix, in float32 at least, as the tiles are."""
    dtype = torch.promote_types(images.dtype, torch.float32)
    with torch.autocast(images.device.type, enabled=False):
        return loss(images.to(dtype) @ texts.to(dtype).T, positives_from_ids(image_ids, text_ids), **options)


def _prepare(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    engine: str,
    tile: int | None,
    dense: int = DENSE,
) -> tuple[ModuleType | None, Positives | None]:
    """Return the engine and the positive pairs, tile by tile, after checking everything; None where the matrix is held.

    dense: up to how many scores "auto" holds the matrix.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1] or images.dtype != texts.dtype:
        raise ValueError(
            f"images and texts must be (I, D) and (T, D) of one type, got {tuple(images.shape)} {images.dtype} and "
            f"{tuple(texts.shape)} {texts.dtype}"
        )
    if image_ids.shape != images.shape[:1] or text_ids.shape != texts.shape[:1]:
        raise ValueError(
            f"there must be one id for each of {len(images)} images and {len(texts)} texts, got "
            f"{tuple(image_ids.shape)} and {tuple(text_ids.shape)}"
        )
    if engine == "auto":
        engine = "dense" if tile is None and len(images) * len(texts) <= dense else "tiles"
    if engine == "dense":
        return None, None
    if engine == "triton":
        if why := _why_no_kernels(images):
            raise ValueError(f"engine 'triton' cannot run here: {why}; 'tiles' can")
        module, width = import_module("lib.losses.streaming.kernels"), len(texts)  # an import only where it is needed
        height = max(1, (tile or STRIP) // max(1, width))
    elif engine == "tiles":
        tile = tile or TILE.get(images.device.type, TILE["cuda"])
        height = max(1, math.isqrt(tile // 2))
        module, width = tiles, tile // height
    else:
        raise ValueError(f"engine must be 'auto', 'dense', 'tiles' or 'triton', got {engine!r}")
    return module, Positives.from_ids(image_ids.to(images.device), text_ids.to(images.device), height, width)


def _why_no_kernels(images: Tensor) -> str:
    """Return what keeps the Triton kernels from running on these embeddings, empty where nothing does."""
    if find_spec("triton") is None:
        return "the package triton is missing, which comes with the CUDA builds of PyTorch"
    if images.dtype not in (torch.float32, torch.bfloat16):
        return f"the embeddings are {images.dtype}, not float32 or bfloat16"
    if os.environ.get("TRITON_INTERPRET") == "1":  # Triton's own switch: kernels run as Python, on any device
        return ""
    if not images.is_cuda or torch.version.cuda is None:
        return f"the embeddings are on {images.device.type}, not on an NVIDIA GPU"
    if torch.cuda.get_device_capability(images.device) < (8, 0):
        return "the GPU is older than Ampere (compute capability 8.0)"
    return ""


def _scalar(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    if value.numel() != 1:
        raise ValueError(f"{name} must be a number here, got a tensor {tuple(value.shape)}; see the loss in lib.losses")
    return value
