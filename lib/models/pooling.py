"""From a set of region or word vectors to one vector."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Return a (B, size) bool mask that is True for the first `lengths[b]` positions of row b."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def mean_pool(vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean of the first `lengths[b]` vectors of each set: (B, R, D) -> (B, D)."""
    if lengths is None:
        return vectors.mean(1)
    mask = lengths_to_mask(lengths, vectors.shape[1])[..., None]
    return vectors.masked_fill(~mask, 0).sum(1) / lengths[:, None].to(vectors.dtype)


def max_pool(vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the element-wise maximum of the first `lengths[b]` vectors of each set: (B, R, D) -> (B, D)."""
    if lengths is not None:
        vectors = vectors.masked_fill(~lengths_to_mask(lengths, vectors.shape[1])[..., None], -torch.inf)
    return vectors.amax(1)


def last_pool(vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return vector number `lengths[b] - 1` of each sequence, the final state of a GRU: (B, L, D) -> (B, D)."""
    if lengths is None:
        return vectors[:, -1]
    return vectors[torch.arange(len(vectors), device=vectors.device), lengths - 1]


class GeneralizedPooling(nn.Module):
    """Learn how to pool: a weighted sum of the sorted values of each dimension.

    The k-th largest value of every dimension gets weight theta_k; the weights of a set of n vectors come from a small
    bidirectional GRU over the positions 1..n and sum to 1, so mean pooling (1/n each) and max pooling (all on the
    first) are special cases. Generalized pooling operator of VSE-infinity, Chen et al. 2021, Sec. 3.2.
    """

    def __init__(self, position_dim: int = 32, hidden: int = 32):
        super().__init__()
        self.position_dim = position_dim
        self.gru = nn.GRU(position_dim, hidden, batch_first=True, bidirectional=True)
        self.score = nn.Linear(hidden, 1, bias=False)

    def weights(self, lengths: Tensor) -> Tensor:
        """Return (B, max length) weights of the sorted positions; each row sums to 1, zero past its length."""
        sizes, row = lengths.unique(return_inverse=True)  # sets of one size share their weights
        longest = int(sizes[-1])
        positions = positional_encoding(longest, self.position_dim).to(self.score.weight)
        packed = pack_padded_sequence(
            positions.expand(len(sizes), -1, -1), sizes.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        forward, backward = states.chunk(2, dim=-1)
        scores = self.score((forward + backward) / 2).squeeze(-1)
        return scores.masked_fill(~lengths_to_mask(sizes, longest), -torch.inf).softmax(1)[row]

    def forward(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, R, D) vectors to (B, D); `lengths` (B,) says how many vectors of each set are real."""
        if lengths is None:
            lengths = torch.full((len(vectors),), vectors.shape[1], device=vectors.device)
        vectors = vectors[:, : int(lengths.max())]
        mask = lengths_to_mask(lengths, vectors.shape[1])[..., None]
        ordered = vectors.masked_fill(~mask, -torch.inf).sort(dim=1, descending=True).values
        return (ordered.masked_fill(~mask, 0) * self.weights(lengths)[..., None].to(vectors.dtype)).sum(1)


def positional_encoding(length: int, dim: int) -> Tensor:
    """Return the (length, dim) sines and cosines of Vaswani et al. 2017, Sec. 3.5."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    encoding = torch.empty(length, dim)
    encoding[:, 0::2] = (position * frequency).sin()
    encoding[:, 1::2] = (position * frequency).cos()
    return encoding
