"""The losses of text regression against naive float64 loops, in their limits and their gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.losses import cosine_loss, positives_from_ids, soft_contrastive, soft_cross_entropy, soft_triplet


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    length = math.sqrt(sum(float(x) ** 2 for x in a)) * math.sqrt(sum(float(y) ** 2 for y in b))
    return dot / length


def naive_cross_entropy(outputs, targets, positives):
    values = []
    for i, t in positives.nonzero().tolist():
        value = 0.0
        for z, y in zip(outputs[i].tolist(), targets[t].tolist(), strict=True):
            p = 1 / (1 + math.exp(-z))
            value -= y * math.log(p) + (1 - y) * math.log(1 - p)
        values.append(value)
    return sum(values) / len(values)


def naive_cosine(outputs, targets, positives):
    values = [1 - cosine(outputs[i], targets[t]) for i, t in positives.nonzero().tolist()]
    return sum(values) / len(values)


def naive_triplet(outputs, targets, positives, margin=0.2):
    values = []
    for i, t in positives.nonzero().tolist():
        for u in range(len(targets)):
            if not positives[i, u]:
                wanted = margin * (1 - max(0.0, cosine(targets[t], targets[u])))
                values.append(max(0.0, wanted - cosine(outputs[i], targets[t]) + cosine(outputs[i], targets[u])))
    return sum(values) / len(values)


def naive_contrastive(outputs, targets, positives, margin=1.0):
    pushed = []
    for i, t in positives.nonzero().tolist():
        for u in range(len(targets)):
            if not positives[i, u]:
                allowed = 1 - margin * (1 - max(0.0, cosine(targets[t], targets[u])))
                pushed.append(max(0.0, cosine(outputs[i], targets[u]) - allowed))
    return naive_cosine(outputs, targets, positives) + sum(pushed) / len(pushed)


LOSSES = {
    soft_cross_entropy: naive_cross_entropy,
    cosine_loss: naive_cosine,
    soft_triplet: naive_triplet,
    soft_contrastive: naive_contrastive,
}
BY_COSINE = [loss for loss in LOSSES if loss is not soft_cross_entropy]


def draw(owners, images, dim=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(images, dim, generator=generator, dtype=dtype)
    targets = torch.rand(len(owners), dim, generator=generator, dtype=dtype)
    return outputs, targets, positives_from_ids(torch.arange(images), torch.tensor(owners))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@given(data=st.data())
def test_equals_the_naive_loop(loss, data):
    images = data.draw(st.integers(2, 4))
    owners = [*range(images), *data.draw(st.lists(st.integers(0, images - 1), max_size=3))]
    given_ = draw(owners, images, seed=data.draw(st.integers(0, 1000)))
    torch.testing.assert_close(float(loss(*given_)), LOSSES[loss](*given_), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("margin", [0.05, 0.5])
@pytest.mark.parametrize("loss", [soft_triplet, soft_contrastive], ids=lambda loss: loss.__name__)
def test_margins_equal_the_naive_loop(loss, margin):
    given_ = draw([0, 1, 2, 3, 1], images=4)
    value = float(loss(*given_, margin=margin))
    torch.testing.assert_close(value, LOSSES[loss](*given_, margin=margin), rtol=2e-5, atol=1e-6)


def test_cross_entropy_is_least_at_the_target_and_worth_d_log_2_at_zero():
    _, targets, positives = draw([0, 1, 2], images=3)
    floor = -(targets * targets.log() + (1 - targets) * (1 - targets).log()).sum(1).mean()
    at_target = soft_cross_entropy(targets.logit(), targets, positives)
    torch.testing.assert_close(at_target, floor)
    assert soft_cross_entropy(targets.logit() + 0.1, targets, positives) > at_target
    zeros = torch.zeros_like(targets)
    torch.testing.assert_close(float(soft_cross_entropy(zeros, targets, positives)), 5 * math.log(2))


def test_gradient_of_cross_entropy_is_the_error_of_the_sigmoid():
    outputs, targets, positives = draw([0, 1, 2], images=3)
    outputs.requires_grad_()
    soft_cross_entropy(outputs, targets, positives).backward()
    torch.testing.assert_close(outputs.grad, (outputs.detach().sigmoid() - targets) / 3)


@pytest.mark.parametrize("loss", BY_COSINE, ids=lambda loss: loss.__name__)
def test_losses_of_the_cosine_are_zero_at_the_target_whatever_its_length(loss):
    _, targets, positives = draw([0, 1, 2], images=3)
    value = loss(7 * targets, targets, positives)
    torch.testing.assert_close(float(value), 0.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", BY_COSINE, ids=lambda loss: loss.__name__)
def test_value_at_chance(loss):
    points = draw(range(64), images=64, dim=2000, dtype=torch.float32)
    targets = points[1] - 0.5  # all directions
    expected = {cosine_loss: 1.0, soft_triplet: 0.2, soft_contrastive: 1.0}[loss]
    assert float(loss(points[0], targets, points[2])) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("loss", [soft_triplet, soft_contrastive], ids=lambda loss: loss.__name__)
def test_negatives_are_soft(loss):
    """An output on the wrong side of a text costs less, the more that text is like its own."""
    angle = torch.tensor([0.2, 1.2], dtype=torch.float64)
    values = []
    for a in angle:
        own, other = torch.tensor([1.0, 0.0]).double(), torch.stack([a.cos(), a.sin()])
        targets = torch.stack([own, other])
        values.append(loss(other[None], targets, torch.tensor([[True, False]])))
    assert values[0] < values[1]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_learning_reaches_the_targets(loss):
    outputs, targets, positives = draw(range(6), images=6, dim=8)
    outputs.requires_grad_()
    optimiser = torch.optim.Adam([outputs], 0.05)
    first = float(loss(outputs.detach(), targets, positives))
    for _ in range(200):
        optimiser.zero_grad()
        loss(outputs, targets, positives).backward()
        optimiser.step()
    assert float(loss(outputs.detach(), targets, positives)) < first
    read = outputs.detach().sigmoid() if loss is soft_cross_entropy else outputs.detach()
    nearest = torch.nn.functional.normalize(read, dim=1) @ torch.nn.functional.normalize(targets, dim=1).T
    assert nearest.argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_texts_of_one_picture_are_no_negatives(loss):
    """Two equal texts of picture 0: counted as positives twice, as negatives never."""
    outputs, targets, _ = draw([0, 1], images=2)
    doubled = torch.cat([targets, targets[:1]])
    one = positives_from_ids(torch.arange(2), torch.tensor([0, 1]))
    both = positives_from_ids(torch.arange(2), torch.tensor([0, 1, 0]))
    value = LOSSES[loss](outputs, doubled, both)
    torch.testing.assert_close(float(loss(outputs, doubled, both)), value, rtol=2e-5, atol=1e-6)
    assert float(loss(outputs, targets, one)) > 0
