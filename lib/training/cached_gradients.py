"""Large contrastive batches in constant memory: embed without a graph, differentiate the loss, embed again in chunks.

Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache). A contrastive
loss needs all embeddings of its batch at once, but an encoder only ever sees one item. So the gradient of the loss at
the embeddings is made first, which needs no activation of an encoder, and is then sent through each encoder a chunk
at a time. It costs one more forward pass; activations take the memory of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...]


def cached_gradient_step(
    encoders: Sequence[Callable[..., Tensor]],
    inputs: Sequence[Inputs],
    loss: Callable[..., Tensor],
    chunk: int,
) -> Tensor:
    """Add the gradients of `loss(*[encoder(x) for encoder, x in zip(encoders, inputs)])` and return its value.

    They equal those of the plain step up to rounding, with dropout as well: both passes of a chunk start from the same
    random state. An encoder whose output depends on the other items of its batch (batch normalisation in train mode)
    is given chunks, so it computes something else than the plain step.

    Args:
        encoders: each called as `encoder(x)`, or `encoder(*x)` where its input is a tuple, -> (B, D) embeddings.
        inputs: one for each encoder, (B, ...) tensors or tuples of them.
        loss: called with the embeddings of all encoders, -> scalar; parameters of its own get their gradients too.
        chunk: items that an encoder works on at a time.

    Returns:
        Scalar without a graph: `backward` has been done.

    Raises:
        ValueError: `chunk` is not positive, or there is not one input for each encoder.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be positive, got {chunk}")
    if len(encoders) != len(inputs):
        raise ValueError(f"{len(encoders)} encoders have {len(inputs)} inputs")
    parts = [_chunks(part, chunk) for part in inputs]
    states: list[list] = []
    embeddings = []
    with torch.no_grad():
        for encoder, chunks in zip(encoders, parts, strict=True):
            states.append([])
            found = []
            for x in chunks:
                states[-1].append(_random_state(x[0].device))
                found.append(encoder(*x))
            embeddings.append(torch.cat(found).requires_grad_())
    value = loss(*embeddings)
    value.backward()
    for encoder, chunks, saved, embedding in zip(encoders, parts, states, embeddings, strict=True):
        if embedding.grad is None:
            continue  # the loss has not used it
        gradients = embedding.grad.split(chunk)
        for x, state, gradient in zip(chunks, saved, gradients, strict=True):
            device = x[0].device
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                _set_random_state(state, device)
                encoded = encoder(*x)
            encoded.backward(gradient)
    return value.detach()


def _chunks(inputs: Inputs, size: int) -> list[tuple[Tensor, ...]]:
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return list(zip(*(part.split(size) for part in inputs), strict=True))


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
