"""Training on several GPUs or machines: every process encodes a part of the batch, and all compare all of it.

A contrastive loss needs the whole batch, since every text is a negative of every other image. So each process (rank)
encodes its own images and texts, and the embeddings are gathered. They are small: 65,536 of 1,024 float32 are 256 MB.

    torchrun --nproc-per-node 8 -m lib.run.train --corpus flickr30k      # 8 GPUs of one machine

The weights after each step are those of one process with the whole batch, up to rounding: the same batches in the
same order, the same loss, the same gradient (`lib.training.processes` says why).
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.base import fit_store
from lib.losses import positives_from_ids
from lib.models.interface import RetrievalModel, Texts
from lib.training.batches import Batch, Pairs
from lib.training.config import History, Loss, TrainConfig
from lib.training.loop import fit
from lib.training.processes import gather, rank_and_ranks

PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # images (I, D), texts (T, D), image_ids, text_ids


def dense(loss: Loss) -> PairLoss:
    """Return a loss on similarities as a loss on embeddings and ids, which holds the (I, T) matrix."""
    return lambda images, texts, image_ids, text_ids: loss(images @ texts.T, positives_from_ids(image_ids, text_ids))


def whole_batch(loss: PairLoss) -> PairLoss:
    """Return a loss on the rows of one rank that gathers the whole batch and computes all of it on every rank.

    For any loss. It does not get faster with more ranks; those of `lib.training.sharded` do.
    """
    return lambda *rows: loss(*map(gather, rows))


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

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
        """Yield this rank's part of the batches that `Pairs.batches` yields."""
        torch.manual_seed(torch.initial_seed() + self.rank)  # else all ranks drop the same units
        for rows in super().batches(batch_size, seed, epoch):
            image_ids, image = self.image_of_text[rows].unique(return_inverse=True)
            if len(image_ids) >= self.ranks:
                yield rows[image % self.ranks == self.rank]


class _Towers(nn.Module):
    """Model and loss in one: `DistributedDataParallel` averages the gradients of what its `forward` has used."""

    def __init__(self, model: RetrievalModel, loss: PairLoss, image_of_text: Tensor):
        super().__init__()
        self.model, self.loss, self.image_of_text = model, loss, image_of_text

    def encode_images(self, images: Tensor) -> Tensor:  # `fit` validates with them
        return self.model.encode_images(images)

    def encode_sentences(self, sentences: Texts) -> Tensor:
        return self.model.encode_sentences(sentences)

    def forward(self, batch: Batch) -> Tensor:
        images, texts = self.encode_images(batch.images), self.encode_sentences(batch.texts)
        ids = [part.to(images.device) for part in (batch.image_ids, self.image_of_text[batch.text_ids])]
        return self.loss(images, texts, *ids)


def fit_ranks(
    model: RetrievalModel,
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
        loss: called with the rows of this rank as `loss(images, texts, image_ids, text_ids)`: one of
            `lib.training.sharded`, or `whole_batch` of one of `lib.losses.streaming` or of `dense(loss)`. Modules that
            learn (a temperature) are trained only where `loss` is an `nn.Module` itself.
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
    parallel: nn.Module = towers
    if ranks > 1:  # copies the weights of rank 0 to all
        parallel = DistributedDataParallel(towers, device_ids=[device.index] if device.type == "cuda" else None)
    part = RankPairs(**{field.name: getattr(train, field.name) for field in fields(Pairs)}, rank=rank, ranks=ranks)
    shows = progress and rank == 0
    # Several ranks would have to agree on which of them found an outcome or progress: they train and keep nothing.
    with contextlib.nullcontext() if ranks == 1 else fit_store.measuring():
        history = fit(
            towers, part, config, objective=lambda _, batch: parallel(batch), val=val, device=device, progress=shows
        )
    if ranks > 1:
        for tensor in towers.state_dict().values():  # the best epoch may be another one where rounding differs
            dist.broadcast(tensor, 0)
    return history
