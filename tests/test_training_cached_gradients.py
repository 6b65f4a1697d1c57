"""Gradients through cached embeddings against the plain step."""

import pytest
import torch
from torch import nn

from lib.losses import streaming
from lib.models import JointEmbedding
from lib.models.gru import GRUEncoder
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import mean_pool
from lib.training.cached_gradients import cached_gradient_step

N = 23


def model_and_batch(dropout):
    torch.manual_seed(0)
    sentence = PooledBranch(GRUEncoder(30, 8, 12), mean_pool)
    model = JointEmbedding(Projection(20, 12, hidden=16, dropout=dropout), sentence).double()
    images = torch.randn(N, 20, dtype=torch.float64)
    tokens, lengths = torch.randint(1, 30, (N, 6)), torch.randint(1, 7, (N,))
    return model, images, (tokens, lengths)


def loss(images, texts):
    return streaming.info_nce(images, texts, torch.arange(N), torch.arange(N))


def step(model, images, sentences, chunk):
    encoders = [model.encode_images, lambda *words: model.encode_sentences(words)]
    model.zero_grad()
    value = cached_gradient_step(encoders, [images, sentences], loss, chunk)
    return value, [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("chunk", [1, 5, N, 100])
def test_equals_the_plain_step(chunk):
    model, images, sentences = model_and_batch(dropout=0.0)
    value = loss(model.encode_images(images), model.encode_sentences(sentences))
    value.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    found, gradients = step(model, images, sentences, chunk)
    assert float(found) == pytest.approx(float(value), rel=1e-9)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)  # embeddings are made unit vectors in float32


def test_dropout_is_the_same_in_both_passes():
    """A plain step that encodes the same chunks one after the other from the same random state drops the same units."""
    model, images, sentences = model_and_batch(dropout=0.5)
    torch.manual_seed(1)
    chunks = torch.cat([model.encode_images(part) for part in images.split(5)])
    value = loss(chunks, model.encode_sentences(sentences))
    model.zero_grad()
    value.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    torch.manual_seed(1)
    found, gradients = step(model, images, sentences, 5)
    after = torch.rand(1)
    assert float(found) == pytest.approx(float(value), rel=1e-6)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
    torch.manual_seed(1)
    for part in images.split(5):
        model.encode_images(part)
    assert torch.equal(after, torch.rand(1)), "the second pass must not move the caller's random state"


def test_activations_of_one_chunk_at_a_time():
    seen = []

    class Watch(nn.Linear):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    encoder = Watch(4, 4)
    cached_gradient_step([encoder, encoder], [torch.randn(N, 4)] * 2, loss, 4)
    assert max(seen) == 4
    assert sum(seen) == 4 * N


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="chunk"):
        cached_gradient_step([], [], loss, 0)
    with pytest.raises(ValueError, match="encoders have"):
        cached_gradient_step([nn.Identity()], [], loss, 1)
