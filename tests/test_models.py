"""Pooling, cross attention, CCA and the joint embedding against naive versions and second libraries."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.evaluation import evaluate
from lib.models import (
    CCA,
    CrossAttention,
    Dropout,
    GeneralizedPooling,
    JointEmbedding,
    Projection,
    RetrievalModel,
    Tokens,
    cross_attention_similarity,
    last_pool,
    max_pool,
    mean_pool,
)
from lib.models.gru import GRUEncoder
from lib.models.interface import retrieval_model
from lib.training import Pairs, validate

POOLINGS = {"mean": mean_pool, "max": max_pool, "last": last_pool, "generalized": GeneralizedPooling()}


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_ignores_padding(name):
    torch.manual_seed(0)
    vectors, lengths = torch.randn(4, 6, 8), torch.tensor([6, 1, 3, 2])
    noisy = vectors.clone()
    for row, length in enumerate(lengths):
        noisy[row, length:] = 1e6
    pooled = POOLINGS[name](noisy, lengths)
    for row, length in enumerate(lengths):
        alone = POOLINGS[name](vectors[row : row + 1, :length])
        torch.testing.assert_close(pooled[row : row + 1], alone)


@pytest.mark.parametrize(
    ("pooling", "naive"), [(mean_pool, lambda x: x.mean(0)), (max_pool, lambda x: x.max(0).values)]
)
def test_simple_pooling(pooling, naive):
    vectors = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooling(vectors), torch.stack([naive(x) for x in vectors]))


def test_generalized_pooling_is_a_weighted_sum_of_sorted_values():
    torch.manual_seed(0)
    pooling, vectors, lengths = GeneralizedPooling(), torch.randn(3, 5, 4), torch.tensor([5, 2, 4])
    weights = pooling.weights(lengths)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert (weights[1, 2:] == 0).all()
    for row, length in enumerate(lengths):
        ordered = vectors[row, :length].sort(0, descending=True).values
        expected = sum(weights[row, k] * ordered[k] for k in range(length))
        torch.testing.assert_close(pooling(vectors, lengths)[row], expected)


def test_generalized_pooling_does_not_depend_on_order():
    torch.manual_seed(0)
    pooling, vectors = GeneralizedPooling(), torch.randn(2, 7, 4)
    torch.testing.assert_close(pooling(vectors), pooling(vectors[:, torch.randperm(7)]))


def naive_attention(regions, words, length, direction, smooth):
    """SCAN Eqs. 1-8 for one image and one text, by loops, attended vectors formed."""
    queries, context = (words[:length], regions) if direction == "t2i" else (regions, words[:length])
    positive = torch.zeros(len(queries), len(context), dtype=queries.dtype)
    for q in range(len(queries)):
        for c in range(len(context)):
            positive[q, c] = max(0.0, float(F.cosine_similarity(queries[q], context[c], dim=0)))
    total = 0.0
    for q in range(len(queries)):
        logits = []
        for c in range(len(context)):
            logits.append(smooth * positive[q, c] / max(float(positive[:, c].norm()), 1e-12))
        weights = torch.stack(logits).softmax(0)
        attended = sum(weights[c] * context[c] for c in range(len(context)))
        total += float(F.cosine_similarity(queries[q], attended, dim=0))
    return total / len(queries)


def attention_problem():
    generator = torch.Generator().manual_seed(0)
    regions = F.normalize(torch.randn(3, 4, 8, generator=generator, dtype=torch.float64), dim=-1)
    words = F.normalize(torch.randn(5, 6, 8, generator=generator, dtype=torch.float64), dim=-1)
    return regions, words, torch.tensor([6, 1, 3, 5, 2])


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize("tile", [1, 2, 32])
def test_cross_attention_equals_loops(direction, tile):
    regions, words, lengths = attention_problem()
    ours = cross_attention_similarity(regions, words, lengths, direction, smooth=9.0, tile=tile)
    for i in range(3):
        for t in range(5):
            expected = naive_attention(regions[i], words[t], int(lengths[t]), direction, 9.0)
            assert float(ours[i, t]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_cross_attention_in_tiles_has_the_same_gradient(direction):
    gradients = []
    for tile in (1, 2, 32):
        regions, words, lengths = attention_problem()
        regions.requires_grad_()
        words.requires_grad_()
        cross_attention_similarity(regions, words, lengths, direction, tile=tile).square().sum().backward()
        gradients.append((regions.grad, words.grad))
    for tiled in gradients[:-1]:
        torch.testing.assert_close(tiled, gradients[-1])


def test_cross_attention_refuses_an_unknown_direction():
    with pytest.raises(ValueError, match="direction must be"):
        cross_attention_similarity(*attention_problem(), direction="both")


def test_cca_agrees_with_sklearn():
    from sklearn.cross_decomposition import CCA as SklearnCCA

    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(400, 3, generator=generator)
    images = torch.cat([shared, torch.randn(400, 5, generator=generator)], 1) @ torch.randn(8, 8, generator=generator)
    texts = torch.cat(
        [shared + 0.5 * torch.randn(400, 3, generator=generator), torch.randn(400, 4, generator=generator)], 1
    )
    ours = CCA(dim=3, ridge=0.0, power=0.0).fit(images, texts)
    peer = SklearnCCA(n_components=3, scale=False, max_iter=2000, tol=1e-10).fit(images.numpy(), texts.numpy())
    x, y = peer.transform(images.numpy(), texts.numpy())
    for k in range(3):
        expected = torch.corrcoef(torch.stack([torch.tensor(x[:, k]), torch.tensor(y[:, k])]))[0, 1]
        assert float(ours.correlations[k]) == pytest.approx(float(expected), abs=1e-4)
        measured = torch.corrcoef(torch.stack([ours.encode_images(images)[:, k], ours.encode_sentences(texts)[:, k]]))[
            0, 1
        ]
        assert float(measured) == pytest.approx(float(expected), abs=1e-4)


def test_branches_that_start_at_cca_give_its_similarities():
    torch.manual_seed(0)
    images, texts = torch.randn(40, 7), torch.randn(40, 5)
    cca, model = CCA(3).fit(images, texts), JointEmbedding(Projection(7, 3), Projection(5, 3))
    cca.put_into(model.image, model.sentence)
    a, b = (F.normalize(part, dim=1) for part in (cca.encode_images(images), cca.encode_sentences(texts)))
    torch.testing.assert_close(model.eval()(images, texts), a @ b.T, atol=1e-4, rtol=1e-4)


def test_cca_names_bad_input():
    with pytest.raises(ValueError, match="3 images and 4 texts"):
        CCA(dim=1).fit(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="dim 5 exceeds"):
        CCA(dim=5).fit(torch.zeros(9, 4), torch.zeros(9, 4))


def cca_sides(cca, images, texts):
    return cca.encode_images(images), cca.encode_sentences(texts)


def test_cca_is_a_model_like_the_others(tmp_path):
    torch.manual_seed(0)
    images, texts = torch.randn(40, 7), torch.randn(40, 5)
    cca = CCA(3).fit(images, texts)
    pairs = Pairs(images, texts, torch.arange(40))
    scores = validate(cca, pairs, device="cpu")
    assert scores.as_dict() == evaluate(*cca_sides(cca, images, texts), pairs.image_of_text).as_dict()
    assert scores.as_dict()["rsum"] > 200  # learned by heart
    left, right = cca_sides(cca, images, texts)
    torch.testing.assert_close(cca(images, texts), F.cosine_similarity(left[:, None], right, dim=-1))
    torch.save(cca.state_dict(), tmp_path / "cca.pt")
    again = CCA(3)
    again.load_state_dict(torch.load(tmp_path / "cca.pt", weights_only=True))
    assert torch.equal(again(images, texts), cca(images, texts))
    again.fit(images + 1, texts)  # what it was loaded from stays
    assert not torch.equal(again.image_mean, cca.image_mean)
    inside = torch.nn.ModuleList([CCA(3)])
    inside.load_state_dict(torch.nn.ModuleList([cca]).state_dict())
    assert torch.equal(inside[0].correlations, cca.correlations)
    with pytest.raises(RuntimeError, match="Missing key"):
        CCA(3).load_state_dict({})


def test_cca_says_what_it_lacks():
    with pytest.raises(RuntimeError, match="call fit"):
        CCA(3).encode_images(torch.zeros(2, 7))
    with pytest.raises(TypeError, match="CCA takes vectors of texts"):
        CCA(3).encode_sentences(Tokens(torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2])))
    with pytest.raises(TypeError, match="ends in GELU"):
        CCA(3).fit(torch.randn(9, 4), torch.randn(9, 4)).put_into(nn.Sequential(nn.GELU()), Projection(4, 3))


def test_cross_attention_says_that_it_reads_words():
    model = CrossAttention(Projection(12, 16), GRUEncoder(20, 6, 16, bidirectional=True))
    with pytest.raises(TypeError, match=r"CrossAttention reads Tokens .* not vectors \(5, 6\)"):
        model(torch.randn(4, 9, 12), torch.randn(5, 6))


def test_a_network_without_the_calls_of_a_model_is_refused():
    model = CCA(2)
    assert retrieval_model(model) is model
    assert not isinstance(Projection(3, 2), RetrievalModel)
    message = "Projection cannot be asked for embeddings: it lacks encode_images and encode_sentences"
    with pytest.raises(TypeError, match=message):
        validate(Projection(3, 2), Pairs(torch.zeros(2, 3), torch.zeros(2, 3), torch.arange(2)), device="cpu")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(3, 5), (200, 501)])
def test_dropout_drops_the_share_it_says_and_keeps_the_expectation(p, shape):
    torch.manual_seed(0)
    layer, numbers = Dropout(p), torch.ones(shape, requires_grad=True)
    dropped = layer(numbers)
    assert dropped.shape == shape
    (gradient,) = torch.autograd.grad(dropped.sum(), numbers)
    assert torch.equal(gradient, dropped.detach())  # the same mask and factor, backwards
    kept = dropped[dropped > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)  # p is rounded to 2^-16
    if dropped.numel() > 1000:
        n = dropped.numel()
        assert abs(float((dropped == 0).sum()) - p * n) < 5 * (n * p * (1 - p)) ** 0.5
        neighbours = torch.corrcoef(torch.stack([dropped.flatten()[:-1], dropped.flatten()[1:]]))[0, 1]
        assert abs(float(neighbours)) < 5 / n**0.5  # four numbers share a draw of the generator
        assert not torch.equal(layer(numbers), dropped)
    assert layer.eval()(numbers) is numbers


def test_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match=r"dropout of 1.0 would leave nothing"):
        Dropout(1.0)


def test_tag_branch():
    model = JointEmbedding(Projection(4, 8), Projection(4, 8), tag=Projection(5, 8))
    torch.testing.assert_close(model.encode_tags(torch.randn(3, 5)).norm(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="no tag branch"):
        JointEmbedding(Projection(4, 8), Projection(4, 8)).encode_tags(torch.randn(3, 5))


def test_gru_states_match_torch_on_unpadded_sentences():
    torch.manual_seed(0)
    encoder = GRUEncoder(30, 6, 8, bidirectional=True)
    tokens, lengths = torch.randint(1, 30, (3, 5)), torch.tensor([5, 3, 1])
    states = encoder(tokens, lengths)
    for row, length in enumerate(lengths):
        alone, _ = encoder.gru(encoder.embed(tokens[row : row + 1, :length]))
        forward, backward = alone[0].chunk(2, dim=-1)
        torch.testing.assert_close(states[row, :length], (forward + backward) / 2)


def test_gru_refuses_pretrained_vectors_of_another_shape():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        GRUEncoder(10, 4, pretrained=torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        (torch.randn(1, 4), torch.randn(1, 4), "at least two pairs, got 1"),
        (torch.randn(0, 4), torch.randn(0, 4), "at least two pairs, got 0"),
        (torch.ones(9, 4), torch.randn(9, 4), "all 9 image features are equal"),
        (torch.randn(9, 4), torch.zeros(9, 4), "all 9 text features are equal"),
        (torch.randn(9, 4), torch.full((9, 4), torch.nan), "the text features have a number that is not finite"),
        (torch.randn(3, 4), torch.randn(3, 4), "dim 3 exceeds"),
    ],
)
def test_cca_says_what_it_cannot_learn_from(images, texts, message):
    with pytest.raises(ValueError, match=message):
        CCA(3).fit(images, texts)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_cca_learns_from_few_pairs_in_many_dimensions(count):
    torch.manual_seed(0)
    images, texts = torch.randn(count, 30), torch.randn(count, 20)
    similarity = CCA(1, ridge=1.0, power=1.0).fit(images, texts)(images, texts)
    assert torch.isfinite(similarity).all()
