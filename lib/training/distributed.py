"""Training on several GPUs or machines: every process encodes a part of the batch, and all compare all of it.

A contrastive loss needs the whole batch, since every text is a negative of every other image. So each process (rank)
encodes its own images and texts, and the embeddings are gathered. They are small: 65,536 of 1,024 float32 are 256 MB.

    torchrun --nproc-per-node 8 -m lib.run.train --corpus flickr30k      # 8 GPUs of one machine

The weights after each step are those of one process with the whole batch, up to rounding: the same batches in the
same order, the same loss, the same gradient. Why the gradient is right: let `l_r` be the loss that rank r returns and
L their mean. The gradient of a gathered tensor is summed over the ranks, so an embedding receives
`sum_r dl_r = W dL` from W ranks; `DistributedDataParallel` averages parameter gradients over ranks, which divides by W.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.losses import positives_from_ids
from lib.training.batches import Batch, Pairs
from lib.training.loop import History, Loss, TrainConfig, fit, resolve_device

PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # images (I, D), texts (T, D), image_ids, text_ids


@contextmanager
def process_group(device: str = "auto") -> Iterator[torch.device]:
    """Join the processes that torchrun started, and give this one its device; leave them at the end.

    "auto" is the GPU of this process's number on its machine (NCCL), or the CPU where there is none (gloo). Started
    without torchrun, the process is alone.
    """
    device = resolve_device(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield device
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
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


def dense(loss: Loss) -> PairLoss:
    """Return a loss on similarities as a loss on embeddings and ids, which holds the (I, T) matrix."""
    return lambda images, texts, image_ids, text_ids: loss(images @ texts.T, positives_from_ids(image_ids, text_ids))


@dataclass(frozen=True, kw_only=True)
class RankPairs(Pairs):
    """The part of `Pairs` that one rank encodes: of every batch, every `ranks`-th image with all its texts.

    All ranks draw the same batches from the same seed, so that an epoch has equally many steps on each and the batches
    are those of a single process. A batch with fewer images than ranks (the last one) is left out.

    Args:
        rank, ranks: number of this process, and how many there are.
    """

    rank: int
    ranks: int

    def epoch(self, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """Yield this rank's part of the batches that `Pairs.epoch` yields."""
        torch.manual_seed(torch.initial_seed() + self.rank)  # else all ranks drop the same units
        for batch in super().epoch(batch_size, seed, epoch, device):
            if batch is not None:
                yield batch

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> Batch | None:
        """Return this rank's part of the texts `rows` (T,) and their images; None if a rank would get no image."""
        image_ids, image = self.image_of_text[rows].unique(return_inverse=True)
        if len(image_ids) < self.ranks:
            return None
        return super().batch(rows[image % self.ranks == self.rank], device)


class _Towers(nn.Module):
    """Model and loss in one: `DistributedDataParallel` averages the gradients of what its `forward` has used."""

    def __init__(self, model: nn.Module, loss: PairLoss, image_of_text: Tensor):
        super().__init__()
        self.model, self.loss, self.image_of_text = model, loss, image_of_text
        self.encode_images, self.encode_sentences = model.encode_images, model.encode_sentences  # `fit` validates

    def forward(self, batch: Batch) -> Tensor:
        images, texts = self.encode_images(batch.images), self.encode_sentences(batch.texts)
        ids = [part.to(images.device) for part in (batch.image_ids, self.image_of_text[batch.text_ids])]
        return self.loss(gather(images), gather(texts), *map(gather, ids))


def fit_ranks(
    model: nn.Module,
    train: Pairs,
    config: TrainConfig,
    loss: PairLoss,
    *,
    val: Pairs | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> History:
    """Train as `lib.training.fit` does, with the work of each batch shared among the processes of the group.

    Called by every process inside `process_group`, with the same arguments. The weights of the first rank are those all
    start and end with; every rank validates, since its own weights are as good as another's. Dropout differs from that
    of a single process.

    Args:
        model: `JointEmbedding` or another one with `encode_images` and `encode_sentences` giving one vector each.
        train: all pairs; on each machine they may be memory-mapped from a copy of the feature cache.
        config: `batch_size` is that of the whole batch.
        loss: called as `loss(images, texts, image_ids, text_ids)` with the whole batch: one of `lib.losses.streaming`,
            whose memory is a tile, or `dense(loss)`.
        val, progress: as in `fit`; only rank 0 shows its progress.
        device: of this process, from `process_group`.

    Returns:
        The history of this rank; losses are those of the whole batch.
    """
    if config.patience is not None:
        raise ValueError("patience: ranks that stop at different epochs would wait for each other for ever")
    device = torch.device(device)
    rank, ranks = rank_and_ranks()
    towers = _Towers(model, loss, train.image_of_text).to(device)
    parallel = towers
    if ranks > 1:  # copies the weights of rank 0 to all
        parallel = DistributedDataParallel(towers, device_ids=[device.index] if device.type == "cuda" else None)
    part = RankPairs(**{field.name: getattr(train, field.name) for field in fields(Pairs)}, rank=rank, ranks=ranks)
    options = {"val": val, "device": str(device), "progress": progress and rank == 0}
    history = fit(towers, part, config, objective=lambda _, batch: parallel(batch), **options)
    if ranks > 1:
        for tensor in towers.state_dict().values():  # the best epoch may be another one where rounding differs
            dist.broadcast(tensor, 0)
    return history
