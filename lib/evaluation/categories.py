"""Retrieval by category under named protocols, for continuous features and for codes, with paired intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lib.evaluation.bootstrap import Difference, from_resamples, with_other_seeds
from lib.evaluation.hashing import HammingRanking, pack
from lib.evaluation.labels import mean_average_precision


@dataclass(frozen=True)
class CategoryProtocol:
    """Who is asked and who may answer; an item is never in the database that is asked for it.

    Attributes:
        name: of the protocol.
        training_in_database: the database is everything but the test items, training items included (the protocol of
            DCMH and its successors, CRCGS among them, which flatters a model that has seen the answers); else it holds
            test items only: they are cut into two halves at random, and each half is searched by the other.
    """

    name: str
    training_in_database: bool

    def rounds(self, split: np.ndarray, queries: str = "test") -> list[tuple[np.ndarray, np.ndarray]]:
        """Pairs of query rows and database rows for split names (N,); every item of the split `queries` asks once."""
        asked = np.flatnonzero(split == queries)
        if len(asked) < 2:
            raise ValueError(f"split {queries!r} has {len(asked)} items, not at least 2")
        if self.training_in_database:
            return [(asked, np.flatnonzero(split != queries))]
        halves = np.array_split(np.random.default_rng(0).permutation(asked), 2)
        return [(np.sort(halves[0]), np.sort(halves[1])), (np.sort(halves[1]), np.sort(halves[0]))]

    def __str__(self) -> str:
        database = (
            "all other items, training items among them" if self.training_in_database else "the test items' other half"
        )
        return f"{self.name}: test items search {database}; relevant = shares a label; ties by expectation"


PUBLISHED = CategoryProtocol("published", training_in_database=True)
CLEAN = CategoryProtocol("clean", training_in_database=False)


@dataclass(frozen=True)
class CategoryScores:
    """Average precision of every query in both directions, fractions; NaN where nothing in the database is relevant.

    Attributes:
        i2t: (Q,) images ask for texts.
        t2i: (Q,) texts ask for images; row i of both is the same item.
        protocol: who was asked, and who could answer.
        k: the first so many count; None for the whole ranking.
    """

    i2t: np.ndarray
    t2i: np.ndarray
    protocol: CategoryProtocol
    k: int | None

    def as_dict(self) -> dict[str, float]:
        """map_i2t, map_t2i and their mean map_avg, fractions."""
        i2t, t2i = float(np.nanmean(self.i2t)), float(np.nanmean(self.t2i))
        return {"map_i2t": i2t, "map_t2i": t2i, "map_avg": (i2t + t2i) / 2}


def evaluate_categories(
    images: Tensor | np.ndarray,
    texts: Tensor | np.ndarray,
    labels: np.ndarray,
    split: np.ndarray,
    protocol: CategoryProtocol = CLEAN,
    *,
    queries: str = "test",
    k: int | None = None,
    codes: bool = False,
) -> CategoryScores:
    """Mean average precision of both directions, whole ranking or first k (at most the database).

    Args:
        images, texts: (N, D) features or (N, K) numbers whose signs are bits, row i of both being one item.
        labels: (N, C) bool.
        split: (N,) names.
        protocol: who is asked, and who may answer.
        queries: the split that is asked for.
        k: the first so many count; None for the whole ranking.
        codes: compare the bits by Hamming distance; else the features by cosine.
    """
    values = {"i2t": np.full(len(split), np.nan), "t2i": np.full(len(split), np.nan)}
    images, texts = (pack(images), pack(texts)) if codes else (images, texts)
    sides = {"i2t": (images, texts), "t2i": (texts, images)}
    asked = []
    for rows, database in protocol.rounds(split, queries):
        asked.append(rows)
        cut = None if k is None else min(k, len(database))
        for direction, (left, right) in sides.items():
            arguments = left[rows], right[database], labels[rows], labels[database]
            if codes:
                values[direction][rows] = HammingRanking.count(*arguments).average_precision(cut)
            else:
                values[direction][rows] = mean_average_precision(*arguments, k=cut).per_query
    rows = np.sort(np.concatenate(asked))
    return CategoryScores(values["i2t"][rows], values["t2i"][rows], protocol, k)


def paired_map_difference(
    a: Sequence[CategoryScores], b: Sequence[CategoryScores], *, n: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Difference a - b of the mean mAP of both directions in points (hundredths), with its bootstrap interval.

    An item's picture and text are drawn together; items and seeds are the two levels of `paired_bootstrap`.

    Args:
        a, b: scores of two systems, one a training seed.
        n, level, seed: as for `paired_bootstrap`.

    Raises:
        ValueError: scores of different protocols, cuts or items.
    """
    if {(s.protocol, s.k, len(s.i2t)) for s in [*a, *b]} != {(a[0].protocol, a[0].k, len(a[0].i2t))}:
        raise ValueError("scores of different tests: " + " | ".join(sorted({str(s.protocol) for s in [*a, *b]})))
    rng = np.random.default_rng(seed)
    items = len(a[0].i2t)
    weights = rng.multinomial(items, np.full(items, 1 / items), size=n).astype(np.float64)
    drawn, of_seeds = np.zeros(n), [np.zeros(len(scores)) for scores in (a, b)]
    for direction in ("i2t", "t2i"):
        # In points, half of the mean of two directions: (seeds, items).
        first, second = (50 * np.stack([getattr(s, direction) for s in scores]) for scores in (a, b))
        difference = first.mean(0) - second.mean(0)
        counted = ~np.isnan(difference)
        drawn += weights[:, counted] @ difference[counted] / weights[:, counted].sum(1)
        for values, per_item in zip(of_seeds, (first, second), strict=True):
            values += per_item[:, counted].mean(1)
    observed = float(of_seeds[0].mean() - of_seeds[1].mean())
    drawn = with_other_seeds(rng, observed, drawn, *of_seeds)
    return from_resamples("mAP (points)", observed, drawn, level, (len(a), len(b)))
