"""Retrieval scores against naive float64 loops, against torchmetrics, and at chance."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.evaluation import Ranks, chance, evaluate, evaluate_similarity


def naive_counts(similarity, image_of_text):
    """(higher, tied, positives) of every image with a text, and of every text, by definition."""
    similarity, owner = np.asarray(similarity, dtype=np.float64), list(map(int, image_of_text))
    images, texts = similarity.shape
    of_images, of_texts = [], []
    for i in sorted(set(owner)):
        best = max(similarity[i, t] for t in range(texts) if owner[t] == i)
        rivals = [similarity[i, t] for t in range(texts) if owner[t] != i]
        positives = [similarity[i, t] for t in range(texts) if owner[t] == i]
        of_images.append((sum(s > best for s in rivals), rivals.count(best), positives.count(best)))
    for t in range(texts):
        own = similarity[owner[t], t]
        rivals = [similarity[i, t] for i in range(images) if i != owner[t]]
        of_texts.append((sum(s > own for s in rivals), rivals.count(own), 1))
    return of_images, of_texts


def counts(ranks):
    return list(zip(ranks.higher.tolist(), ranks.tied.tolist(), ranks.positives.tolist(), strict=True))


def assert_as_naive(scores, similarity, image_of_text):
    of_images, of_texts = naive_counts(similarity, image_of_text)
    assert counts(scores.i2t) == of_images
    assert counts(scores.t2i) == of_texts


@st.composite
def coarse_similarities(draw):
    """Small similarity matrices full of ties, captions in any order, images without any."""
    images, texts = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    owner = draw(st.lists(st.integers(0, images - 1), min_size=texts, max_size=texts))
    levels = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 10_000))
    values = torch.randint(-levels, levels, (images, texts), generator=torch.Generator().manual_seed(seed))
    return values.float() / 3, torch.tensor(owner)


@given(coarse_similarities(), st.sampled_from([1, 2, 5, 11, 1000]))
def test_counts_equal_a_naive_loop_for_every_tile_size(case, tile):
    similarity, image_of_text = case
    assert_as_naive(evaluate_similarity(similarity, image_of_text, tile=tile), similarity, image_of_text)


@given(coarse_similarities(), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_does_not_matter(case, random):
    similarity, image_of_text = case
    images, texts = similarity.shape
    to_old_image = torch.tensor(random.sample(range(images), images))
    to_old_text = torch.tensor(random.sample(range(texts), texts))
    shuffled = evaluate_similarity(
        similarity[to_old_image][:, to_old_text], to_old_image.argsort()[image_of_text[to_old_text]]
    )
    plain = evaluate_similarity(similarity, image_of_text)
    np.testing.assert_array_equal(shuffled.t2i_ranks, plain.t2i_ranks[to_old_text])
    np.testing.assert_array_equal(shuffled.i2t_ranks, plain.i2t_ranks[to_old_image])
    assert shuffled.as_dict() == pytest.approx(plain.as_dict())


def embeddings(images, texts, dimensions, seed=0, noise=1.0, sorted_texts=True):
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, images, (texts,), generator=generator)
    owner = owner.sort().values if sorted_texts else owner
    x = torch.randn(images, dimensions, generator=generator)
    y = x[owner] + noise * torch.randn(texts, dimensions, generator=generator)
    return 3 * x, y, owner


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("sorted_texts", [True, False])
@pytest.mark.parametrize("tile", [1, 100, None])
def test_embeddings_give_the_ranks_of_a_float64_loop(cosine, sorted_texts, tile):
    x, y, owner = embeddings(40, 110, 33, noise=2.0, sorted_texts=sorted_texts)
    scores = evaluate(x, y, owner, cosine=cosine, tile=tile)
    norm = np.linalg.norm if cosine else lambda rows, axis, keepdims: np.ones((len(rows), 1))
    a, b = x.double().numpy(), y.double().numpy()
    similarity = (a / norm(a, axis=1, keepdims=True)) @ (b / norm(b, axis=1, keepdims=True)).T
    assert_as_naive(scores, similarity, owner)
    assert 5 < scores.as_dict()["t2i_r1"] < 95, "a case that is neither trivial nor hopeless"


def all_orders(higher, tied, positives):
    """Rank of the first positive in every order of the tied group, by enumeration."""
    group = [False] * tied + [True] * positives
    return np.array([higher + 1 + order.index(True) for order in itertools.permutations(group)])


@pytest.mark.parametrize("higher", [0, 1, 4, 9])
@pytest.mark.parametrize(("tied", "positives"), [(0, 1), (1, 1), (4, 1), (3, 2), (2, 4), (0, 3), (5, 2)])
def test_rank_and_hit_are_expectations_over_every_order_of_the_ties(higher, tied, positives):
    ranks = Ranks(*(torch.tensor([value]) for value in (higher, tied, positives)))
    orders = all_orders(higher, tied, positives)
    assert ranks.rank().item() == pytest.approx(orders.mean())
    for k in (1, 2, 5, 10):
        assert ranks.hit(k).item() == pytest.approx((orders <= k).mean())


@pytest.mark.parametrize("dimensions", [7, 300, 1024])
@pytest.mark.parametrize("tile", [50, 999, None])
@pytest.mark.parametrize("cosine", [True, False])
def test_constant_embeddings_score_exactly_chance(dimensions, tile, cosine):
    """Whatever the shapes of the tiles: matrix products of different shapes round the same numbers differently."""
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 4, 4, 4, 4, 4, 6, 7, 8, 8, 9, 11, 12, 12])
    generator = torch.Generator().manual_seed(dimensions)
    x, y = (torch.randn(dimensions, generator=generator) for _ in range(2))
    scores = evaluate(x.expand(13, -1), y.expand(19, -1), owner, cosine=cosine, tile=tile)
    assert scores.as_dict() == pytest.approx(chance(13, owner))


def test_embeddings_collapsed_up_to_rounding_noise_score_exactly_chance():
    generator = torch.Generator().manual_seed(0)
    point, owner = torch.randn(256, generator=generator), torch.arange(2000) // 5
    x = point + 1e-7 * torch.randn(400, 256, generator=generator)
    y = point + 1e-7 * torch.randn(2000, 256, generator=generator)
    assert evaluate(x, y, owner, tile=40_000).as_dict() == pytest.approx(chance(400, owner))


def test_chance_is_what_random_similarities_score_on_average():
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 4, 4, 4, 4, 4, 6, 7, 8, 8, 9, 11, 12, 12])
    generator = torch.Generator().manual_seed(0)
    runs = [evaluate_similarity(torch.randn(13, 19, generator=generator), owner).as_dict() for _ in range(1500)]
    expected = chance(13, owner)
    for name in expected:
        if "medr" not in name:
            values = np.array([run[name] for run in runs])
            assert abs(values.mean() - expected[name]) < 4 * values.std() / math.sqrt(len(values)), name


def test_identical_embeddings_tie_exactly_wherever_they_lie():
    x, y, owner = embeddings(700, 1500, 37, noise=1.5)
    once = evaluate(x, y, owner, tile=30_000)
    twice = evaluate(torch.cat([x, x]), y, owner, tile=30_000)  # every image has a twin among the distractors
    assert torch.equal(twice.t2i.higher, 2 * once.t2i.higher)
    assert torch.equal(twice.t2i.tied, torch.ones(1500, dtype=torch.int64))
    texts_twice = evaluate(x, torch.cat([y, y]), torch.cat([owner, owner]), tile=30_000)
    assert torch.equal(texts_twice.i2t.higher, 2 * once.i2t.higher)
    assert torch.equal(texts_twice.i2t.positives, 2 * once.i2t.positives)


def test_images_without_text_are_distractors_and_no_queries():
    similarity = torch.tensor([[0.1, 0.2], [0.9, 0.9], [0.5, 0.1]])
    scores = evaluate_similarity(similarity, torch.tensor([2, 0]))
    np.testing.assert_array_equal(scores.t2i_ranks, [2, 2])
    np.testing.assert_array_equal(scores.i2t_ranks, [1, np.nan, 1])
    assert scores.as_dict()["i2t_r1"] == 100
    assert "1 images without text: in the gallery, no queries" in str(scores)


@pytest.fixture(scope="module")
def coco_sized():
    generator = torch.Generator().manual_seed(1)
    captions = torch.randint(1, 4, (5000,), generator=generator)
    owner = torch.arange(5000).repeat_interleave(captions)
    x = torch.randn(5000, 8, generator=generator)
    return x, x[owner] + 0.5 * torch.randn(len(owner), 8, generator=generator), owner


def test_coco_1k_is_the_mean_over_five_slices(coco_sized):
    x, y, owner = coco_sized
    slices = []
    for start in range(0, 5000, 1000):
        texts = (owner >= start) & (owner < start + 1000)
        slices.append(evaluate(x[start : start + 1000], y[texts], owner[texts] - start).as_dict())
    expected = {name: np.mean([values[name] for values in slices]) for name in slices[0]}
    folds = evaluate(x, y, owner, "coco-1k")
    assert folds.as_dict() == pytest.approx(expected)
    assert "mean over 5 sequential folds of 1,000 images" in folds.protocol


def test_coco_5k_is_the_full_ranking_with_the_folds_beside_it(coco_sized):
    x, y, owner = coco_sized
    whole = evaluate(x, y, owner, "coco-5k")
    assert whole.as_dict() == evaluate(x, y, owner, "full").as_dict()
    assert whole.folds.as_dict() == evaluate(x, y, owner, "coco-1k", tile=123_456).as_dict()
    assert whole.folds.as_dict()["t2i_r1"] > whole.as_dict()["t2i_r1"]


def test_chance_of_folds_is_the_score_of_constant_embeddings(coco_sized):
    owner = coco_sized[2]
    scores = evaluate(torch.ones(5000, 4), torch.ones(len(owner), 4), owner, "coco-5k")
    assert scores.as_dict() == pytest.approx(chance(5000, owner, "coco-5k"))
    assert scores.folds.as_dict() == pytest.approx(chance(5000, owner, "coco-1k"))


@pytest.mark.slow
def test_agrees_with_torchmetrics():
    from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

    x, y, owner = embeddings(30, 90, 16, noise=2.0)
    similarity = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(y).T
    similarity = (1 + similarity) / 2  # torchmetrics 1.9 does not count a positive whose score is not above zero
    values = evaluate(x, y, owner)
    relevant = owner == torch.arange(30)[:, None]
    for ranks, scores, target in (
        (values.t2i_ranks, similarity.T, relevant.T),
        (values.i2t_ranks, similarity, relevant),
    ):
        has_positive = target.any(1)
        scores, target = scores[has_positive], target[has_positive]
        query = torch.arange(len(target))[:, None].expand_as(target)
        ranks = ranks[~np.isnan(ranks)]
        for k in (1, 5, 10):
            theirs = RetrievalHitRate(top_k=k)(scores.flatten(), target.flatten(), query.flatten())
            assert theirs.item() == pytest.approx((ranks <= k).mean())
        theirs = RetrievalMRR()(scores.flatten(), target.flatten(), query.flatten())
        assert theirs.item() == pytest.approx((1 / ranks).mean())


def test_median_is_the_plain_median_of_ranks_from_one():
    similarity = torch.eye(4)
    similarity[2] = torch.tensor([1.0, 1.0, 0.0, 1.0])  # rank 4
    similarity[3] = torch.tensor([1.0, 0.5, 0.5, 0.7])  # rank 2
    values = evaluate_similarity(similarity, torch.arange(4)).as_dict()
    assert values["i2t_medr"] == 1.5  # VSE++: floor(median(0, 0, 3, 1)) + 1 = 1
    assert values["i2t_meanr"] == 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_type_is_scored_in_float32(dtype):
    x, y, owner = embeddings(60, 200, 24, noise=1.5)
    x, y = x.to(dtype), y.to(dtype)
    expected = evaluate(x.float(), y.float(), owner)
    scores = evaluate(x, y, owner)
    np.testing.assert_array_equal(scores.i2t_ranks, expected.i2t_ranks)
    np.testing.assert_array_equal(scores.t2i_ranks, expected.t2i_ranks)


def test_autocast_and_reduced_matmul_precision_do_not_reach_the_scores():
    x, y, owner = embeddings(60, 200, 24, noise=1.5)
    expected, before = evaluate(x, y, owner).t2i_ranks, torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        chosen = torch.backends.cuda.matmul.fp32_precision
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(evaluate(x, y, owner).t2i_ranks, expected)
        assert torch.backends.cuda.matmul.fp32_precision == chosen != "ieee", "the setting is given back"
    finally:
        torch.set_float32_matmul_precision(before)


def test_numpy_input_and_gradients_are_accepted():
    x, y, owner = embeddings(20, 50, 8)
    expected = evaluate(x, y, owner).as_dict()
    assert evaluate(x.numpy(), y.numpy(), owner.numpy().astype(np.int32)).as_dict() == expected
    assert evaluate(x.requires_grad_(), y.requires_grad_(), owner).as_dict() == expected


def test_protocol_is_printed_with_the_numbers():
    scores = evaluate(*embeddings(20, 50, 8))
    for text in (str(scores), scores._repr_html_()):
        assert "full: 20 images, 50 texts" in text
        assert "ties" in text
        assert f"{scores.as_dict()['t2i_r10']:.1f}" in text
    assert repr(scores) == f"Scores(full, 20 images, 50 texts, rsum {scores.as_dict()['rsum']:.1f})"


def broken(x, y, owner, what):
    x, y, owner = x.clone(), y.clone(), owner.clone()
    if what == "nan":
        y[17, 3] = math.nan
    elif what == "infinity":
        x[4], x[6] = math.inf, -math.inf
    elif what == "index":
        owner[5] = 20
    elif what == "length":
        owner = owner[:-1]
    elif what == "dimensions":
        y = y[:, :-1]
    elif what == "integers":
        x = x.long()
    elif what == "float index":
        owner = owner.float()
    elif what == "no text":
        y, owner = y[:0], owner[:0]
    return x, y, owner


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "row 17 of texts holds NaN"),
        ("infinity", "row 4 and 1 more rows of images"),
        ("index", r"image_of_text\[5\] is 20, but there are 20 images"),
        ("length", "49 entries for 50 texts"),
        ("dimensions", "images have 8 dimensions, texts 7"),
        ("integers", "images must be a matrix of floating-point"),
        ("float index", "vector of integers"),
        ("no text", "non-empty"),
    ],
)
def test_bad_input_is_named(what, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*broken(*embeddings(20, 50, 8), what))


def test_bad_protocol_or_similarity_is_named():
    similarity = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="known are full, coco-1k, coco-5k"):
        evaluate_similarity(similarity, torch.zeros(4, dtype=torch.int64), "coco")
    with pytest.raises(ValueError, match="5,000 images, not 3"):
        evaluate_similarity(similarity, torch.zeros(4, dtype=torch.int64), "coco-1k")
    similarity[2, 1] = math.nan
    with pytest.raises(ValueError, match="row 2 of similarity holds NaN"):
        evaluate_similarity(similarity, torch.zeros(4, dtype=torch.int64))


PEAK = """
import resource, torch
from lib.evaluation import evaluate
torch.set_num_threads(2)
owner = torch.arange(20_000) // 5
x, y = torch.randn(4_000, 16), torch.randn(20_000, 16)
evaluate(x[:100], y[:500], owner[:500])  # what libraries allocate once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluate(x, y, owner)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_peak_memory_is_a_few_tiles_and_not_the_similarity_matrix():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 64, "MB; the 4,000 x 20,000 similarities alone would take 305"


@pytest.mark.gpu
def test_gpu_and_cpu_agree():
    x, y, owner = embeddings(700, 3000, 64, noise=1.5, sorted_texts=False)
    on_gpu = evaluate(x.cuda(), y.cuda(), owner.cuda(), tile=100_000)
    on_cpu = evaluate(x, y, owner)
    assert (on_gpu.t2i_ranks != on_cpu.t2i_ranks).mean() < 0.01  # near-ties may round either way
    assert on_gpu.as_dict() == pytest.approx(on_cpu.as_dict(), rel=2e-3)
    collapsed = evaluate(torch.ones(700, 64).cuda(), torch.ones(3000, 64).cuda(), owner.cuda())
    assert collapsed.as_dict() == pytest.approx(chance(700, owner))
