"""The paired bootstrap against naive resampling, normal theory, and cases with a known answer."""

import numpy as np
import pytest
import torch

from lib.evaluation import chance, evaluate, evaluate_similarity, holm, paired_bootstrap
from lib.evaluation.bootstrap import _draw, _weighted_median, with_other_seeds
from tests.benchmarks.coverage import coverage

METRICS = [*chance(2, np.array([0, 1])), "r1", "r10", "medr", "meanr"]


def system(noise, seed=0, images=60, captions=None, dimensions=8):
    """Scores of a made-up system; the images and how many captions they have depend on nothing else."""
    fixed = torch.Generator().manual_seed(99)
    x = torch.randn(images, dimensions, generator=fixed)
    per_image = torch.randint(0, 4, (images,), generator=fixed) if captions is None else captions
    owner = torch.arange(images).repeat_interleave(per_image)
    generator = torch.Generator().manual_seed(seed)
    y = x[owner] + noise * torch.randn(len(owner), dimensions, generator=generator)
    return evaluate(x, y, owner)


def metric_of(values, metric):
    if metric in values:
        return values[metric]
    return (values[f"i2t_{metric}"] + values[f"t2i_{metric}"]) / 2


@pytest.mark.parametrize("metric", METRICS)
def test_the_difference_is_that_of_the_scores(metric):
    a, b = system(0.8), system(1.2, seed=1)
    result = paired_bootstrap(a, b, metric, n=50)
    assert result.difference == pytest.approx(metric_of(a.as_dict(), metric) - metric_of(b.as_dict(), metric))
    assert result.low < result.high


@pytest.mark.parametrize("metric", METRICS)
def test_resamples_equal_scores_of_repeated_ranks(metric):
    """Repeat the ranks of the drawn images and of all their captions, and score them by definition."""
    n = 40
    a, b = system(0.8), system(1.2, seed=1)
    owner, queries = a.image_of_text.numpy(), a.queries.numpy()
    weights = _draw(np.random.default_rng(5), n, len(queries)).astype(int)

    def score(scores, row):
        drawn = np.zeros(scores.images, dtype=int)
        drawn[queries] = row
        ranks = {
            "i2t": np.repeat(scores.i2t_ranks[queries], row),
            "t2i": np.repeat(scores.t2i_ranks, drawn[owner]),
        }
        values = {f"{d}_r{k}": 100 * np.mean(r <= k) for d, r in ranks.items() for k in (1, 5, 10)}
        values["rsum"] = sum(values.values())
        values |= {f"{d}_medr": np.median(r) for d, r in ranks.items()}
        values |= {f"{d}_meanr": np.mean(r) for d, r in ranks.items()}
        return metric_of(values, metric)

    expected = np.array([score(a, row) - score(b, row) for row in weights])
    result = paired_bootstrap(a, b, metric, n=n, seed=5, level=0.8)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(expected, [0.1, 0.9])))
    beyond = min((expected <= 1e-9).sum(), (expected >= -1e-9).sum())
    assert result.p == pytest.approx(min(1, 2 * (beyond + 1) / (n + 1)))


def test_the_interval_is_as_wide_as_normal_theory_says():
    a, b = system(0.8, images=400), system(1.0, seed=1, images=400)
    result = paired_bootstrap(a, b, "i2t_meanr", n=4000)
    difference = a.i2t.rank().numpy() - b.i2t.rank().numpy()
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_captions_of_one_image_are_one_observation():
    """Five copies of every caption must not narrow the interval."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 50, generator=generator) + 2 * torch.eye(50) for _ in range(2))
    once, five = torch.arange(50), torch.arange(50).repeat_interleave(5)
    plain = paired_bootstrap(evaluate_similarity(a, once), evaluate_similarity(b, once), "t2i_r1", n=500)
    copies = paired_bootstrap(
        evaluate_similarity(a.repeat_interleave(5, 1), five),
        evaluate_similarity(b.repeat_interleave(5, 1), five),
        "t2i_r1",
        n=500,
    )
    assert copies == plain


def test_a_system_does_not_differ_from_itself():
    a = system(1.0)
    result = paired_bootstrap(a, a, n=200)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_a_clear_difference_is_found_and_changes_sign_with_the_order():
    good, bad = system(0.3, images=200), system(3.0, seed=1, images=200)
    result, other_way = paired_bootstrap(good, bad, n=999), paired_bootstrap(bad, good, n=999)
    assert result.low > 0 > other_way.high
    assert result.p == other_way.p == pytest.approx(2 / 1000)
    assert result.difference == pytest.approx(-other_way.difference)
    assert "95 % interval" in str(result)


def test_seeds_are_averaged_inside_a_resample():
    a, b = [system(0.8, seed=s) for s in range(3)], [system(1.2, seed=s) for s in range(10, 12)]
    result = paired_bootstrap(a, b, "rsum", n=300)
    means = [np.mean([scores.as_dict()["rsum"] for scores in system]) for system in (a, b)]
    assert result.difference == pytest.approx(means[0] - means[1])
    alone = paired_bootstrap(a[0], b[0], "rsum", n=300)
    assert paired_bootstrap([a[0], a[0]], [b[0]], "rsum", n=300).low == pytest.approx(alone.low)


def test_other_seeds_widen_the_interval_by_what_their_mean_is_unsure_of():
    """Normal resamples: the interval of Welch and Satterthwaite; without variance in the images Student's."""
    from scipy.stats import t

    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, 4), rng.normal(1, 1, 4)
    for of_images in (0.0, 0.3):
        images = 2 + of_images * rng.standard_normal(400_000)
        of_seeds = np.var(a - b, ddof=1) / 4
        both = of_images**2 + of_seeds
        expected = t.interval(0.95, both**2 / (of_seeds**2 / 3), 2, np.sqrt(both))
        assert np.quantile(with_other_seeds(rng, 2.0, images, a, b), [0.025, 0.975]) == pytest.approx(
            expected, rel=0.02
        )
    images = 2 + rng.standard_normal(10)
    assert with_other_seeds(rng, 2.0, images, [1.0], [2.0]) is images  # of one seed each nothing is known
    alone = np.quantile(with_other_seeds(rng, 0.0, np.zeros(400_000), a, b[:1]), [0.025, 0.975])
    assert alone == pytest.approx(t.interval(0.95, 3, 0, np.std(a, ddof=1) / 2), rel=0.02)
    assert paired_bootstrap(system(1.0), system(1.2), n=20).seeds == (1, 1)


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_covers_the_difference_of_other_images_and_seeds(seeds):
    covered = coverage(seeds, effect=0.2, trials=300, images=300, n=300)
    assert covered > 0.93 - 2 * (0.93 * 0.07 / 300) ** 0.5  # what 300 trials can tell


def test_holm_against_the_definition():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        p = dict(enumerate(rng.uniform(0, 0.3, count).round(2)))
        order = sorted(p, key=p.get)
        expected = {
            name: min(1.0, max((count - k) * p[order[k]] for k in range(place + 1))) for place, name in enumerate(order)
        }
        assert holm(p) == pytest.approx(expected)


def test_folds_are_resampled_one_by_one():
    captions = torch.ones(5000, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 6, generator=generator)
    owner = torch.arange(5000).repeat_interleave(captions)
    a, b = (
        evaluate(x, x + noise * torch.randn(5000, 6, generator=generator), owner, "coco-1k") for noise in (0.4, 0.5)
    )
    for metric in ("t2i_r1", "i2t_medr"):
        result = paired_bootstrap(a, b, metric, n=200)
        assert result.difference == pytest.approx(a.as_dict()[metric] - b.as_dict()[metric])
        assert result.low <= result.difference <= result.high


def test_the_seed_decides():
    a, b = system(0.8), system(1.2, seed=1)
    assert paired_bootstrap(a, b, n=100) == paired_bootstrap(a, b, n=100)
    assert paired_bootstrap(a, b, n=100) != paired_bootstrap(a, b, n=100, seed=1)


def test_weighted_median_is_the_median_of_repeated_values():
    rng = np.random.default_rng(0)
    for queries in (1, 2, 9, 10):
        values, image = rng.integers(0, 6, queries).astype(float), rng.integers(0, 4, queries)
        weights = rng.integers(1, 4, (20, 4)).astype(float)
        expected = [np.median(np.repeat(values, row[image].astype(int))) for row in weights]
        np.testing.assert_array_equal(_weighted_median(values, image, weights), expected)


def test_different_tests_and_unknown_metrics_are_refused():
    a = system(1.0)
    with pytest.raises(ValueError, match="different tests"):
        paired_bootstrap(a, system(1.0, images=61))
    with pytest.raises(ValueError, match="unknown metric 'map'; known are i2t_r1"):
        paired_bootstrap(a, a, "map")
    with pytest.raises(ValueError, match="no scores"):
        paired_bootstrap(a, [])
