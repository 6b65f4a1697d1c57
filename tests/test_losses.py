"""Every loss against a naive float64 loop, against a second library, and in its limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lib.losses import (
    InfoNCE,
    SigmoidLoss,
    info_nce,
    max_of_hinges,
    positives_from_ids,
    sigmoid_loss,
    soft_margin,
    sum_of_hinges,
)

LOSSES = [sum_of_hinges, max_of_hinges, info_nce, sigmoid_loss]


def naive_hinges(similarity, positives, margin, reduce):
    total, pairs = 0.0, 0
    images, texts = positives.shape
    for i in range(images):
        for t in range(texts):
            if not positives[i, t]:
                continue
            pairs += 1
            s = float(similarity[i, t])
            row = [max(0.0, margin - s + float(similarity[i, u])) for u in range(texts) if not positives[i, u]]
            column = [max(0.0, margin - s + float(similarity[j, t])) for j in range(images) if not positives[j, t]]
            total += reduce(row) + reduce(column)
    return total / pairs


def naive_info_nce(similarity, positives, temperature=0.05):
    total, pairs = 0.0, 0
    images, texts = positives.shape
    for i in range(images):
        for t in range(texts):
            if positives[i, t]:
                pairs += 1
                s = math.exp(float(similarity[i, t]) / temperature)
                row = sum(math.exp(float(similarity[i, u]) / temperature) for u in range(texts) if not positives[i, u])
                column = sum(
                    math.exp(float(similarity[j, t]) / temperature) for j in range(images) if not positives[j, t]
                )
                total -= (math.log(s / (s + row)) + math.log(s / (s + column))) / 2
    return total / pairs


def naive_sigmoid(similarity, positives, scale=10.0, bias=-10.0):
    total = 0.0
    for i in range(len(positives)):
        for t in range(positives.shape[1]):
            logit = scale * float(similarity[i, t]) + bias
            total += math.log1p(math.exp(-logit if positives[i, t] else logit))
    return total / int(positives.sum())


NAIVE = {
    sum_of_hinges: lambda s, p: naive_hinges(s, p, 0.2, sum),
    max_of_hinges: lambda s, p: naive_hinges(s, p, 0.2, lambda costs: max(costs, default=0.0)),
    info_nce: naive_info_nce,
    sigmoid_loss: naive_sigmoid,
}


def problem(images, captions, seed, dtype=torch.float64):
    """Random similarities of `images` images with 1..captions texts each."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, captions + 1, (images,), generator=generator)
    text_ids = torch.arange(images).repeat_interleave(counts)
    similarity = torch.rand(images, len(text_ids), generator=generator, dtype=dtype) * 2 - 1
    return similarity, positives_from_ids(torch.arange(images), text_ids)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@given(images=st.integers(1, 7), captions=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_equals_a_naive_loop(loss, images, captions, seed):
    similarity, positives = problem(images, captions, seed)
    assert float(loss(similarity, positives)) == pytest.approx(NAIVE[loss](similarity, positives), rel=1e-9, abs=1e-12)


def test_hinges_agree_with_pytorch_metric_learning():
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.reducers import SumReducer

    generator = torch.Generator().manual_seed(0)
    images, texts = F.normalize(torch.randn(2, 12, 16, generator=generator), dim=-1)
    ids, text_ids = torch.arange(12), torch.arange(12)  # the peer drops the diagonal if both are one object
    peer = TripletMarginLoss(0.2, distance=CosineSimilarity(), triplets_per_anchor="all", reducer=SumReducer())
    both = peer(images, ids, ref_emb=texts, ref_labels=text_ids) + peer(texts, text_ids, ref_emb=images, ref_labels=ids)
    ours = sum_of_hinges(images @ texts.T, positives_from_ids(ids, text_ids))
    torch.testing.assert_close(ours, both / 12)


def test_info_nce_agrees_with_pytorch_metric_learning_on_several_captions():
    from pytorch_metric_learning.losses import NTXentLoss

    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(6, 16, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(18, 16, generator=generator), dim=-1)
    ids, text_ids = torch.arange(6), torch.arange(6).repeat_interleave(3)
    peer = NTXentLoss(temperature=0.05)
    expected = (
        peer(images, ids, ref_emb=texts, ref_labels=text_ids) + peer(texts, text_ids, ref_emb=images, ref_labels=ids)
    ) / 2
    torch.testing.assert_close(info_nce(images @ texts.T, positives_from_ids(ids, text_ids)), expected)


def test_info_nce_is_cross_entropy_for_single_pairs():
    similarity = torch.randn(9, 9, generator=torch.Generator().manual_seed(1))
    target = torch.arange(9)
    expected = (F.cross_entropy(similarity / 0.1, target) + F.cross_entropy(similarity.T / 0.1, target)) / 2
    torch.testing.assert_close(info_nce(similarity, torch.eye(9, dtype=torch.bool), temperature=0.1), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_captions_of_one_image_are_not_negatives(loss):
    """Making a second caption of image 0 as similar as can be must not cost the first one anything."""
    positives = positives_from_ids(torch.arange(3), torch.tensor([0, 0, 1, 2]))
    similarity = torch.full((3, 4), -1.0).masked_fill(positives, 0.9)
    better = similarity.clone()
    better[0, 1] = 1.0
    assert loss(better, positives) <= loss(similarity, positives)


@pytest.mark.parametrize("loss", [sum_of_hinges, max_of_hinges])
def test_separated_pairs_cost_nothing(loss):
    assert float(loss(torch.eye(8), torch.eye(8, dtype=torch.bool))) == 0


def test_learned_temperatures_start_as_the_plain_losses_and_learn():
    similarity, positives = problem(6, 2, seed=5, dtype=torch.float32)
    for module, plain in [
        (InfoNCE(0.07), info_nce(similarity, positives, 0.07)),
        (SigmoidLoss(), sigmoid_loss(similarity, positives)),
    ]:
        value = module(similarity, positives)
        torch.testing.assert_close(value, plain)
        value.backward()
        assert all(parameter.grad.abs() > 0 for parameter in module.parameters())


# ------------------------------------------------------------------------------------------------------- noisy pairs
@pytest.mark.parametrize("loss", [sum_of_hinges, max_of_hinges, info_nce], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.7])
def test_small_loss_selection_is_the_mean_of_the_smallest(loss, keep):
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(10, 10, generator=generator, dtype=torch.float64) * 2 - 1
    of_pair = []
    for pair in range(10):  # the loss of one pair against all others: no other diagonal element is a positive
        alone = torch.zeros(10, 10, dtype=torch.bool)
        alone[pair, pair] = True
        of_pair.append(float(loss(similarity, alone)))
    assert float(loss(similarity, torch.eye(10, dtype=torch.bool))) == pytest.approx(sum(of_pair) / 10)
    smallest = sorted(of_pair)[: round(10 * keep)]
    chosen = loss(similarity, torch.eye(10, dtype=torch.bool), keep=keep)
    assert float(chosen) == pytest.approx(sum(smallest) / len(smallest))


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(keep):
    with pytest.raises(ValueError, match="keep is"):
        sum_of_hinges(torch.eye(3), torch.eye(3, dtype=torch.bool), keep=keep)


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_label_smoothing_against_torch(smoothing):
    """With one positive a row it is torch's own label smoothing on the n candidates."""
    similarity = torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partners = torch.arange(7)
    expected = [
        F.cross_entropy(scores / 0.1, partners, label_smoothing=smoothing) for scores in (similarity, similarity.T)
    ]
    mine = info_nce(similarity, torch.eye(7, dtype=torch.bool), temperature=0.1, smoothing=smoothing)
    assert float(mine) == pytest.approx(float(sum(expected)) / 2)


def test_label_smoothing_with_several_texts_of_an_image():
    similarity = torch.randn(3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    positives = positives_from_ids(torch.arange(3), torch.tensor([0, 0, 1, 1, 2, 2]))
    total = 0.0
    for i, t in positives.nonzero().tolist():
        for candidates in (
            [similarity[i, t], *similarity[i, ~positives[i]]],
            [similarity[i, t], *similarity[~positives[:, t], t]],
        ):
            log_p = torch.stack(candidates).div(0.5).log_softmax(0)
            total -= float(0.8 * log_p[0] + 0.2 * log_p.mean()) / 2
    assert float(info_nce(similarity, positives, 0.5, smoothing=0.2)) == pytest.approx(total / 6)


@pytest.mark.parametrize(("loss", "reduce"), [(sum_of_hinges, sum), (max_of_hinges, max)], ids=["sum", "max"])
def test_a_margin_for_each_negative(loss, reduce):
    generator = torch.Generator().manual_seed(3)
    similarity = torch.rand(5, 5, generator=generator, dtype=torch.float64)
    margin = soft_margin(torch.randn(5, 3, generator=generator, dtype=torch.float64)).double()
    expected = 0.0
    for i in range(5):
        s = float(similarity[i, i])
        others = [j for j in range(5) if j != i]
        expected += reduce([max(0.0, float(margin[i, j]) - s + float(similarity[i, j])) for j in others])
        expected += reduce([max(0.0, float(margin[j, i]) - s + float(similarity[j, i])) for j in others])
    assert float(loss(similarity, torch.eye(5, dtype=torch.bool), margin)) == pytest.approx(expected / 5)


def test_soft_margin_is_none_for_twins_and_whole_for_strangers():
    margin = soft_margin(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), margin=0.4)
    expected = torch.tensor([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.4], [0.4, 0.4, 0, 0.4], [0.4, 0.4, 0.4, 0]])
    torch.testing.assert_close(margin, expected)
