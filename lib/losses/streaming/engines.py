"""Which code makes the tiles of a batch, and how large they are."""

from __future__ import annotations

import math
import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from lib.losses.streaming import tiles
from lib.losses.streaming.positives import Positives

DENSE = 1_024 * 1_024  # scores up to which holding them is faster than making them twice; measured on a CPU
TILE = {"cpu": 2**19, "cuda": 2**26}  # scores: what stays in cache, what keeps a GPU busy
STRIP = 2**28  # gradients of scores that "triton" holds, 0.5 GB in bfloat16


def prepare(
    images: Tensor,
    texts: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    engine: str,
    tile: int | None,
    dense: int = DENSE,
) -> tuple[ModuleType, Positives] | None:
    """Return the engine and the positive pairs, tile by tile, after checking everything; None where the matrix is held.

    Args:
        images, texts, image_ids, text_ids, engine, tile: see `lib.losses.streaming`.
        dense: up to how many scores "auto" holds the matrix.

    Raises:
        ValueError: shapes do not fit together, no pair is positive, an engine that is unknown or cannot run here.
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
    if engine == "auto" and tile is None and len(images) * len(texts) <= dense:
        engine = "dense"
    elif engine == "auto":
        engine = "triton" if images.is_cuda and not why_no_kernels(images) else "tiles"
    if engine == "dense":
        return None
    if engine == "triton":
        if why := why_no_kernels(images):
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


def why_no_kernels(images: Tensor) -> str:
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


def scalar(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """Return an option as a tensor beside the embeddings `like`, in the precision to sum in."""
    number = torch.as_tensor(value, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    if number.numel() != 1:
        shape = tuple(number.shape)
        raise ValueError(f"{name} must be a number here, got a tensor {shape}; see the loss in lib.losses")
    return number
