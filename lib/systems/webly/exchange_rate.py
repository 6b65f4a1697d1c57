"""How many annotated images are a thousand web images worth? Read off two learning curves, with its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation import Scores
from lib.evaluation.bootstrap import with_other_seeds
from lib.evaluation.retrieval import RECALLS


@dataclass(frozen=True)
class ExchangeRate:
    """Annotated images that 1,000 web images are worth, and the interval over test images and training seeds.

    Attributes:
        worth, low, high: none leaves the range from `least` to `most`; at its ends they are bounds and no values.
        least, most: what the curve of captions alone can tell: it ends at its fewest and its most annotated images.
    """

    worth: float
    low: float
    high: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self._said(self.worth)} [{self._said(self.low)}, {self._said(self.high)}]"

    def _said(self, value: float) -> str:
        bound = "at least " if value >= self.most else "at most " if value <= self.least else ""
        return f"{bound}{value:,.0f}"


def exchange_rates(
    alone: Mapping[int, Sequence[Scores]],
    with_web: Mapping[int, Sequence[Scores]],
    web: Mapping[int, int],
    *,
    n: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[int, ExchangeRate]:
    """Return what web images are worth at each number of annotated ones.

    The recall sum that is reached with the web is looked up on the curve of captions alone, between whose points the
    logarithm of the number is interpolated; where that curve falls, it is taken to stay as high as it was. Both curves
    are computed anew on resampled test images, the same ones for every point, widened by what is not known of other
    training seeds (`lib.evaluation.bootstrap.with_other_seeds`; of a single seed nothing is known).

    Args:
        alone: number of annotated images -> scores of captions alone, one a seed.
        with_web: the same, learned with web images beside them.
        web: number of annotated images -> number of web images beside them, for each of `with_web`.
        n: resamples.
        level: of the intervals.
        seed: of the resamples.

    Raises:
        ValueError: a curve of fewer than two points, or scores of different tests.
    """
    if len(alone) < 2:
        raise ValueError(f"captions alone were measured at {sorted(alone)}: a curve needs two points")
    rng = np.random.default_rng(seed)
    first = next(iter(alone.values()))[0]
    images = len(first.queries)
    weights = rng.multinomial(images, np.full(images, 1 / images), n).astype(float)
    sizes = sorted(alone)
    curve = np.maximum.accumulate([_heights(rng, alone[size], first, weights) for size in sizes])
    found = {}
    for pictures, scores in with_web.items():
        reached = _heights(rng, scores, first, weights)
        needed = [_inverse(height, points, sizes) for height, points in zip(reached, curve.T, strict=True)]
        rates = 1000 * (np.array(needed) - pictures) / web[pictures]
        low, high = np.quantile(rates[1:], [(1 - level) / 2, (1 + level) / 2])
        least, most = (1000 * (size - pictures) / web[pictures] for size in (sizes[0], sizes[-1]))
        found[pictures] = ExchangeRate(float(rates[0]), float(low), float(high), least, most)
    return found


def _inverse(height: float, curve: np.ndarray, sizes: Sequence[int]) -> float:
    """The number of annotated images at which a rising curve reaches a height; its first or last where it does not."""
    if height <= curve[0] or height >= curve[-1]:
        return sizes[0] if height <= curve[0] else sizes[-1]
    return float(np.exp(np.interp(height, curve, np.log(sizes))))


def _heights(rng: np.random.Generator, scores: Sequence[Scores], first: Scores, weights: np.ndarray) -> np.ndarray:
    """Mean recall sum of the seeds as measured, and on images drawn by `weights` (n, U): (1 + n,)."""
    for other in scores:
        if other.protocol != first.protocol or not np.array_equal(other.image_of_text, first.image_of_text):
            raise ValueError(f"scores of different tests: {first.protocol} | {other.protocol}")
    drawn = np.vstack([np.ones(weights.shape[1]), weights])
    of_seeds = np.array([_recall_sums(one, drawn) for one in scores])
    measured, resampled = of_seeds[:, 0], of_seeds[:, 1:].mean(0)
    widened = with_other_seeds(rng, float(measured.mean()), resampled, measured, np.zeros(len(measured)))
    return np.concatenate([[measured.mean()], widened])


def _recall_sums(scores: Scores, weights: np.ndarray) -> np.ndarray:
    """Recall sum (n,) where each image and its texts count as often as `weights` (n, U) says."""
    owner = np.searchsorted(scores.queries.numpy(), scores.image_of_text.numpy())
    images, texts = (np.sum([side.hit(k).numpy() for k in RECALLS], axis=0) for side in (scores.i2t, scores.t2i))
    of_image = np.bincount(owner, texts, minlength=len(images))
    return 100 * (weights @ images / weights.sum(1) + weights @ of_image / (weights @ np.bincount(owner)))
