"""What web images are worth: against loops, at the ends of the curve, and with what seeds do not agree on."""

import numpy as np
import pytest
import torch

from lib.evaluation import evaluate_similarity
from lib.systems.webly import exchange_rates


def scores(quality, seed=0, images=60, texts=2):
    """Scores of a gallery whose right answers are lifted by `quality`."""
    rng = np.random.default_rng(seed)
    owner = torch.arange(images).repeat_interleave(texts)
    similarity = torch.from_numpy(rng.normal(size=(images, images * texts))).float()
    similarity[owner, torch.arange(images * texts)] += quality
    return evaluate_similarity(similarity, owner)


def rsum(found):
    return np.mean([one.as_dict()["rsum"] for one in found])


def test_the_rate_is_read_off_the_curve_as_by_hand():
    alone = {100: [scores(0.5)], 200: [scores(1.0)], 400: [scores(2.0)]}
    with_web = {100: [scores(1.5), scores(1.4, 1)], 200: [scores(1.6)]}
    rates = exchange_rates(alone, with_web, {100: 300, 200: 200}, n=50)
    for pictures, others in ((100, 300), (200, 200)):
        level, left, right = rsum(with_web[pictures]), rsum(alone[200]), rsum(alone[400])
        assert left < level < right
        needed = 200 * 2 ** ((level - left) / (right - left))  # between 200 and 400, in logarithms
        assert rates[pictures].worth == pytest.approx(1000 * (needed - pictures) / others)
        assert rates[pictures].low <= rates[pictures].worth <= rates[pictures].high


def test_a_curve_that_falls_stays_as_high_as_it_was():
    alone = {100: [scores(0.5)], 200: [scores(2.0)], 400: [scores(1.0)], 800: [scores(3.0)]}
    with_web = {100: [scores(2.5)]}
    level, left, right = rsum(with_web[100]), rsum(alone[200]), rsum(alone[800])
    rate = exchange_rates(alone, with_web, {100: 100}, n=10)[100]
    assert rate.worth == pytest.approx(1000 * (400 * 2 ** ((level - left) / (right - left)) - 100) / 100)


def test_beyond_the_curve_there_is_a_bound_and_no_value():
    alone = {100: [scores(0.5)], 400: [scores(1.5)]}
    above, below = (exchange_rates(alone, {size: [scores(quality)]}, {size: 300}, n=200)[size]
                    for size, quality in ((100, 4.0), (400, -1.0)))  # fmt: skip
    assert str(above) == "at least 1,000 [at least 1,000, at least 1,000]"
    assert str(below) == "at most -1,000 [at most -1,000, at most -1,000]"
    assert (above.least, above.most) == (0, 1000)
    inside = exchange_rates(alone, {100: [scores(1.0)]}, {100: 300}, n=200)[100]
    assert str(inside).startswith(f"{inside.worth:,.0f} [")


def test_the_interval_is_one_of_images_and_seeds():
    """More images and agreeing seeds make it narrow; the same seed as all and again says nothing of others."""

    def width(images, spread):
        alone = {100: [scores(0.3, s, images) for s in range(4)], 800: [scores(2.5, s, images) for s in range(4)]}
        with_web = {100: [scores(1.2 + spread * (s - 1.5), s, images) for s in range(4)]}
        rate = exchange_rates(alone, with_web, {100: 700}, n=1000)[100]
        return rate.high - rate.low

    assert width(400, 0.0) < 0.7 * width(40, 0.0)
    assert width(400, 0.3) > 1.5 * width(400, 0.0)


def test_where_it_covers_the_truth_it_does_so_often_enough():
    """Worlds of their own images and seeds; 80 % intervals hold the rate of a world without noise."""

    def rate(seed, images, seeds, n):
        alone, web = ([scores(quality, [seed, number, s], images) for s in range(seeds)]
                      for number, quality in enumerate((0.5, 1.1)))  # fmt: skip
        most = [scores(2.0, [seed, 2, s], images) for s in range(seeds)]
        return exchange_rates({100: alone, 800: most}, {100: web}, {100: 700}, n=n, level=0.8)[100]

    truth = rate(10_000, 60, 80, 2).worth
    held = np.mean([found.low <= truth <= found.high for found in (rate(seed, 60, 3, 200) for seed in range(25))])
    assert held >= 0.7


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="a curve needs two points"):
        exchange_rates({100: [scores(1)]}, {}, {})
    with pytest.raises(ValueError, match="scores of different tests"):
        exchange_rates({100: [scores(1)], 200: [scores(2, images=50)]}, {}, {})
