"""Kendall's tau between similarities and human judgements, beside counting pairs one by one."""

import numpy as np
import pytest

from lib.evaluation.agreement import agreement


def by_loop(x, y, variant):
    """Concordant minus discordant pairs, over what each variant divides by (Kendall 1945, Stuart 1953)."""
    total = in_x = in_y = pairs = 0
    for i in range(len(x)):
        for j in range(i):
            total += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            pairs, in_x, in_y = pairs + 1, in_x + (x[i] != x[j]), in_y + (y[i] != y[j])
    if variant == "b":
        return total / np.sqrt(in_x * in_y)
    m = min(len(set(x)), len(set(y)))
    return 2 * total / (len(x) ** 2 * (m - 1) / m)


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    scores = rng.integers(1, 5, (60, 3)).astype(float)
    similarity = np.round(scores.mean(1) + rng.normal(size=60), 1)  # rounded: some tie
    return similarity, scores, np.arange(60) // 4


@pytest.mark.parametrize("variant", ["b", "c"])
def test_every_score_is_a_judgement(judged, variant):
    similarity, scores, images = judged
    found = agreement(similarity, scores, images, variant, n=50)
    assert found.tau == pytest.approx(by_loop(similarity.repeat(3), scores.ravel(), variant))
    assert found.low < found.tau < found.high
    assert found.judgements == 180
    assert f"tau-{variant} {found.tau:.3f}, 95 % interval" in str(found)
    assert found == agreement(similarity, scores, images, variant, n=50)
    assert found == agreement(similarity[:, None] * np.ones(3), scores, images, variant, n=50)


def test_pairs_of_an_image_are_drawn_together(judged):
    """With copies of every pair under one image the interval stays; as images of their own they would narrow it."""
    similarity, scores, images = judged
    first = agreement(similarity, scores, images, "b", n=300)
    copied = [np.concatenate([part] * 4) for part in (similarity, scores, images)]
    together = agreement(*copied, "b", n=300)
    apart = agreement(*copied[:2], np.arange(len(copied[0])), "b", n=300)
    assert (together.low, together.high) == pytest.approx((first.low, first.high), abs=1e-9)
    assert apart.high - apart.low < 0.8 * (together.high - together.low)


def test_perfect_and_reversed():
    scores = np.arange(1.0, 5.0)[:, None]
    assert agreement(scores[:, 0], scores, range(4), "c", n=20).tau == pytest.approx(1)
    assert agreement(-scores[:, 0], scores, range(4), "b", n=20).tau == pytest.approx(-1)


def test_what_does_not_fit(judged):
    similarity, scores, images = judged
    with pytest.raises(ValueError, match="variant is 'a'"):
        agreement(similarity, scores, images, "a")
    with pytest.raises(ValueError, match=r"similarity \(59,\), scores \(60, 3\), 60 image_ids"):
        agreement(similarity[1:], scores, images, "b")
    with pytest.raises(ValueError, match=r"59 image_ids"):
        agreement(similarity, scores, images[1:], "b")
    with pytest.raises(ValueError, match="not finite"):
        agreement(np.where(similarity > 2, np.nan, similarity), scores, images, "b")
    with pytest.raises(ValueError, match="all scores are equal"):
        agreement(similarity, np.ones_like(scores), images, "b")
