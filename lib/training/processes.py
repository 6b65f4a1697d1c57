"""The processes (ranks) of one training run, and how rows get from all of them to all of them, with gradient.

Let `l_r` be the loss that rank r returns and L their mean. The gradient of a gathered row is summed over the losses of
all ranks, so an embedding receives `sum_r dl_r = W dL` from W ranks. `DistributedDataParallel` averages the gradients
of parameters over ranks, which divides by W: parameters get the gradient of L.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from lib.base.device import resolve_device


@contextmanager
def process_group(device: str = "auto") -> Iterator[torch.device]:
    """Join the processes that torchrun started, and give this one its device; leave them at the end.

    "auto" is the GPU of this process's number on its machine (NCCL), or the CPU where there is none (gloo). Started
    without torchrun, the process is alone.
    """
    own = resolve_device(device)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(own)
    if "WORLD_SIZE" not in os.environ:
        yield own
        return
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield own
    finally:
        dist.destroy_process_group()


def rank_and_ranks() -> tuple[int, int]:
    """Number of this process and how many there are: (0, 1) without torchrun."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather(local: Tensor) -> Tensor:
    """Return the rows of all ranks, in the order of the ranks, with gradient.

    Args:
        local: (n, ...) rows of this rank; n may differ between ranks, everything else may not.

    Returns:
        (sum of n, ...). In the backward pass each rank receives its rows' gradients, summed over the losses of all
        ranks; integer tensors (ids) have none.
    """
    _, ranks = rank_and_ranks()
    if ranks == 1:
        return local
    counts = torch.empty(ranks, dtype=torch.long, device=local.device)
    dist.all_gather_into_tensor(counts, torch.tensor([len(local)], device=local.device))
    return _Gather.apply(local, counts.tolist())


class _Gather(torch.autograd.Function):
    """Rows are padded to the longest rank, because collectives want equal sizes."""

    @staticmethod
    def forward(ctx, local: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = local.new_zeros(max(counts), *local.shape[1:])
        padded[: len(local)] = local
        everything = local.new_empty(len(counts) * len(padded), *local.shape[1:])
        dist.all_gather_into_tensor(everything, padded)
        return torch.cat([rows[:n] for rows, n in zip(everything.split(len(padded)), counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        rank, ranks = rank_and_ranks()
        padded = gradient.new_zeros(ranks, max(ctx.counts), *gradient.shape[1:])
        for place, rows in zip(padded, gradient.split(ctx.counts), strict=True):
            place[: len(rows)] = rows
        own = torch.empty_like(padded[0])
        dist.reduce_scatter_tensor(own, padded.flatten(0, 1))
        return own[: ctx.counts[rank]], None
