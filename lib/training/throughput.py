"""What keeps a device busy: fewer shapes, batches that are ready, features that are there already, a fused optimiser.

These are parts for a loop of one's own on large data; `lib.training.fit` is the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.fast_gru import FastGRUEncoder
from lib.models.gru import GRUEncoder
from lib.models.interface import Texts, Tokens
from lib.training.batches import Batch, Pairs


def resident(pairs: Pairs, device: torch.device | str, share: float = 0.5) -> Pairs:
    """Return the pairs with their image features on a GPU, if they take at most `share` of its free memory.

    Their batches then have the features there, and the rest where it is asked for. Elsewhere, and where they are too
    many, the pairs come back as they are.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return pairs
    images = pairs.images if isinstance(pairs.images, Tensor) else torch.from_numpy(np.asarray(pairs.images))
    if images.numel() * images.element_size() > share * torch.cuda.mem_get_info(device)[0]:
        return pairs
    return replace(pairs, images=images.to(device), resident=True)


def pad_to_multiple(batch: Batch, multiple: int = 8) -> Batch:
    """Return the batch with its word ids (T, L) padded to a multiple of words, so that few lengths ever occur.

    A compiled model is then compiled once for each of those lengths. Padding is id 0, as everywhere.
    """
    if isinstance(batch.texts, Tensor):
        return batch
    words, lengths = batch.texts
    return replace(batch, texts=Tokens(nn.functional.pad(words, (0, -words.shape[1] % multiple)), lengths))


def ahead(batches: Iterable[Batch], device: torch.device | str) -> Iterator[Batch]:
    """Yield batches (of a CPU) on `device`; the next is on its way from pinned memory while one is worked on."""
    device, waiting = torch.device(device), None
    for batch in batches:
        copied = batch if device.type == "cpu" else _copied(batch, device)
        if waiting is not None:
            yield waiting
        waiting = copied
    if waiting is not None:
        yield waiting


def fused_adamw(parameters: Iterable[Tensor], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """Return AdamW that updates every parameter in one pass over its memory; CPU and CUDA, the same numbers."""
    return torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay, fused=True)


def fast_recurrence(model: nn.Module) -> nn.Module:
    """Put a `FastGRUEncoder` with the same parameters in the place of every `GRUEncoder` of one direction.

    Returns the model. The names in the state dict stay. For training on a CPU; on a GPU it changes nothing.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is GRUEncoder and not child.gru.bidirectional:
                setattr(parent, name, FastGRUEncoder(child))
    return model


def train_step(
    model: nn.Module,
    batch: Batch,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    bf16: bool = False,
    clip_norm: float = 2.0,
) -> Tensor:
    """Take one optimiser step and return the loss, a scalar on the device, without waiting for it.

    Args:
        model: called as `model(images, texts) -> (I, T)`.
        batch: on the device of the model.
        loss: called as `loss(similarity, positives)`, in float32.
        optimiser: of the parameters of the model.
        bf16: run the model under bfloat16 autocast; weights, loss and optimiser stay in float32.
        clip_norm: largest L2 norm of the gradient.
    """
    with torch.autocast(batch.positives.device.type, dtype=torch.bfloat16, enabled=bf16):
        similarity = model(batch.images, batch.texts)
    value = loss(similarity.float(), batch.positives)
    optimiser.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip_norm)
    optimiser.step()
    return value.detach()


def _copied(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device; the ids, which look things up on the CPU, stay."""

    def copy(part: Texts) -> Texts:
        if isinstance(part, Tokens):
            return Tokens(*map(move, part))
        return move(part)

    def move(part: Tensor) -> Tensor:
        return (part if part.device.type == device.type else part.pin_memory()).to(device, non_blocking=True)

    moved: dict[str, Any] = {
        part.name: copy(getattr(batch, part.name)) for part in fields(batch) if not part.name.endswith("_ids")
    }
    return replace(batch, **moved)
