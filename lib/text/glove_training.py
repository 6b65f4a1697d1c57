"""GloVe (Pennington, Socher & Manning 2014): word vectors whose products are logarithms of co-occurrence counts."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lib.text.cooccurrence import CHUNK, count_cooccurrences
from lib.text.embedding import Documents, WordVectors, frequent_words

LINE = 16  # numbers of 4 bytes in a cache line


@dataclass
class NonZeros:
    """The entries of a co-occurrence matrix that are not zero, sorted by row, then column.

    `rows`, `columns` (n,) int32; `targets` = log X and `weights` = f(X), (n,) float. f(X) = min(1, X / x_max) ** alpha
    is the weighting function of equation 9.
    """

    rows: Tensor
    columns: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, counts, x_max: float, alpha: float, dtype=torch.float32, device="cpu") -> "NonZeros":
        """From a scipy CSR array of counts."""
        counts.sort_indices()
        rows = np.repeat(np.arange(counts.shape[0], dtype=np.int32), np.diff(counts.indptr))
        values = torch.from_numpy(counts.data.astype(np.float64))
        return cls(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(counts.indices.astype(np.int32)).to(device),
            values.log().to(device, dtype),
            (values / x_max).clamp(max=1).pow(alpha).to(device, dtype),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Tensor) -> "NonZeros":
        """The entries at sorted positions (k,)."""
        return NonZeros(
            self.rows.index_select(0, positions),
            self.columns.index_select(0, positions),
            self.targets.index_select(0, positions),
            self.weights.index_select(0, positions),
        )


def value_and_gradient(
    entries: NonZeros, words: Tensor, contexts: Tensor, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """J = sum of f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 (equation 8), and its two gradients.

    `words` (V, D + 2) holds [w, b, 1] in each row and `contexts` (V, D + 2) [c, 1, d], so that one product gives the
    whole prediction; the gradient of the ones is 0. No (entries, D) matrix is made: predictions are a product
    sampled at the entries, gradients are sparse times dense. They are written over `out` where it is given: fresh
    pages for them would cost as much time as the arithmetic.
    """
    of_words, of_contexts = (torch.zeros_like(words), torch.zeros_like(contexts)) if out is None else out
    size = (len(words), len(contexts))
    pattern = _sparse(entries.rows, entries.columns, torch.zeros_like(entries.targets), size)
    error = torch.sparse.sampled_addmm(pattern, words, contexts.T, beta=0).values() - entries.targets
    slope = 2 * entries.weights * error
    by_column = entries.columns.argsort()
    back = _sparse(entries.columns[by_column], entries.rows[by_column], slope[by_column], size[::-1])
    forth = _sparse(entries.rows, entries.columns, slope, size)
    torch.addmm(of_words, forth, contexts, beta=0, out=of_words)
    torch.addmm(of_contexts, back, words, beta=0, out=of_contexts)
    of_words[:, -1] = 0
    of_contexts[:, -2] = 0
    return (entries.weights * error**2).sum(), of_words, of_contexts


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR matrix of entries that come sorted by row."""
    starts = torch.zeros(size[0] + 1, dtype=rows.dtype, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=size[0]).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")  # beta; said once a process
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)


@dataclass(eq=False)
class Glove(WordVectors):
    """GloVe trained on a corpus: AdaGrad on random parts of the non-zero counts, `steps` parts an epoch.

    `window`, `learning_rate`, `x_max`, `alpha` are as published, `dim`, `epochs` as in Gomez et al. (2018). A word's
    vector is the sum of its word and its context vector (section 4.2). A step reads its part of the counts and writes
    all vectors, so it wants several counts a word: take fewer steps for a large vocabulary with little text. `chunk`
    bounds the memory of counting, see `count_cooccurrences`. On the CPU a seed gives the same vectors again; `device`
    is "auto", "cpu" or "cuda". After `fit`, `losses` holds J per non-zero of each epoch, and `non_zeros` their number.
    """

    dim: int = 400
    window: int = 10
    min_count: int = 5
    epochs: int = 30
    learning_rate: float = 0.05
    x_max: float = 100.0
    alpha: float = 0.75
    steps: int = 25
    chunk: int = CHUNK
    seed: int = 0
    device: str = "auto"
    losses: list[float] = field(default_factory=list, init=False, repr=False)
    non_zeros: int = field(default=0, init=False, repr=False)

    def _train(self, documents: Documents) -> None:
        row = {word: i for i, word in enumerate(frequent_words(documents, self.min_count, "Glove"))}
        texts = [[row[word] for word in document if word in row] for document in documents]
        ids = np.array([i for text in texts for i in text], dtype=np.int32)
        counts = count_cooccurrences(ids, [len(text) for text in texts], len(row), self.window, self.chunk)
        if not counts.nnz:
            raise ValueError("Glove: no two frequent words stand in one text; bring longer texts")
        words, contexts = self.optimise(counts)
        self._learned(row, (words + contexts)[:, : self.dim].cpu().numpy())

    def _state(self) -> tuple[dict[str, np.ndarray], dict]:
        arrays, notes = super()._state()
        return arrays, {**notes, "losses": self.losses, "non_zeros": self.non_zeros}

    def _restore(self, arrays: dict[str, np.ndarray], notes: dict) -> None:
        super()._restore(arrays, notes)
        self.losses, self.non_zeros = notes["losses"], notes["non_zeros"]

    def optimise(self, counts) -> tuple[Tensor, Tensor]:
        """Words [w, b, 1] and contexts [c, 1, d], both (V, dim + 2), that make the objective of the counts small."""
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        generator = torch.Generator().manual_seed(self.seed)
        sides = [(torch.rand(counts.shape[0], self.dim + 2, generator=generator) - 0.5) / self.dim for _ in range(2)]
        sides[0][:, -1] = sides[1][:, -2] = 1
        zeros = -(self.dim + 2) % LINE  # in front of each row, so that rows start where cache lines do; they stay 0
        sides = [torch.nn.functional.pad(side, (zeros, 0)).to(device) for side in sides]
        gradients = torch.zeros_like(sides[0]), torch.zeros_like(sides[1])
        for side, gradient in zip(sides, gradients, strict=True):
            side.grad = gradient
        adagrad = torch.optim.Adagrad(sides, lr=self.learning_rate, fused=device == "cpu")
        entries = NonZeros.of(counts, self.x_max, self.alpha, device=device)
        self.losses, self.non_zeros = [], len(entries)
        size = -(-len(entries) // self.steps)
        for _ in range(self.epochs):
            total = torch.zeros((), device=device)
            for part in torch.randperm(len(entries), generator=generator).split(size):
                batch = entries.take(part.sort().values.to(device))
                total += value_and_gradient(batch, sides[0], sides[1], out=gradients)[0]
                adagrad.step()
            self.losses.append(total.item() / len(entries))
        return sides[0][:, zeros:], sides[1][:, zeros:]
