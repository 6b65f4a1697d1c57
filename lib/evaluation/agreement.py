"""Do a model's similarities order image-caption pairs as people do? Kendall's tau, with an interval over images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau between -1 and 1, and a percentile interval from resampling the images."""

    tau: float
    low: float
    high: float
    variant: str
    judgements: int

    def __str__(self) -> str:
        interval = f"95 % interval {self.low:.3f} to {self.high:.3f}"
        return f"tau-{self.variant} {self.tau:.3f}, {interval}, {self.judgements:,} judgements"


def agreement(
    similarity: np.ndarray, scores: np.ndarray, image_ids: Sequence, variant: str, *, n: int = 200, seed: int = 0
) -> Agreement:
    """Rank correlation of a model's similarities with what people said of the same pairs.

    Every score of a pair is a judgement of its own, as in SPICE (Anderson et al. 2016) and CLIPScore (Hessel et al.
    2021). They report variant "c" for the Flickr8k experts, without the pairs whose caption is one of the image's own
    (5,664 pairs, 16,992 judgements), and variant "b" for the crowd's share of yes (47,830 pairs, own captions
    included).

    Args:
        similarity: (N,) of each pair, or (N, J) where it differs by judge.
        scores: (N, J) of the J judges.
        image_ids: (N,) images are drawn with replacement, each with all its pairs.
        variant: of Kendall's tau, "b" or "c".
        n: draws of the images.
        seed: of the draws.

    Raises:
        ValueError: the parts do not fit, another variant, or one side has a single value.
    """
    from scipy.stats import kendalltau

    if variant not in ("b", "c"):
        raise ValueError(f"variant is {variant!r}: 'b' or 'c'")
    scores, similarity = np.asarray(scores, dtype=float), np.asarray(similarity, dtype=float)
    if scores.ndim != 2 or similarity.shape not in (scores.shape, scores.shape[:1]) or len(image_ids) != len(scores):
        shapes = f"similarity {similarity.shape}, scores {scores.shape}, {len(image_ids)} image_ids"
        raise ValueError(f"similarity must be (N,) or (N, J), scores (N, J), image_ids (N,): {shapes}")
    similarity = np.broadcast_to(similarity.reshape(len(scores), -1), scores.shape)
    if not (np.isfinite(similarity).all() and np.isfinite(scores).all()):
        raise ValueError("a similarity or a score is not finite")
    if np.ptp(similarity) == 0 or np.ptp(scores) == 0:
        raise ValueError("all similarities or all scores are equal: nothing is ordered, tau does not exist")

    def tau(rows: np.ndarray) -> float:
        return kendalltau(similarity[rows].ravel(), scores[rows].ravel(), variant=variant).statistic

    images = np.unique(np.asarray(image_ids), return_inverse=True)[1]
    rows_of = np.split(np.argsort(images, kind="stable"), np.cumsum(np.bincount(images))[:-1])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(rows_of), (n, len(rows_of)))
    resampled = [tau(np.concatenate([rows_of[i] for i in images])) for images in drawn]
    low, high = np.nanquantile(resampled, [0.025, 0.975])  # a draw of one score only has no tau
    return Agreement(float(tau(np.arange(len(scores)))), float(low), float(high), variant, scores.size)
