"""A3VSE: losses, gradient reversal, attention, the objective, and a planted problem that only the adversary solves."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lib.losses import info_nce, max_of_hinges
from lib.models import cross_attention_similarity
from lib.systems.a3vse import objective as a3vse
from lib.systems.a3vse.adversarial import domain_accuracy, domain_loss, reversal_ramp, reverse_gradient
from lib.systems.a3vse.domains import maximum_mean_discrepancy, proxy_a_distance
from lib.systems.a3vse.losses import soft_alignment, weighted_hinges
from lib.systems.a3vse.model import A3VSE, AttentivePooling, region_word_similarity, word_attention
from lib.systems.a3vse.objective import A3VSEChoices, A3VSEObjective, SparsePairs, clues
from lib.systems.a3vse.words import word_table
from lib.training import Pairs, TrainConfig, fit, validate


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ------------------------------------------------------------------------------------------------ losses
@given(st.floats(0, 3), st.integers(0, 100))
def test_reversal_is_the_identity_with_the_gradient_turned_round(strength, seed):
    x = random(4, 3, seed=seed).requires_grad_()
    weight = random(4, 3, seed=seed + 1)
    y = reverse_gradient(x, strength)
    assert torch.equal(y, x)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, -strength * weight)


def test_ramp_follows_the_paper_at_both_ends():
    assert reversal_ramp(0) == 0
    assert reversal_ramp(1) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    assert [reversal_ramp(p / 10) for p in range(11)] == sorted(reversal_ramp(p / 10) for p in range(11))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_domain_loss_and_accuracy_equal_loops(a, b, seed):
    left, right = random(a, seed=seed), random(b, seed=seed + 1)
    naive = -sum(math.log(1 / (1 + math.exp(-x))) for x in left.tolist()) / a / 2
    naive -= sum(math.log(1 - 1 / (1 + math.exp(-x))) for x in right.tolist()) / b / 2
    assert float(domain_loss(left, right)) == pytest.approx(naive, rel=1e-9)
    accuracy = sum(x > 0 for x in left.tolist()) / a / 2 + sum(x < 0 for x in right.tolist()) / b / 2
    assert domain_accuracy(left, right) == pytest.approx(accuracy)


def test_domain_loss_at_chance():
    assert float(domain_loss(torch.zeros(3), torch.zeros(5))) == pytest.approx(math.log(2))
    assert domain_accuracy(torch.zeros(3), torch.zeros(5)) == 0.5


def naive_weighted(similarity, confidence, margin):
    n, total = len(similarity), 0.0
    for i in range(n):
        text = max(margin - similarity[i][i] + similarity[i][t] for t in range(n) if t != i)
        image = max(margin - similarity[i][i] + similarity[j][i] for j in range(n) if j != i)
        total += confidence[i] * (max(0.0, text) + max(0.0, image))
    return total / sum(confidence)


@given(st.integers(2, 6), st.integers(0, 100))
def test_weighted_hinges_equal_loops(n, seed):
    similarity, confidence = random(n, n, seed=seed), random(n, seed=seed + 1).sigmoid()
    value = weighted_hinges(similarity, torch.eye(n, dtype=torch.bool), confidence, 0.3)
    assert float(value) == pytest.approx(naive_weighted(similarity.tolist(), confidence.tolist(), 0.3), rel=1e-9)


def test_equal_confidence_is_the_plain_loss_and_zero_confidence_is_no_pair():
    similarity, own = random(5, 5), torch.eye(5, dtype=torch.bool)
    weighted = weighted_hinges(similarity, own, torch.full((5,), 0.4))
    torch.testing.assert_close(weighted, max_of_hinges(similarity, own, 0.2))
    similarity.requires_grad_()
    only_first = weighted_hinges(similarity, own, torch.tensor([1.0, 0, 0, 0, 0]))
    only_first.backward()
    assert similarity.grad[0, 0] < 0
    assert (similarity.grad.diagonal()[1:] == 0).all()
    with pytest.raises(ValueError, match="confidence above 0"):
        weighted_hinges(similarity, own, torch.zeros(5))


@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 100))
def test_soft_alignment_equals_loops(images, texts, seed):
    similarity, targets = random(images, texts, seed=seed), random(images, texts, seed=seed + 1)

    def cross_entropy(values, wanted):
        p = [math.exp(w) / sum(map(math.exp, wanted)) for w in wanted]
        scaled = [v / 0.5 for v in values]
        return -sum(q * (v - math.log(sum(map(math.exp, scaled)))) for q, v in zip(p, scaled, strict=True))

    rows = sum(map(cross_entropy, similarity.tolist(), targets.tolist())) / images
    columns = sum(map(cross_entropy, similarity.T.tolist(), targets.T.tolist())) / texts
    assert float(soft_alignment(similarity, targets, 0.5)) == pytest.approx((rows + columns) / 2, rel=1e-9)


def test_soft_alignment_is_smallest_where_both_agree():
    targets = random(4, 6).requires_grad_()
    agree = (0.1 * targets.detach()).requires_grad_()
    soft_alignment(agree, targets, 0.1).backward()
    torch.testing.assert_close(agree.grad, torch.zeros_like(agree), atol=1e-12, rtol=0)
    assert targets.grad is None
    assert float(soft_alignment(torch.ones(4, 6), torch.zeros(4, 6))) == pytest.approx(math.log(24) / 2)
    with pytest.raises(ValueError, match="targets are"):
        soft_alignment(torch.ones(4, 6), torch.ones(4, 5))


# ------------------------------------------------------------------------------------------------ model
def test_attentive_pooling_equals_loops_and_starts_as_the_mean():
    pooling, vectors, lengths = AttentivePooling(4).double(), random(3, 5, 4), torch.tensor([5, 2, 3])
    torch.testing.assert_close(pooling(vectors), vectors.mean(1))
    pooling.query.data = random(4, seed=1)
    for row, length in enumerate(lengths.tolist()):
        scores = [math.exp(float(vectors[row, r] @ pooling.query.detach()) / 2) for r in range(length)]
        expected = sum(s / sum(scores) * vectors[row, r] for r, s in enumerate(scores))
        torch.testing.assert_close(pooling(vectors, lengths)[row], expected)


def small(attend=False, **options):
    torch.manual_seed(0)
    return A3VSE(6, 5, 8, words=random(20, 5, dtype=torch.float32), attend=attend, **options).eval()


def test_pooling_the_mapped_regions_is_mapping_the_pooled_ones():
    model, regions = small(), random(3, 4, 6, dtype=torch.float32)
    model.image_pool.query.data = random(6, dtype=torch.float32)
    weights = model.image_pool.weights(regions)
    mapped = (weights[..., None] * model.image(regions)).sum(1)
    torch.testing.assert_close(F.normalize(mapped, dim=1), model.encode_images(regions))


@pytest.mark.parametrize("tile", [1, 2, 32])
def test_region_word_attention_in_tiles_equals_the_whole_in_value_and_gradient(tile):
    lengths, results = torch.tensor([6, 1, 3, 5, 2]), []
    for size in (tile, 1000):
        regions = F.normalize(random(3, 4, 8), dim=-1).requires_grad_()
        words = F.normalize(random(5, 6, 8, seed=1), dim=-1).requires_grad_()
        value = region_word_similarity(regions, words, lengths, tile=size)
        value.square().sum().backward()
        results.append((value.detach(), regions.grad, words.grad))
    torch.testing.assert_close(results[0], results[1])
    one_way = cross_attention_similarity(regions, words, lengths, "t2i")
    assert not torch.allclose(value, one_way)


@given(st.permutations(range(7)), st.integers(0, 20))
def test_region_word_attention_does_not_depend_on_the_order_of_texts(order, seed):
    regions, words = (
        F.normalize(random(3, 4, 8, seed=seed), dim=-1),
        F.normalize(random(7, 5, 8, seed=seed + 1), dim=-1),
    )
    lengths = torch.randint(1, 6, (7,), generator=torch.Generator().manual_seed(seed))
    one_by_one = [
        sum(cross_attention_similarity(regions, words[[t]], lengths[[t]], way) for way in ("t2i", "i2t")) / 2
        for t in order
    ]
    found = region_word_similarity(regions, words[list(order)], lengths[list(order)], tile=2)
    torch.testing.assert_close(found, torch.cat(one_by_one, 1))


def test_word_table_is_scaled_by_one_part_and_gives_every_word_back():
    rng = np.random.default_rng(0)
    parts = {name: [rng.normal(2, 3, (n, 4)) for n in sizes] for name, sizes in {"a": (2, 0, 3), "b": (1,)}.items()}
    table, tokens = word_table(parts, "a")
    known = np.concatenate(parts["a"])
    assert not table[0].any()
    assert tokens["a"].lengths.tolist() == [2, 1, 3]
    assert tokens["a"].ids[1].tolist() == [0, 0, 0]
    for name, texts in parts.items():
        for ids, length, text in zip(*tokens[name], texts, strict=True):
            if len(text):
                again = table[ids[:length]].numpy() * known.std(0).mean() + known.mean(0)
                np.testing.assert_allclose(again, text, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(word_table({**parts, "b": [parts["b"][0] + 9]}, "a")[0][:6], table[:6])


@pytest.mark.parametrize(("parts", "learned"), [({"a": []}, "a"), ({"a": [np.ones((1, 2))]}, "b")])
def test_word_table_without_words_to_learn_from_is_refused(parts, learned):
    with pytest.raises(ValueError, match="has no word; there are a"):
        word_table(parts, learned)


def test_word_attention_equals_loops_and_is_what_the_similarity_uses():
    regions, words = F.normalize(random(4, 8), dim=-1), F.normalize(random(3, 8, seed=1), dim=-1)
    weights = word_attention(regions, words)
    for w in range(3):
        scores = []
        for r in range(4):
            norm = math.sqrt(sum(max(0.0, float(word @ regions[r])) ** 2 for word in words))
            scores.append(math.exp(9 * max(0.0, float(words[w] @ regions[r])) / max(norm, 1e-12)))
        torch.testing.assert_close(weights[w], torch.tensor(scores).double() / sum(scores))
    cosine = F.cosine_similarity(weights @ regions, words, dim=1).mean()
    whole = cross_attention_similarity(regions[None], words[None], torch.tensor([3]), "t2i")
    torch.testing.assert_close(cosine, whole[0, 0])


def test_model_of_sets_and_of_vectors():
    regions = random(3, 4, 6, dtype=torch.float32)
    sentences = torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2])
    for attend in (False, True):
        model = small(attend)
        assert model(regions, sentences).shape == (3, 2)
        assert model.encode_images(regions).ndim == (3 if attend else 2)
        longer = (F.pad(sentences[0], (0, 3)), sentences[1])
        torch.testing.assert_close(model(regions, longer), model(regions, sentences))
    assert small()(random(3, 6, dtype=torch.float32), random(2, 5, dtype=torch.float32)).shape == (3, 2)
    with pytest.raises(ValueError, match="word vectors"):
        A3VSE(6, 5, attend=True)


# ------------------------------------------------------------------------------------------------ training
def sparse(n=12, count=20, **options):
    images, texts = random(n, 4, 6, dtype=torch.float32), random(2 * n, 5, dtype=torch.float32)
    unnamed = random(count, 4, 6, seed=1, dtype=torch.float32)
    labels = Pairs(unnamed, random(count, 5, seed=2, dtype=torch.float32), torch.arange(count))
    options = {"others": labels, "confidence": torch.linspace(0.1, 1, count), "epochs": 2} | options
    return SparsePairs(images, texts, torch.arange(n).repeat_interleave(2), others_per_batch=6, **options)


def test_batches_bring_other_pictures_without_repetition_and_repeat_themselves():
    data = sparse()
    first, again = list(data.epoch(8, 3, 1)), list(data.epoch(8, 3, 1))
    drawn = torch.cat([batch.others.image_ids for batch in first])
    assert len(drawn) == len(drawn.unique()) == 18  # three batches of six of the twenty
    assert [batch.progress for batch in first] == [0.5, 0.5 + 1 / 6, 0.5 + 1 / 3]
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.others.images, two.others.images)
        assert torch.equal(one.text_ids, two.text_ids)
        assert torch.equal(one.others.positives.nonzero()[:, 0], one.others.positives.nonzero()[:, 1])
    assert not torch.equal(first[0].others.image_ids, next(data.epoch(8, 3, 0)).others.image_ids)


def test_objective_is_the_sum_of_its_terms():
    left, right = random(20, 3, seed=3, dtype=torch.float32), random(24, 3, seed=4, dtype=torch.float32)
    data, model = sparse(clue_images=left, clue_texts=right), small()
    batch = list(data.epoch(8, 0, 1))[1]
    choices = A3VSEChoices(0.5, 0.3, 2.0, 0.1, image_adversary=0.2, text_adversary=0.4, warmup=0.8)
    objective = A3VSEObjective(data, info_nce, choices)
    images, texts = model.encode_images(batch.images), model.encode_sentences(batch.texts)
    others, labels = model.encode_images(batch.others.images), model.encode_sentences(batch.others.texts)
    rise, ids = batch.progress / 0.8, batch.others.image_ids
    targets = left[ids] @ right[batch.text_ids].T
    expected = info_nce(images @ texts.T, batch.positives)
    own = torch.eye(6, dtype=torch.bool)
    expected += rise * 0.5 * weighted_hinges(others @ labels.T, own, data.confidence[ids], 0.3)
    expected += rise * 2.0 * soft_alignment(others @ texts.T, targets, 0.1)
    expected += domain_loss(model.image_domain(images), model.image_domain(others))
    expected += domain_loss(model.text_domain(texts), model.text_domain(labels))
    torch.testing.assert_close(objective(model, batch), expected)
    assert set(objective.log[0]) >= {"epoch", "pair", "weak", "soft", "image_accuracy", "text_accuracy"}
    only_pairs = A3VSEObjective(data, info_nce, A3VSEChoices())
    torch.testing.assert_close(only_pairs(model, batch), info_nce(images @ texts.T, batch.positives))
    with pytest.raises(ValueError, match="needs clues"):
        A3VSEObjective(sparse(), info_nce, choices)


def test_the_encoders_get_the_reversed_gradient_and_the_discriminator_the_plain_one():
    data, model = sparse(), small()
    batch = list(data.epoch(8, 0, 1))[1]
    grown = {}
    for weight in (0.0, 0.5):
        model.zero_grad()
        A3VSEObjective(data, lambda s, p: 0 * s.sum(), A3VSEChoices(image_adversary=weight))(model, batch).backward()
        grown[weight] = model.image[1].weight.grad.clone(), model.image_domain.layers[2].bias.grad.clone()
    model.zero_grad()
    logits = [model.image_domain(model.encode_images(x)) for x in (batch.images, batch.others.images)]
    domain_loss(*logits).backward()
    assert (grown[0.0][0] == 0).all()
    plain = model.image[1].weight.grad
    torch.testing.assert_close(grown[0.5][0], -0.5 * reversal_ramp(batch.progress) * plain)
    torch.testing.assert_close(grown[0.5][1], model.image_domain.layers[2].bias.grad)


def every_term():
    """Data with word ids, labels and clues, and the choices that use all of them."""
    words = torch.randint(4, 20, (24, 4), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([4, 2] * 12)
    base = sparse()
    others = Pairs(base.others.images, words[:20], torch.arange(20), lengths[:20])
    clue = clues((2.0, random(20, 2, dtype=torch.float32), random(24, 2, dtype=torch.float32)))
    data = SparsePairs(base.images, words, base.image_of_text, lengths, others=others, confidence=base.confidence,
                       epochs=2, clue_images=clue[0], clue_texts=clue[1], others_per_batch=6)  # fmt: skip
    return data, A3VSEChoices(weak=1.0, soft=1.0, image_adversary=0.1, text_adversary=0.1)


def test_attention_model_trains_with_every_term():
    data, choices = every_term()
    model, objective = small(attend=True, dropout=0.2), A3VSEObjective(data, info_nce, choices)
    fit(model, data, TrainConfig(2, 8), objective=objective, progress=False)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert [set(row) for row in objective.log] == [
        {"epoch", "pair", "weak", "soft", "image_domain", "image_accuracy", "text_domain", "text_accuracy"}
    ] * 2


def test_pairs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must belong to picture"):
        sparse(others=Pairs(random(20, 4, 6), random(20, 5), torch.arange(20).flip(0)))
    with pytest.raises(ValueError, match="confidence has 3 rows"):
        sparse(confidence=torch.ones(3))
    with pytest.raises(ValueError, match="both"):
        sparse(clue_images=torch.ones(20, 2))


def test_clues_add_up():
    parts = [(0.5, random(3, 2), random(4, 2, seed=1)), (2.0, random(3, 5, seed=2), random(4, 5, seed=3))]
    left, right = clues(*parts)
    torch.testing.assert_close(left @ right.T, sum(w * a @ b.T for w, a, b in parts))


# ------------------------------------------------------------------------------------------------ two planted domains
def planted(seed=0, n=200):
    """Pictures of two domains: what they show (z) and an offset that differs between the domains, all mixed.

    Pairs are given in one domain only. There the offset is as good as a bias, so the pair loss hardly cares how much of
    it the encoder lets through; in the other domain what it lets through is an error that all pictures share. The
    domains look alike only to an encoder that is blind to the offset, which therefore is what the adversary asks for.
    """
    generator = torch.Generator().manual_seed(seed)
    mix = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q
    z = torch.randn(3, n, 8, generator=generator)
    noise = 0.3 * torch.randn(3, n, 12, generator=generator)
    sign = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, n, 4)
    images = (torch.cat([z, sign], dim=-1) + noise) @ mix
    own = torch.arange(n)
    others = Pairs(images[1], torch.zeros(n, 8), own)
    data = SparsePairs(images[0], z[0], own, others=others, confidence=torch.ones(n), epochs=60, others_per_batch=50)
    return data, Pairs(images[2], z[2], own)


def play(weight):
    """Train on the planted problem; the recall sum in the domain without pairs, the domains' distance, and the log."""
    data, elsewhere = planted()
    torch.manual_seed(0)
    model = A3VSE(12, 8, 8, dropout=0.0, text_dropout=0.0)
    objective = A3VSEObjective(data, info_nce, A3VSEChoices(image_adversary=weight))
    fit(model, data, TrainConfig(60, 50, 5e-3, schedule="cosine"), objective=objective, progress=False)
    with torch.no_grad():
        apart = maximum_mean_discrepancy(model.encode_images(data.images), model.encode_images(data.others.images))
    return validate(model, elsewhere).as_dict()["rsum"], apart, objective.log


def test_the_adversary_solves_the_planted_problem_and_watching_does_not():
    alone, apart, watched = play(0.0)
    together, near, log = play(1.0)
    assert watched[-1]["image_accuracy"] > 0.9
    assert max(row["image_accuracy"] for row in log) > 0.9
    assert 0.25 < log[-1]["image_accuracy"] < 0.75
    assert together > alone + 50
    assert near < 0.6 * apart


def test_without_the_reversal_the_planted_problem_stays_unsolved(monkeypatch):
    solved, _, _ = play(1.0)
    monkeypatch.setattr(a3vse, "reverse_gradient", lambda x, strength: x)
    unsolved, _, log = play(1.0)
    assert unsolved < solved - 50
    assert log[-1]["image_accuracy"] > 0.9


# ------------------------------------------------------------------------------------------------ distances
def test_distances_of_equal_and_of_separate_domains():
    a, b = random(200, 4, dtype=torch.float32), random(200, 4, seed=1, dtype=torch.float32)
    assert abs(proxy_a_distance(a, b)) < 0.5
    assert proxy_a_distance(a, b + 5) > 1.9
    assert abs(maximum_mean_discrepancy(a, b)) < 0.02
    assert maximum_mean_discrepancy(a, b + 5) > 0.5
    with pytest.raises(ValueError, match="halves"):
        proxy_a_distance(a, b[:3])


def test_mmd_equals_loops():
    a, b = random(5, 3, dtype=torch.float32), random(4, 3, seed=1, dtype=torch.float32)

    def kernel(x, y):
        return math.exp(-float(((x - y) ** 2).sum()) / (2 * 1.5**2))

    naive = sum(kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    naive += sum(kernel(b[i], b[j]) for i in range(4) for j in range(4) if i != j) / 12
    naive -= 2 * sum(kernel(x, y) for x in a for y in b) / 20
    assert maximum_mean_discrepancy(a, b, 1.5) == pytest.approx(naive, abs=1e-6)
