"""Texts as sets of frozen word vectors, for the attention between regions and words."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lib.text.tokens import Tokens, pad


def word_table(parts: Mapping[str, Sequence[np.ndarray]], learned: str) -> tuple[Tensor, dict[str, Tokens]]:
    """Return the words of all texts as rows of one table, and every part's texts as `Tokens` of these rows.

    Every word of every text is a row of its own, since a transformer sees a word in the light of its neighbours. The
    table is centred and scaled by the words of one part, so that nothing is learned from the others.

    Args:
        parts: name -> for each text the vectors (L, E) of its words. A text without a word gets row 0, all zeros, which
            is also the padding.
        learned: the part that gives mean and scale.

    Returns:
        The table (V, E) float32, as `A3VSE(words=...)` takes it, and name -> `Tokens`.

    Raises:
        ValueError: no part of the name `learned`, or no word in it.

    Example:
        >>> import numpy as np
        >>> from lib.systems.a3vse import word_table
        >>> table, tokens = word_table({"train": [np.eye(2), np.ones((1, 2))], "test": [np.empty((0, 2))]}, "train")
        >>> tuple(table.shape), tokens["train"].ids.tolist(), tokens["test"].ids.tolist()
        ((4, 2), [[1, 2], [3, 0]], [[0]])
    """
    if not sum(len(text) for text in parts.get(learned, ())):
        raise ValueError(f"part {learned!r} gives mean and scale, but has no word; there are {', '.join(parts)}")
    known = np.concatenate(list(parts[learned]))
    mean, scale = known.mean(0), max(float(known.std(0).mean()), 1e-6)
    rows, tokens, start = [np.zeros((1, known.shape[1]), np.float32)], {}, 1
    for name, texts in parts.items():
        ends = start + np.cumsum([0, *map(len, texts)])
        tokens[name] = pad([range(a, b) if b > a else [0] for a, b in pairwise(ends.tolist())])
        rows += [np.asarray((text - mean) / scale, np.float32) for text in texts]
        start = int(ends[-1])
    return torch.from_numpy(np.concatenate(rows)), tokens
