"""Losses of retrieval by category and of CRCGS, each against loops over float64 numbers."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lib.losses.category import (
    dcmh_loss,
    discriminative_loss,
    hash_loss,
    pair_likelihood,
    projection_classification,
    projection_matching,
    shared_labels,
)
from lib.systems.crcgs.losses import (
    discrimination_loss,
    feature_distillation,
    fooling_loss,
    generative_contrast,
    noise_contrast,
    support_set_loss,
    support_weights,
)

B, D, C = 7, 5, 4
RNG = np.random.default_rng(0)
LABELS = np.eye(C, dtype=bool)[RNG.integers(C, size=B)] | (RNG.random((B, C)) < 0.2)


def points(seed, size=D, positive=False):
    values = np.random.default_rng(seed).standard_normal((B, size))
    return np.abs(values) if positive else values


V, T, LOGITS_V, LOGITS_T = points(1), points(2), points(3, C), points(4, C)
S_V, S_T, G_V, G_T = (points(seed, positive=True) for seed in (5, 6, 7, 8))


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def cos(a, b):
    return a @ b / math.sqrt((a @ a) * (b @ b))


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def naive_likelihood(a, b, cosine=True):
    total = 0.0
    for i in range(B):
        for j in range(B):
            theta = (cos(a[i], b[j]) if cosine else a[i] @ b[j]) / 2
            total += math.log(1 + math.exp(theta)) - (LABELS[i] & LABELS[j]).any() * theta
    return total / B**2


def naive_bce(logits):
    return -np.mean([log_sigmoid(x if y else -x) for x, y in zip(logits.ravel(), LABELS.ravel(), strict=True)])


def naive_contrast(a, b, tau, samples, size=B):
    total = 0.0
    for i in range(B):
        for j in range(B):
            e = math.exp(cos(a[i], b[j]) / tau)
            h = e / (e + (size - 1) / samples)
            total -= math.log(h) if i == j else math.log(1 - h)
    return total / size


def test_discriminative_loss():
    found = discriminative_loss(*tensors(V, T, LOGITS_V, LOGITS_T, LABELS), 2.0, 0.5, 0.1)
    pairs = sum(naive_likelihood(a, b) for a, b in ((V, V), (V, T), (T, T)))
    gap = np.mean([math.sqrt(sum((v - t) ** 2)) for v, t in zip(V, T, strict=True)])
    assert_close(float(found), 2.0 * (naive_bce(LOGITS_V) + naive_bce(LOGITS_T)) + 0.5 * pairs + 0.1 * gap)


def test_pair_likelihood_stays_between_its_bounds():
    ones = torch.ones(B, D)
    alike = torch.ones(B, B, dtype=torch.bool)
    assert_close(float(pair_likelihood(ones, ones, alike)), math.log(1 + math.exp(-0.5)))
    assert_close(float(pair_likelihood(ones, ones, ~alike)), math.log(1 + math.exp(0.5)))


def test_projection_matching():
    alike = (LABELS.astype(int) @ LABELS.T.astype(int)) > 0
    total = 0.0
    for a, b in ((V, T), (T, V)):
        for i in range(B):
            e = [math.exp(a[i] @ b[j] / math.sqrt(b[j] @ b[j])) for j in range(B)]
            for j in range(B):
                p, q = e[j] / sum(e), alike[i, j] / alike[i].sum()
                total += p * math.log(p / (q + 1e-8)) / B
    assert_close(float(projection_matching(*tensors(V, T, alike))), total)


def test_projection_classification():
    weight = np.random.default_rng(9).standard_normal((C, D))
    total = 0.0
    for a, b in ((V, T), (T, V)):
        for i in range(B):
            direction = b[i] / math.sqrt(b[i] @ b[i])
            logits = [(a[i] @ direction) * (direction @ w) / math.sqrt(w @ w) for w in weight]
            normaliser = math.log(sum(math.exp(x) for x in logits))
            total -= sum((x - normaliser) * y for x, y in zip(logits, LABELS[i], strict=True)) / LABELS[i].sum() / B
    assert_close(float(projection_classification(*tensors(V, T, weight, LABELS))), total)


def test_dcmh():
    alike = shared_labels(torch.from_numpy(LABELS)) > 0
    codes = np.sign(V + T)
    value = naive_likelihood(V, T, cosine=False)
    value += 0.5 * np.mean([(x - b) ** 2 for x, b in zip(V.ravel(), codes.ravel(), strict=True)])
    value += 0.5 * np.mean([(x - b) ** 2 for x, b in zip(T.ravel(), codes.ravel(), strict=True)])
    value += 2.0 * sum(side[:, k].mean() ** 2 / D for side in (V, T) for k in range(D))
    assert_close(float(dcmh_loss(*tensors(V, T), alike, 0.5, 2.0)), value)


def test_hash_loss():
    alike = shared_labels(torch.from_numpy(LABELS)) > 0
    h_v, h_t = np.tanh(points(10)), np.tanh(points(11))
    value, c, h = 0.0, (V + T) / 2, (h_v + h_t) / 2
    for i in range(B):
        value += 2.0 * sum((cos(c[i], c[j]) / 2 - cos(h[i], h[j]) / 2) ** 2 for j in range(B)) / B
    value += 0.5 * sum(naive_likelihood(a, b) for a, b in ((h_v, h_v), (h_v, h_t), (h_t, h_t)))
    value += 0.1 * np.mean((h - np.sign(h)) ** 2)
    assert_close(float(hash_loss(*tensors(V, T, h_v, h_t), alike, 2.0, 0.5, 0.1)), value)


def test_distillation_and_adversarial_losses():
    value = np.mean((S_V - G_V) ** 2) + np.mean((S_T - G_T) ** 2)
    assert_close(float(feature_distillation(*tensors(S_V, S_T, G_V, G_T))), value)
    real, fake = points(12, 2), points(13, 2)
    as_real = [-math.log(math.exp(x[1]) / (math.exp(x[0]) + math.exp(x[1]))) for x in fake]
    as_fake = [-math.log(math.exp(x[0]) / (math.exp(x[0]) + math.exp(x[1]))) for x in fake]
    kept = [-math.log(math.exp(x[1]) / (math.exp(x[0]) + math.exp(x[1]))) for x in real]
    assert_close(float(fooling_loss(torch.from_numpy(fake))), np.mean(as_real))
    assert_close(float(discrimination_loss(*tensors(real, fake))), np.mean(kept) + np.mean(as_fake))


@pytest.mark.parametrize(("samples", "size"), [(100, None), (3, None), (3, 10)])
def test_contrast_with_samples_or_batches_as_n(samples, size):
    value = naive_contrast(S_V, G_V, 0.2, samples, size or B)
    assert_close(float(noise_contrast(*tensors(S_V, G_V), 0.2, samples, size)), value)
    four = sum(
        naive_contrast(a, b, 0.2, samples, size or B) for a, b in ((G_V, S_V), (G_T, S_T), (G_V, S_T), (G_T, S_V))
    )
    assert_close(float(generative_contrast(*tensors(S_V, S_T, G_V, G_T), 0.2, samples, size)), four / 4)


def test_a_single_item_has_no_negatives():
    with pytest.raises(ValueError, match="no negatives"):
        noise_contrast(torch.ones(1, 2), torch.ones(1, 2), 0.1, 10)


def test_support_weights_of_a_case_made_by_hand():
    """Two labels shared count twice, none shared not at all; equal cosines leave the counts."""
    shared = torch.tensor([[2.0, 1.0, 0.0]])
    same = torch.tensor([[3.0, 0.0]] * 3)
    assert_close(support_weights(torch.tensor([[1.0, 0.0]]), same, shared, 0.1), torch.tensor([[2 / 3, 1 / 3, 0.0]]))
    # cosines 1, 0, 1; temperature 1 / log 2: a cosine of 1 counts twice
    support = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    found = support_weights(torch.tensor([[4.0, 0.0]]), support, shared, 1 / math.log(2))
    assert_close(found, torch.tensor([[4 / 5, 1 / 5, 0.0]]))


def test_support_set_loss():
    cosines = []
    for a, b in ((S_V, S_T), (S_T, S_V)):
        for i in range(B):
            w = [(LABELS[i] & LABELS[k]).sum() * math.exp(cos(a[i], b[k]) / 0.3) for k in range(B)]
            rebuilt = sum(x * b[k] for k, x in enumerate(w)) / sum(w)
            cosines.append(cos(a[i], rebuilt))
    assert_close(float(support_set_loss(*tensors(S_V, S_T, LABELS), 0.3)), -math.log(np.mean(cosines)))


def test_gradients_are_finite_and_move_both_sides():
    s_v, s_t, g_v, g_t = (x.requires_grad_() for x in tensors(S_V, S_T, G_V, G_T))
    labels = torch.from_numpy(LABELS)
    value = generative_contrast(s_v, s_t, g_v, g_t, 0.07, 100) + support_set_loss(s_v, s_t, labels, 0.04)
    value.backward()
    for side in (s_v, s_t):
        assert side.grad.isfinite().all()
        assert side.grad.abs().sum() > 0
