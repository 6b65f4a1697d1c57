"""Is one system better than another, or were these images and seeds lucky? Paired bootstrap on both levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from lib.evaluation.retrieval import DIRECTIONS, MEASURES, RECALLS, Scores

WEIGHTS_AT_A_TIME = 4_000_000


@dataclass(frozen=True)
class Difference:
    """a - b in the units of the metric, with a percentile interval and a two-sided bootstrap p-value.

    Attributes:
        seeds: training runs of each system; where neither has two, the interval is about the test images alone.
    """

    metric: str
    difference: float
    low: float
    high: float
    p: float
    level: float
    resamples: int
    seeds: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        interval = f"{100 * self.level:g} % interval {self.low:+.2f} to {self.high:+.2f}"
        return f"{self.metric} {self.difference:+.2f}, {interval}, p = {self.p:.2g}, {self.resamples:,} resamples"


def paired_bootstrap(
    scores_a: Scores | Sequence[Scores],
    scores_b: Scores | Sequence[Scores],
    metric: str = "rsum",
    *,
    n: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Difference a - b of a metric, with its interval and p-value over test images and training seeds.

    Two levels: other images, and other seeds. A query image is drawn together with all its texts, because they are not
    independent. The galleries, and so the ranks, stay as they are; with folds, images are drawn within each fold. The
    resamples are then widened by the variance of the mean over seeds (`with_other_seeds`): three seeds, or ten, are too
    few to be drawn from. Seeds are taken as pairs where both systems have as many. Where a system has one seed, nothing
    is known of its others, and `Difference.seeds` says so.

    p is twice the share of resamples on the other side of zero or on it, the data counted as one resample more (Efron
    and Tibshirani, "An Introduction to the Bootstrap", 1993).

    Args:
        scores_a, scores_b: scores of two systems on the same test set, one or one per training seed; both in the same
            order of the seeds.
        metric: a key of `Scores.as_dict`; or r1, r5, r10, medr, meanr for the mean of both directions.
        n: resamples.
        level: of the interval.
        seed: of the resamples.

    Raises:
        ValueError: an unknown metric, or scores of different test sets or protocols.
    """
    a, b = ([scores] if isinstance(scores, Scores) else list(scores) for scores in (scores_a, scores_b))
    _check_same_test(a, b)
    signed = [(1 / len(a), scores) for scores in a] + [(-1 / len(b), scores) for scores in b]
    rng = np.random.default_rng(seed)
    folds = np.unique(a[0].queries // a[0].fold)
    observed, resampled = 0.0, np.zeros(n)
    for fold in folds:
        averages = [_Average(signed, fold, *part) for part in _parts(metric)]
        images, texts = len(averages[0].queries_of_image), max(len(average.image) for average in averages)
        observed += sum(average(np.ones((1, images)))[0] for average in averages) / len(folds)
        step = max(1, WEIGHTS_AT_A_TIME // texts)
        for start in range(0, n, step):
            weights = _draw(rng, min(step, n - start), images)
            resampled[start : start + step] += sum(average(weights) for average in averages) / len(folds)
    of_seeds = ([_observed(scores, metric) for scores in of_system] for of_system in (a, b))
    widened = with_other_seeds(rng, float(observed), resampled, *of_seeds)
    return from_resamples(metric, float(observed), widened, level, (len(a), len(b)))


def with_other_seeds(
    rng: np.random.Generator,
    observed: float,
    resampled: np.ndarray,
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Return resamples of the images, widened by what is not known of other seeds, (n,).

    The variance of the mean over seeds is added to that of the resamples. It is estimated from few seeds, so the tails
    are those of a t distribution with the degrees of freedom of Satterthwaite (1946), as in Welch's test.

    Args:
        rng: of the tails.
        observed: the difference.
        resampled: (n,) differences on resampled images.
        a, b: the metric of each training seed of two systems; pairs where they are as many.
    """
    samples = [np.subtract(a, b)] if len(a) == len(b) else [np.asarray(a), np.asarray(b)]
    errors = [(np.var(values, ddof=1) / len(values), len(values) - 1) for values in samples if len(values) > 1]
    of_seeds, of_images = sum(variance for variance, _ in errors), np.var(resampled)
    if not of_seeds:
        return resampled
    both = of_images + of_seeds
    freedom = both**2 / sum(variance**2 / degrees for variance, degrees in errors)
    standard = (resampled - observed) / np.sqrt(of_images) if of_images else rng.standard_normal(len(resampled))
    tails = np.sqrt(freedom / rng.chisquare(freedom, len(resampled)))
    return observed + np.sqrt(both) * standard * tails


def from_resamples(
    metric: str, observed: float, resampled: np.ndarray, level: float, seeds: tuple[int, int]
) -> Difference:
    """Return a difference whose interval and p-value are those of its resamples (n,)."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    beyond = min(np.sum(resampled <= 0), np.sum(resampled >= 0))
    p = min(1.0, 2 * (beyond + 1) / (len(resampled) + 1))
    return Difference(metric, observed, float(low), float(high), float(p), level, len(resampled), seeds)


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Return the p-values of a table's comparisons, corrected for how many there are.

    The step-down procedure of Holm (1979): the smallest is multiplied by their number, the next by one less, and so
    on, and none becomes smaller than the one before it. It holds the chance of any false discovery, whatever depends
    on what.

    Args:
        p_values: by name of the comparison.

    Example:
        >>> from lib.evaluation import holm
        >>> holm({"a - b": 0.01, "a - c": 0.04, "b - c": 0.03})
        {'a - b': 0.03, 'b - c': 0.06, 'a - c': 0.06}
    """
    corrected, largest = {}, 0.0
    for done, (name, p) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        largest = max(largest, min(1.0, (len(p_values) - done) * p))
        corrected[name] = largest
    return corrected


def _observed(scores: Scores, metric: str) -> float:
    values = scores.as_dict()
    return float(values[metric] if metric in values else (values[f"i2t_{metric}"] + values[f"t2i_{metric}"]) / 2)


class _Average:
    """Weighted mean or median, in one direction and fold, of each system's measure, added up with its sign.

    weight: of this part of the metric. image: (Q,) place of a query's image among the fold's query images.
    """

    def __init__(self, signed: list[tuple[float, Scores]], fold: int, direction: str, name: str, weight: float):
        scores = signed[0][1]
        queries, image_of_text = scores.queries.numpy(), scores.image_of_text.numpy()
        images = queries[queries // scores.fold == fold]
        of_query = queries if direction == "i2t" else image_of_text
        in_fold = of_query // scores.fold == fold
        self.median = name == "medr"
        self.image = np.searchsorted(images, of_query[in_fold])
        self.queries_of_image = np.bincount(self.image, minlength=len(images))
        self.systems = [(weight * sign, _values(s, direction, name)[in_fold]) for sign, s in signed]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Weights (R, U), how often each image was drawn, to the signed sum of averages (R,)."""
        if self.median:
            medians = [sign * _weighted_median(values, self.image, weights) for sign, values in self.systems]
            return reduce(np.add, medians)
        values = reduce(np.add, [sign * values for sign, values in self.systems])
        sums = np.bincount(self.image, values, minlength=len(self.queries_of_image))
        return weights @ sums / (weights @ self.queries_of_image)


def _values(scores: Scores, direction: str, name: str) -> np.ndarray:
    """Per-query hits in percent for a recall, ranks for the other measures, (Q,)."""
    ranks = scores.i2t if direction == "i2t" else scores.t2i
    if name in ("medr", "meanr"):
        return ranks.rank().numpy()
    return 100 * ranks.hit(int(name.removeprefix("r"))).numpy()


def _weighted_median(values: np.ndarray, image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of values (Q,), each repeated as often as the integer weight (R, U) of its image says, (R,)."""
    order = np.argsort(values)
    ordered, up_to = values[order], np.cumsum(weights[:, image[order]], axis=1)
    total = up_to[:, -1:]
    lower = (up_to < (total + 1) // 2).sum(1)
    upper = (up_to < total // 2 + 1).sum(1)
    return (ordered[lower] + ordered[upper]) / 2


def _draw(rng: np.random.Generator, resamples: int, images: int) -> np.ndarray:
    """How often each image is drawn in each resample, (R, U) float64; rows sum to U."""
    drawn = rng.integers(0, images, (resamples, images)) + images * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images).astype(np.float64)


def _parts(metric: str) -> Iterator[tuple[str, str, float]]:
    """Direction, measure and weight of what a metric is made of."""
    direction, _, name = metric.rpartition("_")
    if metric == "rsum":
        yield from ((d, f"r{k}", 1.0) for d in DIRECTIONS for k in RECALLS)
    elif name in MEASURES and direction in DIRECTIONS:
        yield direction, name, 1.0
    elif name in MEASURES and not direction:
        yield from ((d, name, 0.5) for d in DIRECTIONS)
    else:
        keys = [f"{d}_{name}" for d in DIRECTIONS for name in MEASURES]
        raise ValueError(f"unknown metric {metric!r}; known are {', '.join([*keys, *MEASURES, 'rsum'])}")


def _check_same_test(a: list[Scores], b: list[Scores]) -> None:
    if not a or not b:
        raise ValueError("no scores to compare")
    first = a[0]
    for scores in [*a, *b]:
        same_texts = np.array_equal(scores.image_of_text, first.image_of_text)
        if scores.protocol != first.protocol or not same_texts:
            raise ValueError(f"scores of different tests: {first.protocol} | {scores.protocol}")
