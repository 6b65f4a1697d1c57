"""How often do intervals hold the truth? Simulated comparisons of two systems, with test images and training seeds.

    python -m tests.benchmarks.coverage

A picture is found with a probability that depends on the picture (its logit has deviation 1.5), on the system (0.3
logits apart) and on the seed of the training run (deviation `effect` logits). The truth is the difference over all
pictures and all seeds. Prints the share of nominal 95 % intervals that hold it: resampling the images alone, and on
both levels as `paired_bootstrap` does.
"""

import numpy as np
import torch

from lib.evaluation import Scores, paired_bootstrap
from lib.evaluation.bootstrap import from_resamples
from lib.evaluation.ranks import Ranks

SPREAD, APART = 1.5, 0.3


def scores_of(hits: np.ndarray) -> Scores:
    """Return scores in which the pictures (N,) were found first, or not among the first ten."""
    higher = torch.from_numpy(np.where(hits, 0, 50))
    ranks = Ranks(higher, torch.zeros_like(higher), torch.ones_like(higher))
    return Scores("full", len(hits), len(hits), torch.arange(len(hits)), ranks, ranks)


def found(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits."""
    return 1 / (1 + np.exp(-logits))


def coverage(
    seeds: int, effect: float, trials: int, images: int = 500, n: int = 1000, both_levels: bool = True
) -> float:
    """Return the share of 95 % intervals that hold the true difference of two systems.

    Args:
        seeds: training runs of each system.
        effect: deviation of a run's logit, the same for all its pictures.
        trials: simulated comparisons.
        images: in the test set.
        n: resamples of an interval.
        both_levels: False resamples the images alone.
    """
    rng = np.random.default_rng(0)
    pictures = rng.normal(0, SPREAD, 200_000)
    runs = pictures + rng.normal(0, effect, len(pictures))
    truth = 100 * (found(runs + APART).mean() - found(runs).mean())
    held = 0
    for trial in range(trials):
        of_picture = rng.normal(0, SPREAD, images)
        hits = []
        for apart in (APART, 0.0):
            of_run = rng.normal(0, effect, (seeds, 1))
            hits.append(rng.random((seeds, images)) < found(of_picture + apart + of_run))
        if both_levels:
            a, b = ([scores_of(run) for run in of_system] for of_system in hits)
            interval = paired_bootstrap(a, b, "i2t_r1", n=n, seed=trial)
        else:
            difference = 100 * (hits[0].mean(0) - hits[1].mean(0))
            drawn = rng.multinomial(images, np.full(images, 1 / images), size=n) @ difference / images
            interval = from_resamples("i2t_r1", float(difference.mean()), drawn, 0.95, (1, 1))
        held += interval.low <= truth <= interval.high
    return held / trials


def main() -> None:
    """Print the table."""
    print(f"{'seeds':>5} {'effect of a seed':>17} {'images alone':>13} {'both levels':>12}")
    for seeds in (3, 5, 10):
        for effect in (0.0, 0.05, 0.1, 0.2):
            alone, both = (coverage(seeds, effect, 1000, both_levels=levels) for levels in (False, True))
            print(f"{seeds:5} {effect:11.2f} logits {100 * alone:11.1f} % {100 * both:10.1f} %", flush=True)


if __name__ == "__main__":
    main()
